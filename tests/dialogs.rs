//! Plays every `tests/dialogs/*.dialog` against a whole imapwarden. The format is told in `tests/support/dialog.rs`.
//!
//! Each dialog has an imapwarden of its own, a user `alice` whose mail password is `mail-password`, and an app password
//! of hers, `{app_password}`. Options are keys of the configuration (`login.help`) with values in YAML; `listener.…` and `backend.…` are
//! those of the one listener and the one backend. `option totp alice` enrols one-time codes: `{code}` is the one of now.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a fault must fail the test"
)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use imapwarden::auth::accounts::Accounts;
use imapwarden::auth::totp;
use imapwarden::server::clock;
use imapwarden::types::Secret;
use imapwarden::types::UnixTime;
use imapwarden::types::UserName;
use support::base32;
use support::client::start_tls;
use support::dialog::Dialog;
use support::dialog::Stage;
use support::dialog::Wire;
use support::dialog::play;
use support::proxy::Proxy;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Fewer would mean that some were lost.
const AT_LEAST: usize = 45;

/// Dialogs played side by side; most of their time goes into refusals, which take a second each.
const SIDE_BY_SIDE: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn every_dialog_goes_as_it_is_written() {
    let paths = dialogs();
    assert!(paths.len() >= AT_LEAST, "only {} dialogs", paths.len());
    let room = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    let mut playing = JoinSet::new();
    for path in paths {
        let room = Arc::clone(&room);
        playing.spawn(async move {
            let _place = room.acquire().await.unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            perform(&path)
                .await
                .map_err(|problem| format!("{name}: {problem}"))
        });
    }
    let ends = playing.join_all().await;
    let mut wrong: Vec<String> = ends.into_iter().filter_map(Result::err).collect();
    wrong.sort();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn dialogs() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs");
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "dialog"))
        .collect();
    paths.sort();
    paths
}

async fn perform(path: &Path) -> Result<(), String> {
    let dialog = Dialog::load(path)?;
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = Settings::of(&dialog.options, &backend.local_addr().unwrap().to_string());
    let proxy = Proxy::configured(&settings.yaml()).await;
    let mut words = BTreeMap::new();
    let (_, app_password) = proxy.app_password("alice", "mail-password").await;
    words.insert("app_password".to_owned(), app_password);
    if let Some(user) = &settings.totp {
        words.insert("code".to_owned(), enrol(&proxy, user).await);
    }
    let (addr, trusted, implicit) = (proxy.addr, proxy.certificate.clone(), settings.is_implicit());
    let stage = Stage {
        connect: || connect(addr, trusted.clone(), implicit),
        trusted: Some(trusted.clone()),
        backend,
        events: proxy.events.clone(),
        words,
    };
    play(&dialog, stage).await?;
    proxy.stop().await;
    Ok(())
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Wire>>> + Send>>;

/// A connection whose greeting is yet to be read.
fn connect(
    addr: std::net::SocketAddr,
    trusted: rustls::pki_types::CertificateDer<'static>,
    implicit: bool,
) -> Connecting {
    Box::pin(async move {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Wire> = match implicit {
            true => Box::new(start_tls(stream, &trusted, "localhost").await?),
            false => Box::new(stream),
        };
        Ok(stream)
    })
}

/// Enrols one-time codes with the code before the one that is answered.
async fn enrol(proxy: &Proxy, name: &str) -> String {
    let user = UserName::parse(name.as_bytes()).unwrap();
    let accounts = Accounts::new(&*proxy.store, &proxy.keys);
    let now = clock::unix();
    let enrolment = accounts.begin_totp(&user, "test", now).await.unwrap();
    let secret = base32::decode(std::str::from_utf8(enrolment.typed.expose()).unwrap());
    let before = totp::code_at(&secret, UnixTime(now.0 - 30)).unwrap();
    accounts
        .confirm_totp(&user, &Secret::from(before.as_str()), now)
        .await
        .unwrap();
    totp::code_at(&secret, now).unwrap()
}

/// A configuration in the making: sections and their keys.
struct Settings {
    sections: BTreeMap<String, BTreeMap<String, String>>,
    totp: Option<String>,
}

impl Settings {
    fn of(options: &[(String, String)], backend: &str) -> Self {
        let mut settings = Self {
            sections: BTreeMap::new(),
            totp: None,
        };
        settings.set("login.refusal_delay", "1s");
        settings.set("metrics.address", "'127.0.0.1:0'");
        settings.set("listener.address", "'127.0.0.1:0'");
        settings.set("backend.address", &format!("'{backend}'"));
        for (name, value) in options {
            match name.as_str() {
                "totp" => settings.totp = Some(value.clone()),
                _ => settings.set(name, value),
            }
        }
        settings
    }

    fn set(&mut self, name: &str, value: &str) {
        let (section, key) = name
            .split_once('.')
            .unwrap_or_else(|| panic!("no option: {name}"));
        let section = self.sections.entry(section.to_owned()).or_default();
        section.insert(key.to_owned(), value.to_owned());
    }

    fn is_implicit(&self) -> bool {
        !self.sections["listener"].contains_key("tls")
    }

    fn yaml(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.sections {
            // Of these there are lists.
            let is_listed = matches!(section.as_str(), "listener" | "backend");
            let plural = if is_listed { "s" } else { "" };
            writeln!(text, "{section}{plural}:").unwrap();
            for (at, (key, value)) in keys.iter().enumerate() {
                let indent = if is_listed && at == 0 { "  - " } else { "    " };
                writeln!(text, "{indent}{key}: {value}").unwrap();
            }
        }
        text
    }
}
