//! A whole imapwarden to play with: its own old mail server behind it, a user with a second factor, events as they happen.
//!
//! `cargo run --release --example demo`, then paste what it prints. With `--check` it tries itself and ends; with `--attack` it
//! is attacked, and shows how rules stop that.
#![allow(clippy::print_stdout, reason = "it is a demo: printing is its purpose")]
#![allow(
    unreachable_pub,
    reason = "its modules are private, what they offer each other is not"
)]

#[path = "demo/attack.rs"]
mod attack;
#[path = "demo/check.rs"]
mod check;
#[path = "../tests/support/client.rs"]
#[allow(dead_code, clippy::indexing_slicing, reason = "shared with the tests")]
mod client;
#[path = "demo/enrol.rs"]
mod enrol;
#[path = "../tests/support/memory/mod.rs"]
#[allow(
    dead_code,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "shared with the tests"
)]
mod memory;
#[path = "demo/show.rs"]
mod show;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use imapwarden::config::Config;
use imapwarden::server::Server;
use imapwarden::server::clock;
use imapwarden::telemetry::shape::Shape;
use imapwarden::telemetry::sink;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::enrol::Alice;
use crate::memory::Mail;
use crate::show::text;

/// What can go wrong with a demo is only ever printed.
type Failure = Box<dyn std::error::Error>;

/// A whole imapwarden to play with, gone without a trace when it ends.
#[derive(Debug, Parser)]
struct Arguments {
    /// Try logins, good and bad, and end: 0 where everything went as it should.
    #[arg(long)]
    check: bool,
    /// Be attacked, and end: 0 where each attack was stopped.
    #[arg(long, conflicts_with = "check")]
    attack: bool,
    /// The port to listen at; another one is taken where it is in use.
    #[arg(long, default_value_t = 1993)]
    port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match Box::pin(demo(&arguments)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("the demo failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(arguments: &Arguments) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("imapwarden-demo-").tempdir()?;
    let mail = Mail::default();
    let backend = memory::Server::start(mail.clone()).await?;
    let mut config = configuration(folder.path(), backend.addr, free_port(arguments).await)?;
    if arguments.attack {
        let rules = folder.path().join("rules.yaml");
        std::fs::write(&rules, attack::RULES)?;
        // Those of the baseline would act first, some more slowly: this is to be seen in seconds.
        config.rules.packs.clear();
        config.rules.files = vec![rules];
    }
    let (store, key_file) = (config.state.store(), config.state.key_file());
    let alice = Box::pin(Alice::enrol(&store, &key_file, clock::unix())).await?;
    mail.add_sample_user(alice.name.as_str(), &text(&alice.mail_password));

    let events = sink::Options {
        shape: Shape::Line,
        ..sink::Options::default()
    };
    let server = Server::start(&config, events).await?;
    let addr = *server.addresses().first().ok_or("nothing listens")?;
    let certificate = config.state.data_directory.join("cert.pem");
    if arguments.check || arguments.attack {
        Box::pin(try_out(arguments, server, (addr, &certificate), &alice, &mail)).await?;
    } else {
        println!("{}", show::invitation(addr, &certificate, &alice));
        println!("  What happens shows below; Ctrl-C ends it.\n");
        server.run(interrupted()).await?;
    }
    Ok(())
}

/// Has somebody come, good or bad, and ends.
async fn try_out(
    arguments: &Arguments,
    server: Server,
    (addr, certificate): (SocketAddr, &Path),
    alice: &Alice,
    mail: &Mail,
) -> Result<(), Failure> {
    let trusted = CertificateDer::from_pem_file(certificate)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let run = server.run(async {
        // Ends when `stop` is dropped, too.
        let _ = stopped.await;
    });
    let visit = async {
        let tried = if arguments.attack {
            attack::attack(addr, &trusted, alice, mail).await
        } else {
            check::check(addr, &trusted, alice, mail).await
        };
        drop(stop);
        tried
    };
    let (ended, tried) = tokio::join!(run, visit);
    tried?;
    ended?;
    let word = if arguments.attack {
        "each attack was stopped"
    } else {
        "the demo works"
    };
    println!("{word}");
    Ok(())
}

/// A configuration as an operator would write it.
fn configuration(folder: &Path, backend: SocketAddr, port: u16) -> Result<Config, Failure> {
    let text = format!(
        "data_directory: {folder}
listeners:
  - address: 127.0.0.1:{port}
backends:
  - name: old-server
    address: {backend}
login:
  help: \"Use an app password, or add a code to your password\"
metrics:
  address: off
",
        folder = folder.display(),
    );
    Ok(Config::parse("demo.yaml", &text, folder)?)
}

/// The port asked for if nobody has it; any other for a check, and otherwise.
async fn free_port(arguments: &Arguments) -> u16 {
    let taken = TcpListener::bind(("127.0.0.1", arguments.port)).await.is_err();
    if arguments.check || arguments.attack || taken {
        0
    } else {
        arguments.port
    }
}

/// Ctrl-C, or never where it cannot be heard of.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
