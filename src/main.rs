//! The program: hands arguments and streams to the command line, and its exit code to the system.

use std::env;
use std::io;
use std::process::ExitCode;

use imapwarden::cli;
use imapwarden::cli::Surroundings;

fn main() -> ExitCode {
    let around = Surroundings {
        args: env::args_os().collect(),
        config: env::var_os("IMAPWARDEN_CONFIG"),
        operator: env::var("SUDO_USER").or_else(|_| env::var("USER")).ok(),
    };
    // Not locked: while the proxy runs, its events go to standard output from another thread.
    ExitCode::from(cli::run(around, &mut io::stdout(), &mut io::stderr()))
}
