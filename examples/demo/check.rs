//! `--check`: the demo tries itself, as its visitors would.

use std::net::SocketAddr;

use imapwarden::server::clock;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::Failure;
use crate::client::Client;
use crate::enrol::Alice;
use crate::memory::Mail;
use crate::show::text;

/// Logs in with the app password, reads mail, and is refused where it must be.
pub async fn check(
    addr: SocketAddr,
    trusted: &CertificateDer<'_>,
    alice: &Alice,
    mail: &Mail,
) -> Result<(), Failure> {
    let visitor = Visitor { addr, trusted };
    let mut client = visitor.log_in(alice, &text(&alice.app_password), true).await?;
    expect(&mut client, "LIST \"\" *", "\"B&APw-ro\"").await?;
    expect(&mut client, "SELECT INBOX", "* 6 EXISTS").await?;
    expect(
        &mut client,
        "FETCH 2 BODY.PEEK[HEADER.FIELDS (SUBJECT)]",
        "Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe",
    )
    .await?;
    expect(&mut client, "LOGOUT", "* BYE").await?;

    // The right password without a second factor: refused, and the old server never hears of it.
    let logins = |mail: &Mail| mail.transcript().iter().filter(|line| is_login(line)).count();
    let before = logins(mail);
    visitor.log_in(alice, &text(&alice.mail_password), false).await?;
    visitor.log_in(alice, "wrong", false).await?;
    if logins(mail) != before {
        return Err("a login without a second factor reached the backend".into());
    }

    let code = alice.code(clock::unix())?;
    let with_code = format!("{};{}", text(&alice.mail_password), text(&code));
    visitor.log_in(alice, &with_code, true).await?;
    if mail.failed_logins() > 0 || mail.non_sync_literals() > 0 {
        return Err("the backend saw a refused login, or a literal that it had not asked for".into());
    }
    Ok(())
}

struct Visitor<'a> {
    addr: SocketAddr,
    trusted: &'a CertificateDer<'a>,
}

impl Visitor<'_> {
    /// Logs in over a new connection, which must succeed or must not.
    async fn log_in(
        &self,
        alice: &Alice,
        password: &str,
        welcome: bool,
    ) -> Result<Client<TlsStream<TcpStream>>, Failure> {
        let mut client = Client::tls(self.addr, self.trusted, "localhost").await?;
        client.response().await?;
        let answer = client
            .command("a", &format!("LOGIN {} \"{password}\"", alice.name))
            .await?
            .concat();
        let expected = if welcome {
            "a OK"
        } else {
            "a NO [AUTHENTICATIONFAILED]"
        };
        if answer.starts_with(expected) {
            Ok(client)
        } else {
            Err(format!("a login was answered {answer:?} instead of {expected}").into())
        }
    }
}

async fn expect(
    client: &mut Client<TlsStream<TcpStream>>,
    command: &str,
    expected: &str,
) -> Result<(), Failure> {
    let answer = client.command("b", command).await?.join("\n");
    let good = answer.contains(expected) && answer.contains("b OK");
    good.then_some(())
        .ok_or_else(|| format!("{command} was answered {answer:?}, which lacks {expected}").into())
}

fn is_login(line: &str) -> bool {
    line.contains(" LOGIN ") || line.contains(" AUTHENTICATE ")
}
