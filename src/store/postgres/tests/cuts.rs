//! Connections that are cut where nobody notices it until they are used again, and what is done anew then.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::net::UnixStream;

use super::*;

/// Stands between the store and the server, and cuts connections when a test says so.
pub(super) struct Between {
    dir: TempDir,
    pub(super) cuts: Arc<Cuts>,
    accept: JoinHandle<()>,
}

#[derive(Default)]
pub(super) struct Cuts {
    /// LISTEN is answered, and does not arrive.
    pub(super) deaf: AtomicBool,
    opened: AtomicUsize,
    /// Connections opened before this many are cut once something is sent on them, and nothing of it arrives.
    stale: AtomicUsize,
    /// The next connection on which this is sent is cut once the server has answered; the answer goes no further.
    at: Mutex<Option<&'static str>>,
}

impl Between {
    pub(super) fn start(cluster: &Cluster) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
        let server = cluster.path(&format!(".s.PGSQL.{}", cluster.port));
        let cuts = Arc::new(Cuts::default());
        let accept = tokio::spawn(accept(listener, server, Arc::clone(&cuts)));
        Self { dir, cuts, accept }
    }

    pub(super) fn url(&self, database: &str) -> String {
        let dir = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://warden@{dir}:5432/{database}")
    }

    /// All connections that are open now are cut; nobody notices before they are used.
    fn cut_all(&self) {
        let opened = self.cuts.opened.load(Ordering::SeqCst);
        self.cuts.stale.store(opened, Ordering::SeqCst);
    }

    fn cut_at(&self, text: &'static str) {
        *self.cuts.at.lock().unwrap() = Some(text);
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn accept(listener: UnixListener, server: PathBuf, cuts: Arc<Cuts>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let server = UnixStream::connect(&server).await.unwrap();
        let number = cuts.opened.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(pass(number, client, server, Arc::clone(&cuts)));
    }
}

/// Another query in the place of LISTEN, as long as that.
fn deafen(sent: &mut [u8]) {
    const OTHER: &[u8] = b"SELECT 1";
    if let Some(at) = sent.windows(7).position(|part| part == b"LISTEN ") {
        let query = sent[at..].split_mut(|byte| *byte == 0).next().unwrap();
        query.fill(b' ');
        query[..OTHER.len()].copy_from_slice(OTHER);
    }
}

/// Passes bytes on until the connection ends or is cut.
async fn pass(
    number: usize,
    mut client: UnixStream,
    mut server: UnixStream,
    cuts: Arc<Cuts>,
) -> io::Result<()> {
    let (mut asked, mut answered) = ([0; 16_384], [0; 16_384]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let sent = &mut asked[..read?];
                if cuts.deaf.load(Ordering::SeqCst) {
                    deafen(sent);
                }
                if sent.is_empty() || number < cuts.stale.load(Ordering::SeqCst) {
                    return Ok(());
                }
                let is_here = {
                    let mut at = cuts.at.lock().unwrap();
                    let here = |text: &mut &str| sent.windows(text.len()).any(|part| part == text.as_bytes());
                    at.take_if(here).is_some()
                };
                server.write_all(sent).await?;
                if is_here {
                    assert_ne!(server.read(&mut answered).await?, 0);
                    return Ok(());
                }
            }
            read = server.read(&mut answered) => {
                let said = &answered[..read?];
                if said.is_empty() {
                    return Ok(());
                }
                client.write_all(said).await?;
            }
        }
    }
}

#[tokio::test]
async fn what_was_cut_before_it_was_asked_for_is_done_on_a_new_connection() {
    let Some(cluster) = Cluster::shared() else { return };
    let between = Between::start(cluster);
    let store = open(&between.url(&cluster.database())).await;
    enrol(&store).await;
    // Several of them idle.
    let (one, two, three) = tokio::join!(store.bans(NOW), store.bans(NOW), store.bans(NOW));
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    between.cut_all();
    assert_eq!(store.bans(NOW).await.unwrap(), []);
    between.cut_all();
    assert!(store.consume_step(consumption(11, 1)).await.unwrap());
    between.cut_all();
    store.add_ban(ban("192.0.2.0/24")).await.unwrap();
    between.cut_all();
    store.note(Note::LoggedIn(name("alice"), NOW));
    store.flush().await.unwrap();
}

#[tokio::test]
async fn what_was_cut_before_its_commit_is_done_anew_and_once() {
    let Some(cluster) = Cluster::shared() else { return };
    let between = Between::start(cluster);
    let store = open(&between.url(&cluster.database())).await;
    enrol(&store).await;
    between.cut_at("UPDATE totp SET last_step");
    assert!(store.consume_step(consumption(11, 1)).await.unwrap());
    assert!(between.cuts.at.lock().unwrap().is_none(), "it was cut");
    assert!(!store.consume_step(consumption(11, 2)).await.unwrap());
}

/// It may have been done: to do it again would answer that the code was used before, by somebody.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_never_asked_for_again() {
    let Some(cluster) = Cluster::shared() else { return };
    let between = Between::start(cluster);
    let store = open(&between.url(&cluster.database())).await;
    enrol(&store).await;
    // The end of it, too: a transaction begins with READ COMMITTED.
    between.cut_at("COMMIT\0");
    let unknown = store.consume_step(consumption(11, 1)).await;
    assert!(matches!(unknown, Err(StoreError::Unavailable(_))), "{unknown:?}");
    assert!(!store.consume_step(consumption(11, 2)).await.unwrap());
    assert!(store.consume_step(consumption(12, 2)).await.unwrap());
}
