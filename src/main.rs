//! The program: hands arguments and streams to the command line, and its exit code to the system.

use std::env;
use std::io;
use std::process::ExitCode;

use imapwarden::cli;
use imapwarden::cli::Surroundings;

/// Exit code for what the system refuses at the start (sysexits: EX_OSERR).
const SYSTEM: u8 = 71;

fn main() -> ExitCode {
    let around = Surroundings {
        args: env::args_os().collect(),
        config: env::var_os("IMAPWARDEN_CONFIG"),
        operator: env::var("SUDO_USER").or_else(|_| env::var("USER")).ok(),
    };
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else {
        return ExitCode::from(SYSTEM);
    };
    // Not locked: while the proxy runs, its events go to standard output from another thread.
    let code = runtime.block_on(cli::run(around, &mut io::stdout(), &mut io::stderr()));
    // A name service that hangs in a thread of its own must not keep us.
    runtime.shutdown_background();
    ExitCode::from(code)
}
