//! Measures imapwarden beside other proxies: clients, a mail server and a blind relay, all of our own. `benches/peers/run` starts
//! what is measured and puts the figures together. It must never be kinder to one proxy than to another.
#![allow(
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "a tool for one purpose that talks to programs we have started ourselves: a fault stops the measurement"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its figures are what it is for"
)]
#![allow(
    unreachable_pub,
    reason = "its modules are private, what they offer each other is not"
)]
#![cfg_attr(
    test,
    allow(unused_imports, dead_code, reason = "its tests run in tests/benches.rs")
)]

mod accounts;
mod auth_http;
mod backend;
mod client;
mod content;
mod histogram;
mod idle;
mod load;
mod process;
mod pump;
mod reader;
mod relay;
mod report;
mod socket;
mod steady;
mod tls;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// The parts of a side-by-side measurement; `benches/peers/run` uses them.
#[derive(Debug, Parser)]
struct Arguments {
    /// What `cargo bench` says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// A mail server without TLS that lets everybody in and serves generated mail.
    Backend(backend::Arguments),
    /// Answers nginx's `auth_http`: everybody may go to one backend.
    AuthHttp(auth_http::Arguments),
    /// Takes TLS off and looks at nothing: what moving the bytes costs at least.
    Relay(relay::Arguments),
    /// Clients for one scenario, and what they cost the server: one line of JSON.
    Load(Box<load::Arguments>),
}

fn main() -> ExitCode {
    let Arguments { part: Some(part), .. } = Arguments::parse() else {
        println!("benches/peers/run measures imapwarden beside nginx, HAProxy and Dovecot");
        return ExitCode::SUCCESS;
    };
    match run(part) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs a part to its end; false where something went wrong that the report tells.
fn run(part: Part) -> io::Result<bool> {
    socket::raise_descriptors()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    match part {
        Part::Backend(arguments) => local.block_on(&runtime, backend::run(&arguments)),
        Part::AuthHttp(arguments) => local.block_on(&runtime, auth_http::run(&arguments)),
        Part::Relay(arguments) => local.block_on(&runtime, relay::run(&arguments)),
        Part::Load(arguments) => return local.block_on(&runtime, load::run(*arguments)),
    }
    .map(|()| true)
}
