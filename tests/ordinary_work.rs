//! The shipped rules are silent, in enforce mode, on what real clients do all day.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what went wrong by failing"
)]

use std::path::PathBuf;
use std::sync::Arc;

use imapwarden::config::rules::load;
use imapwarden::policy::Counters;
use imapwarden::policy::engine::Engine;
use imapwarden::policy::engine::SessionCounters;
use imapwarden::policy::facts::AppPassword;
use imapwarden::policy::facts::Appended;
use imapwarden::policy::facts::Client;
use imapwarden::policy::facts::Command;
use imapwarden::policy::facts::Event;
use imapwarden::policy::facts::Facts;
use imapwarden::policy::facts::Fetched;
use imapwarden::policy::facts::Login;
use imapwarden::policy::facts::Session;
use imapwarden::policy::facts::Source;
use imapwarden::policy::facts::User;
use imapwarden::policy::rules::Mode;
use imapwarden::types::SessionId;

/// What is special about a moment.
#[derive(Default)]
struct Moment<'a> {
    login: Option<&'a Login<'a>>,
    session: Option<&'a Session<'a>>,
    command: Option<&'a Command<'a>>,
    fetched: Option<&'a Fetched>,
    appended: Option<&'a Appended<'a>>,
}

/// A session on a clock of its own, under the rules that everybody is told to load.
struct Work {
    engine: Engine,
    counters: SessionCounters,
    now_ms: u64,
    source: Source,
    client: Client,
    user: User,
    session: Session<'static>,
}

impl Work {
    fn new(age_of_app_password: u64) -> Self {
        let paths = ["policies/baseline", "policies/virtual-patching"].map(PathBuf::from);
        let set = load(&paths, false).unwrap().set;
        let mut source = Source::new("192.0.2.7".parse().unwrap());
        source.is_known = Some(true);
        source.is_new_for_user = Some(false);
        source.is_new_country_for_user = Some(false);
        source.is_new_asn_for_user = Some(false);
        Self {
            engine: Engine::new(set, Arc::new(Counters::new(10_000, 1))),
            counters: SessionCounters::new(SessionId::new(1)),
            now_ms: 1_800_000_000_000,
            source,
            client: Client {
                is_new_for_user: Some(false),
                ..Client::default()
            },
            user: User {
                name: "alice@example.org".into(),
                sessions: Some(6),
                session_networks: Some(1),
                unseen_for: Some(3_600),
                app_password: Some(AppPassword {
                    id: "p".into(),
                    label: "Laptop".into(),
                    age: age_of_app_password,
                    ..AppPassword::default()
                }),
                ..User::default()
            },
            session: Session::default(),
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.now_ms += seconds * 1_000;
    }

    #[track_caller]
    fn silent(&mut self, event: Event, moment: &Moment<'_>) {
        let mut facts = Facts::at(event, &self.source);
        if event >= Event::Login {
            facts.client = Some(&self.client);
            facts.user = Some(&self.user);
        }
        if event > Event::Login {
            facts.session = moment.session.or(Some(&self.session));
        }
        facts.login = moment.login;
        facts.command = moment.command;
        facts.fetched = moment.fetched;
        facts.appended = moment.appended;
        let decisions = self.engine.judge(&facts, &mut self.counters, self.now_ms);
        let loud = decisions.iter().find(|decision| decision.mode == Mode::Enforce);
        if let Some(decision) = loud {
            panic!(
                "{} is reported: {} > {}",
                decision.rule.name, decision.value, decision.threshold
            );
        }
    }

    #[track_caller]
    fn log_in(&mut self) {
        let login = Login {
            succeeded: true,
            mechanism: "plain",
            credential: "app_password",
            password_hash: Some(1),
            ..Login::default()
        };
        self.silent(Event::Connect, &Moment::default());
        self.silent(
            Event::Login,
            &Moment {
                login: Some(&login),
                ..Moment::default()
            },
        );
    }

    #[track_caller]
    fn command(&mut self, command: Command<'_>) {
        self.silent(
            Event::Command,
            &Moment {
                command: Some(&command),
                ..Moment::default()
            },
        );
    }

    #[track_caller]
    fn fetched(&mut self, bytes: u64, messages: u64) {
        let fetched = Fetched {
            bytes,
            messages,
            body: true,
        };
        self.silent(
            Event::Fetched,
            &Moment {
                fetched: Some(&fetched),
                ..Moment::default()
            },
        );
    }
}

/// A command by its verb, on one mailbox.
fn on<'a>(verb: &'a str, mailbox: &'a str) -> Command<'a> {
    Command {
        verb,
        mailbox: Some(mailbox),
        size: 80,
        ..Command::default()
    }
}

/// As mbsync and offlineimap do it: every mailbox, all flags, then bodies by ranges.
#[test]
fn the_first_sync_of_20_000_messages() {
    let mut work = Work::new(60);
    work.session.is_first_sync = true;
    work.session.exists = Some(800);
    work.log_in();
    for number in 0..25 {
        let mailbox = format!("Projects/{number}");
        work.command(on("SELECT", &mailbox));
        work.command(Command {
            uid: true,
            set_size: Some(800),
            set_is_all: true,
            fetch_flags: true,
            ..on("FETCH", &mailbox)
        });
        for _ in 0..8 {
            work.command(Command {
                uid: true,
                set_size: Some(100),
                fetch_body: true,
                ..on("FETCH", &mailbox)
            });
            for _ in 0..100 {
                work.fetched(75_000, 1);
            }
            work.wait(1);
        }
    }
    let ended = Session {
        messages_fetched: 20_000,
        bytes_fetched: 1_500_000_000,
        commands: 250,
        is_first_sync: true,
        ..work.session
    };
    work.silent(
        Event::SessionEnd,
        &Moment {
            session: Some(&ended),
            ..Moment::default()
        },
    );
}

#[test]
fn a_phone_that_switches_mailboxes() {
    let mut work = Work::new(864_000);
    work.log_in();
    for number in 0..200 {
        let mailbox = if number % 2 == 0 { "INBOX" } else { "Sent" };
        work.command(on("SELECT", mailbox));
        for _ in 0..15 {
            work.command(Command {
                uid: true,
                search_keys: &["SINCE", "UNDELETED", "HEADER"],
                depth: 1,
                ..on("SEARCH", mailbox)
            });
        }
        work.command(Command {
            uid: true,
            set_size: Some(50),
            fetch_headers: true,
            fetch_flags: true,
            ..on("FETCH", mailbox)
        });
        work.wait(20);
    }
}

#[test]
fn five_hundred_messages_are_cleaned_from_trash() {
    let mut work = Work::new(864_000);
    work.session.exists = Some(500);
    work.log_in();
    let trash = |verb| Command {
        mailbox_role: Some("trash"),
        uid: true,
        set_size: Some(500),
        set_is_all: true,
        ..on(verb, "Trash")
    };
    work.command(on("SELECT", "Trash"));
    work.command(Command {
        store_adds_deleted: true,
        store_flags: &["\\Deleted"],
        store_mode: Some("add"),
        ..trash("STORE")
    });
    work.command(trash("EXPUNGE"));
}

#[test]
fn a_migration_from_a_credential_declared_as_service() {
    let mut work = Work::new(864_000);
    work.user.is_service = true;
    work.log_in();
    for number in 0..25 {
        let mailbox = if number == 0 {
            "INBOX".to_owned()
        } else {
            format!("Folder {number}")
        };
        work.command(on("CREATE", &mailbox));
        work.command(on("SELECT", &mailbox));
        for _ in 0..800 {
            work.command(Command {
                literal_size: 75_000,
                literals: 1,
                store_flags: &["\\Seen"],
                ..on("APPEND", &mailbox)
            });
            let appended = Appended {
                size: 75_000,
                mailbox: &mailbox,
                is_inbox: number == 0,
                backdated_by: Some(86_400 * 900),
                ..Appended::default()
            };
            work.silent(
                Event::Appended,
                &Moment {
                    appended: Some(&appended),
                    ..Moment::default()
                },
            );
        }
        work.wait(5);
    }
}

#[track_caller]
fn new_mail(work: &mut Work) {
    work.command(on("IDLE", "INBOX"));
    work.command(Command {
        uid: true,
        set_size: Some(2),
        fetch_body: true,
        ..on("FETCH", "INBOX")
    });
    work.fetched(120_000, 2);
    work.command(Command {
        uid: true,
        set_size: Some(1),
        store_flags: &["\\Seen"],
        store_mode: Some("add"),
        ..on("STORE", "INBOX")
    });
}

/// New mail is read, answered, filed and thrown away; drafts are saved; folders are made.
#[test]
fn a_working_day() {
    let mut work = Work::new(86_400 * 300);
    for _ in 0..10 {
        work.log_in();
    }
    for minute in 0..480_u64 {
        work.wait(60);
        new_mail(&mut work);
        if minute % 4 == 0 {
            work.command(Command {
                uid: true,
                set_size: Some(3),
                destination: Some("Trash"),
                destination_role: Some("trash"),
                ..on("MOVE", "INBOX")
            });
            work.command(on("STATUS", "canary"));
        }
        if minute % 2 == 0 {
            let draft = Appended {
                size: 4_000,
                mailbox: "Drafts",
                mailbox_role: Some("drafts"),
                ..Appended::default()
            };
            work.silent(
                Event::Appended,
                &Moment {
                    appended: Some(&draft),
                    ..Moment::default()
                },
            );
        }
        if minute % 100 == 0 {
            let name = format!("Projects/{minute} {{new}}");
            work.command(on("CREATE", &name));
            work.command(Command {
                pattern: Some("*"),
                ..on("LIST", "")
            });
        }
    }
    let ended = Session {
        messages_fetched: 960,
        seen_set: true,
        commands: 1_700,
        gap_mean_ms: Some(17_000),
        gap_deviation_ms: Some(20_000),
        ..work.session
    };
    work.silent(
        Event::SessionEnd,
        &Moment {
            session: Some(&ended),
            ..Moment::default()
        },
    );
}

/// The scenarios above can fail: the same sweep by an established credential is seen.
#[test]
#[should_panic(expected = "mailbox-sweep-begins is reported")]
fn a_sweep_is_no_ordinary_work() {
    let mut work = Work::new(864_000);
    for number in 0..3 {
        let mailbox = format!("Projects/{number}");
        work.command(Command {
            set_size: Some(800),
            set_is_all: true,
            fetch_body: true,
            ..on("FETCH", &mailbox)
        });
    }
}
