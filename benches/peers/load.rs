//! What clients do, how many of them, and what is known of it while they do it.

use std::cell::Cell;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use clap::ValueEnum;

use crate::accounts::Accounts;
use crate::client::Client;
use crate::client::Target;
use crate::content;
use crate::histogram::Histogram;
use crate::idle;
use crate::process::Measured;
use crate::reader::Counters;
use crate::report::Report;
use crate::steady;
use crate::tls;

/// What each session does over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Connects, logs in and out.
    Login,
    Noop,
    /// Fetches a message of 50 MB.
    FetchBulk,
    /// Fetches messages of 4 KB.
    FetchSmall,
    /// Asks for the envelopes of 5000 messages.
    Envelope,
    /// Appends a message of 1 MB.
    Append,
    /// Nothing.
    Idle,
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[arg(long, value_enum)]
    pub scenario: Scenario,
    /// The server that is measured.
    #[arg(long)]
    pub address: SocketAddr,
    /// It has no TLS.
    #[arg(long)]
    pub plain: bool,
    /// A file with a name and a password on each line.
    #[arg(long)]
    pub accounts: Option<PathBuf>,
    #[arg(long)]
    pub sessions: usize,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 2.5)]
    pub seconds: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 0.5)]
    pub warm_up: f64,
    /// The server's processes.
    #[arg(long, value_delimiter = ',')]
    pub processes: Vec<u32>,
    /// The control group that they are in.
    #[arg(long)]
    pub group: Option<PathBuf>,
    /// Logins resume TLS sessions.
    #[arg(long)]
    pub resume: bool,
    /// Commands that are sent at once.
    #[arg(long, default_value_t = 1)]
    pub depth: usize,
    /// A message that each session fetches before it idles.
    #[arg(long)]
    pub prefetch: Option<u32>,
}

/// What all sessions share.
pub struct Load {
    pub arguments: Arguments,
    pub target: Target,
    pub accounts: Accounts,
    pub measured: Measured,
    pub counters: Rc<Counters>,
    /// Sessions that are ready.
    pub ready: Cell<usize>,
    pub stopping: Cell<bool>,
    /// Latencies count.
    pub measuring: Cell<bool>,
    pub operations: Cell<u64>,
    pub latencies: RefCell<Histogram>,
    pub faults: Cell<u64>,
    first_faults: RefCell<Vec<String>>,
}

/// Faults that are told in full.
const TOLD: usize = 5;

impl Load {
    /// What goes into the report of faults.
    pub fn fault(&self, who: &str, error: &io::Error) {
        self.faults.set(self.faults.get() + 1);
        let mut first = self.first_faults.borrow_mut();
        if first.len() < TOLD {
            first.push(format!("{who}: {error}"));
        }
    }

    /// Operations that began at a time and are over.
    pub fn done(&self, operations: usize, began: Instant) {
        Counters::add(&self.operations, operations as u64);
        if self.measuring.get() {
            self.latencies.borrow_mut().add(began.elapsed());
        }
    }

    /// A client that is logged in.
    pub async fn client(&self, target: &Target, session: usize) -> io::Result<Client> {
        let mut client = Client::connect(target, Rc::clone(&self.counters)).await?;
        client.log_in(self.accounts.of(session)).await?;
        Ok(client)
    }
}

/// Runs a scenario and prints the report; false where anything went wrong.
pub async fn run(arguments: Arguments) -> io::Result<bool> {
    // Made now, so that nothing that is measured waits for it.
    content::piece(0, 0, 1);
    content::listing(1);
    let load = Rc::new(Load {
        target: Target {
            address: arguments.address,
            tls: if arguments.plain {
                None
            } else {
                Some(tls::client(arguments.resume)?)
            },
        },
        accounts: match &arguments.accounts {
            Some(file) => Accounts::read(file)?,
            None => Accounts::any(),
        },
        measured: Measured {
            processes: arguments.processes.clone(),
            group: arguments.group.clone(),
        },
        counters: Rc::default(),
        ready: Cell::default(),
        stopping: Cell::default(),
        measuring: Cell::default(),
        operations: Cell::default(),
        latencies: RefCell::default(),
        faults: Cell::default(),
        first_faults: RefCell::default(),
        arguments,
    });
    let mut report = Report::default();
    if load.arguments.scenario == Scenario::Idle {
        idle::run(&load, &mut report).await;
    } else {
        steady::run(&load, &mut report).await;
    }
    report.say("verified_bytes", load.counters.bytes.get());
    report.say("faults", load.faults.get());
    report.say("first_faults", load.first_faults.borrow().clone());
    println!("{report}");
    Ok(load.faults.get() == 0 && load.operations.get() > 0)
}
