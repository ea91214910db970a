//! An IMAP4rev1 server that keeps its mail in memory: the backend of the demo and of tests. No product code.
//!
//! It is strict where imapwarden must be careful: it never offers LITERAL+ and counts every non-synchronising literal
//! that arrives nevertheless, it takes no bare LF, and it writes down every command that it executed.

pub mod fetch;
pub mod mailbox;
pub mod mime;
pub mod sample;
pub mod search;
mod session;
pub mod wire;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use mailbox::Account;
use mailbox::Received;

/// The mail of all users, and what clients did with it.
#[derive(Debug, Clone)]
pub struct Mail(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told of every change, for IDLE and for tests that wait.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    users: BTreeMap<String, User>,
    /// Name and password of a user who may log in as any other.
    master: Option<(String, String)>,
    transcript: Vec<String>,
    connections: usize,
    open: usize,
    failed_logins: usize,
    non_sync_literals: usize,
    closing: bool,
}

#[derive(Debug, Default)]
struct User {
    password: String,
    account: Account,
}

impl Default for Mail {
    fn default() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: watch::channel(0).0,
        }))
    }
}

impl Mail {
    /// Adds a user with an empty INBOX.
    pub fn add_user(&self, name: &str, password: &str) {
        let mut user = User {
            password: password.to_owned(),
            account: Account::default(),
        };
        user.account.create("INBOX", None);
        self.change(|state| state.users.insert(name.to_owned(), user));
    }

    /// Adds a user with the sample mailboxes.
    pub fn add_sample_user(&self, name: &str, password: &str) {
        self.add_user(name, password);
        self.change(|state| {
            if let Some(user) = state.users.get_mut(name) {
                sample::fill(&mut user.account);
            }
        });
    }

    /// Changes a user's password.
    pub fn set_password(&self, name: &str, password: &str) {
        self.change(|state| {
            if let Some(user) = state.users.get_mut(name) {
                user.password = password.to_owned();
            }
        });
    }

    /// Lets this user log in as any other: by an authorization identity, or as `user*master`.
    pub fn set_master(&self, name: &str, password: &str) {
        self.change(|state| state.master = Some((name.to_owned(), password.to_owned())));
    }

    /// Puts a message into a mailbox; clients in IDLE hear of it.
    pub fn deliver(&self, user: &str, mailbox: &str, raw: &[u8]) {
        self.change(|state| {
            let user = state.users.get_mut(user).expect("a user of the server");
            let mailbox = user
                .account
                .mailboxes
                .get_mut(mailbox)
                .expect("a mailbox of the user");
            mailbox.append(
                raw.into(),
                BTreeSet::new(),
                Received(" 2-Mar-2026 12:00:00 +0000".into()),
            );
        });
    }

    /// The messages of a mailbox, header and all; nothing where there is no such mailbox.
    pub fn messages(&self, user: &str, mailbox: &str) -> Option<Vec<Vec<u8>>> {
        let state = self.state();
        let mailbox = state.users.get(user)?.account.mailboxes.get(mailbox)?;
        Some(
            mailbox
                .messages
                .iter()
                .map(|message| message.raw.to_vec())
                .collect(),
        )
    }

    /// Every command that was executed, in order, as it stood on the wire without its last CRLF. Passwords included.
    pub fn transcript(&self) -> Vec<String> {
        self.state().transcript.clone()
    }

    /// How many connections there ever were.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.state().open
    }

    /// How many logins were refused.
    pub fn failed_logins(&self) -> usize {
        self.state().failed_logins
    }

    /// How many literals came without being asked for. Anything but 0 is a fault of the proxy.
    pub fn non_sync_literals(&self) -> usize {
        self.state().non_sync_literals
    }

    /// Waits until something is true of this server.
    pub async fn until(&self, what: impl Fn(&Self) -> bool) {
        let mut changed = self.0.changed.subscribe();
        while !what(self) {
            changed
                .changed()
                .await
                .expect("the sender lives as long as we do");
        }
    }

    /// Says BYE on every connection that waits for a command or idles.
    pub fn say_bye(&self) {
        self.change(|state| state.closing = true);
    }

    /// Serves one client on a stream.
    ///
    /// # Errors
    /// Where the stream breaks.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        self.change(|state| {
            state.connections += 1;
            state.open += 1;
        });
        let served = session::serve(self, stream).await;
        self.change(|state| state.open -= 1);
        served
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder of this lock panics")
    }

    /// Changes the state and tells everybody who waits.
    fn change<T>(&self, how: impl FnOnce(&mut State) -> T) -> T {
        let result = how(&mut self.state());
        self.0.changed.send_modify(|version| *version += 1);
        result
    }
}

/// A server on a port of its own on loopback; it ends with this value.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its mail.
    pub mail: Mail,
    accept: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts to listen.
    ///
    /// # Errors
    /// Where there is no port.
    pub async fn start(mail: Mail) -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), mail).await
    }

    /// Starts to listen at an address, for a server that comes back.
    ///
    /// # Errors
    /// Where the address is taken.
    pub async fn start_at(addr: SocketAddr, mail: Mail) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let accept = tokio::spawn(accept(listener, mail.clone()));
        Ok(Self { addr, mail, accept })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn accept(listener: TcpListener, mail: Mail) {
    // Dropped with this task, which ends the sessions.
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let mail = mail.clone();
                sessions.spawn(async move {
                    let _ = stream.set_nodelay(true);
                    // A client that goes away is nothing to tell of.
                    let _ = mail.serve(stream).await;
                });
            }
            Some(_) = sessions.join_next() => {}
        }
    }
}
