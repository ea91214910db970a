//! `--attack`: somebody attacks the demo as mailboxes are attacked, and is stopped by rules.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio_rustls::client::TlsStream;

use crate::Failure;
use crate::client::Client;
use crate::client::start_tls;
use crate::enrol::Alice;
use crate::memory::Mail;
use crate::show::text;

/// The rules that stop the attacker.
pub const RULES: &str = include_str!("rules.yaml");

/// How long a ban may take to be in force; it takes a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the guesser comes from, and where the thief does: another address, which the ban does not concern.
const GUESSER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const THIEF: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

type Connection = Client<TlsStream<TcpStream>>;

/// Attacks; an error where something of it was not stopped.
pub async fn attack(
    addr: SocketAddr,
    trusted: &CertificateDer<'_>,
    alice: &Alice,
    mail: &Mail,
) -> Result<(), Failure> {
    let attacker = Attacker { addr, trusted };
    say("1. A password spray: one password, many users, from one address.");
    attacker.spray().await?;
    say("   Stopped: the address is banned.");
    say("2. A stolen app password, from another address: all mail, one mailbox after the other.");
    let stolen = text(&alice.app_password);
    let mut session = attacker.log_in(&stolen).await?;
    sweep(&mut session).await?;
    say("   Stopped: further messages are refused.");
    say("3. Then everything is to be deleted.");
    delete(&mut session).await?;
    attacker.is_shut_out(&stolen).await?;
    if mail.transcript().iter().any(|line| line.contains("\\Deleted")) {
        return Err("a message was marked as deleted".into());
    }
    say("   Stopped: nothing is deleted, and the app password is revoked.");
    Ok(())
}

struct Attacker<'a> {
    addr: SocketAddr,
    trusted: &'a CertificateDer<'a>,
}

impl Attacker<'_> {
    /// Tries user after user, each on a connection of its own, until nobody answers any more.
    async fn spray(&self) -> Result<(), Failure> {
        for number in 1..=6 {
            let mut client = self.connect(GUESSER).await?;
            let line = format!("LOGIN user{number} Winter2026!");
            let answer = client.command("a", &line).await?.concat();
            if !answer.starts_with("a NO [AUTHENTICATIONFAILED]") {
                return Err(format!("a guess was answered {answer:?}").into());
            }
        }
        let until = Instant::now() + PATIENCE;
        while self.connect(GUESSER).await.is_ok() {
            if Instant::now() > until {
                return Err("the guesser can still connect".into());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Waits until the app password no longer works: the store hears of that a moment after the session.
    async fn is_shut_out(&self, password: &str) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        while self.log_in(password).await.is_ok() {
            if Instant::now() > until {
                return Err("the stolen app password still works".into());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn log_in(&self, password: &str) -> Result<Connection, Failure> {
        let mut client = self.connect(THIEF).await?;
        let answer = client
            .command("a", &format!("LOGIN alice \"{password}\""))
            .await?
            .concat();
        if answer.starts_with("a OK") {
            Ok(client)
        } else {
            Err(format!("the login was answered {answer:?}").into())
        }
    }

    /// A connection from an address of ours, its greeting read.
    async fn connect(&self, from: Ipv4Addr) -> Result<Connection, Failure> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let stream = socket.connect(self.addr).await?;
        let mut client = Client::new(start_tls(stream, self.trusted, "localhost").await?);
        client.response().await?;
        Ok(client)
    }
}

/// Fetches mailbox after mailbox, until it is refused.
async fn sweep(session: &mut Connection) -> Result<(), Failure> {
    for mailbox in ["INBOX", "Sent", "Drafts", "Archive", "Archive/2025", "Junk"] {
        session.command("b", &format!("SELECT {mailbox}")).await?;
        let answer = session.command("c", "UID FETCH 1:* BODY.PEEK[]").await?;
        let last = answer.last().cloned().unwrap_or_default();
        if last.starts_with("c NO [NOPERM] Denied by policy") {
            say(&format!("   {mailbox}: {}", last.trim_end()));
            return Ok(());
        }
        say(&format!("   {mailbox}: taken"));
    }
    Err("all mail was taken".into())
}

/// Marks everything as deleted; the session must end for it.
async fn delete(session: &mut Connection) -> Result<(), Failure> {
    session.command("d", "SELECT INBOX").await?;
    match session.command("e", "STORE 1:* +FLAGS.SILENT (\\Deleted)").await {
        Ok(answer) if answer.last().is_some_and(|last| last.starts_with("e OK")) => {
            Err("the backend was asked to delete everything".into())
        }
        _ => Ok(()),
    }
}

#[allow(clippy::print_stdout, reason = "it is a demo: printing is its purpose")]
fn say(line: &str) {
    println!("{line}");
}
