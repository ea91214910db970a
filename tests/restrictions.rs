//! Restricted app passwords through the whole proxy: what the backend is asked, and what the client sees.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fault must fail the test"
)]

mod support;

use imapwarden::types::BudgetLimits;
use imapwarden::types::Commands;
use imapwarden::types::MailboxPattern;
use imapwarden::types::Restrictions;
use imapwarden::types::UserName;
use support::client::Client;
use support::events::text;
use support::memory::Mail;
use support::memory::Server;
use support::proxy::Proxy;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

const MAIL_PASSWORD: &str = "right \"horse\"";

const DENIED: &str = "NO [NOPERM] Not allowed with this app password";

/// Alice's mail, the proxy in front of it, and an app password with restrictions.
struct Scene {
    backend: Server,
    proxy: Proxy,
    user: UserName,
    password: String,
}

impl Scene {
    async fn new(restrictions: Restrictions) -> Self {
        let mail = Mail::default();
        mail.add_sample_user("alice", MAIL_PASSWORD);
        let backend = Server::start(mail).await.unwrap();
        let proxy = Proxy::start(backend.addr, "").await;
        let user = proxy.add_user("alice").await;
        let (_, password) = proxy
            .restricted_app_password(&user, MAIL_PASSWORD, restrictions)
            .await;
        Self {
            backend,
            proxy,
            user,
            password,
        }
    }

    async fn client(&self) -> Client<impl AsyncRead + AsyncWrite + Unpin + use<>> {
        self.proxy.logged_in("alice", &self.password).await
    }

    /// What the backend executed after the login.
    fn executed(&self) -> Vec<String> {
        let transcript = self.backend.mail.transcript();
        let commands = transcript.iter().filter_map(|line| line.split_once(' '));
        commands
            .map(|(_, command)| command.to_owned())
            .filter(|command| {
                !["CAPABILITY", "AUTHENTICATE", "LOGIN", "ID"]
                    .iter()
                    .any(|verb| command.starts_with(verb))
            })
            .collect()
    }
}

fn mailboxes(patterns: &[&str]) -> Restrictions {
    let patterns = patterns
        .iter()
        .map(|pattern| MailboxPattern::parse(pattern).unwrap());
    Restrictions {
        mailboxes: Some(patterns.collect()),
        ..Restrictions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_opens_with_examine_and_leaves_no_trace() {
    let scene = Scene::new(Restrictions {
        read_only: true,
        ..Restrictions::default()
    })
    .await;
    let before = scene.backend.mail.messages("alice", "INBOX").unwrap();
    let mut client = scene.client().await;
    let selected = client.command("a", "sElEcT {5+}\r\ninbox").await.unwrap();
    assert!(
        selected.last().unwrap().starts_with("a OK [READ-ONLY]"),
        "{selected:?}"
    );
    let flags = client.command("b", "FETCH 1:* (FLAGS)").await.unwrap();
    client.command("c", "FETCH 1:* BODY[]").await.unwrap();
    for (tag, command) in [
        ("d", "STORE 1:* +FLAGS (\\Deleted)"),
        ("e", "EXPUNGE"),
        ("f", "UID MOVE 1:* Trash"),
        ("g", "APPEND INBOX {5+}\r\nhello"),
        ("h", "DELETE Sent"),
        ("i", "CREATE New"),
        ("j", "SUBSCRIBE Sent"),
    ] {
        let answer = client.command(tag, command).await.unwrap();
        assert_eq!(answer, [format!("{tag} {DENIED}")], "{command}");
    }
    assert_eq!(client.command("b", "FETCH 1:* (FLAGS)").await.unwrap(), flags);
    client.command("k", "CLOSE").await.unwrap();
    client.command("l", "LOGOUT").await.unwrap();
    assert_eq!(scene.backend.mail.messages("alice", "INBOX").unwrap(), before);
    assert_eq!(
        scene.executed(),
        [
            "EXAMINE {5}\r\ninbox",
            "FETCH 1:* (FLAGS)",
            "FETCH 1:* BODY[]",
            "FETCH 1:* (FLAGS)",
            "CLOSE",
            "LOGOUT"
        ]
    );
    let events = scene.proxy.stop().await;
    let (_, ended) = events.wait(0, "session_ended").await.unwrap();
    assert_eq!(text(&ended, "imapwarden.commands.denied"), "7");
    assert_eq!(text(&ended, "imapwarden.commands.refused"), "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_mailboxes_are_seen_and_reached() {
    let scene = Scene::new(mailboxes(&["INBOX", "Archive*"])).await;
    let mut client = scene.client().await;
    for (tag, command) in [
        ("a", "LIST \"\" *"),
        ("b", "LIST \"\" (\"INBOX\" \"*\") RETURN (STATUS (MESSAGES))"),
        ("c", "LSUB \"\" *"),
    ] {
        let answer = client.command(tag, command).await.unwrap();
        assert!(
            answer.last().unwrap().starts_with(&format!("{tag} OK")),
            "{answer:?}"
        );
        assert!(answer.iter().any(|line| line.contains("INBOX")), "{answer:?}");
        for hidden in ["Sent", "Drafts", "Trash", "Junk"] {
            assert!(!answer.iter().any(|line| line.contains(hidden)), "{answer:?}");
        }
    }
    for command in [
        "SELECT Sent",
        "SELECT \"Sent\"",
        "EXAMINE {4+}\r\nSent",
        "STATUS Sent (MESSAGES)",
        "SELECT &AFMAZQBuAHQ-",
        "CREATE New",
        "DELETE Sent",
        "RENAME Archive New",
        "RENAME Sent Archive/Sent",
        "APPEND Sent {5+}\r\nhello",
    ] {
        let answer = client.command("d", command).await.unwrap();
        assert_eq!(answer, [format!("d {DENIED}")], "{command}");
    }
    for command in ["SELECT inbox", "SELECT \"InBox\"", "SELECT {5+}\r\nINBOX"] {
        let answer = client.command("e", command).await.unwrap();
        assert!(
            answer.last().unwrap().starts_with("e OK"),
            "{command}: {answer:?}"
        );
    }
    let answer = client.command("f", "COPY 1 Sent").await.unwrap();
    assert_eq!(answer, [format!("f {DENIED}")]);
    let answer = client.command("f", "UID MOVE 1 Sent").await.unwrap();
    assert_eq!(answer, [format!("f {DENIED}")]);
    let asked = scene.executed();
    assert!(
        !asked
            .iter()
            .any(|command| command.contains("Sent") || command.contains("New")),
        "{asked:?}"
    );
    assert_eq!(scene.backend.mail.non_sync_literals(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_commands_are_each_judged_and_answered_in_order() {
    let scene = Scene::new(mailboxes(&["INBOX"])).await;
    let mut client = scene.client().await;
    client
        .send("a SELECT INBOX\r\nb SELECT Sent\r\nc FETCH 1 (UID)\r\nd COPY 1 {4+}\r\nSent\r\ne NOOP\r\n")
        .await
        .unwrap();
    let mut answers = client.answer("a").await.unwrap();
    answers.extend(client.answer("e").await.unwrap());
    let tagged = answers.iter().filter(|line| !line.starts_with('*'));
    let tagged: Vec<String> = tagged.map(|line| line.chars().take(4).collect()).collect();
    assert_eq!(tagged, ["a OK", "b NO", "c OK", "d NO", "e OK"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_only_credential_puts_in_and_reads_nothing() {
    let scene = Scene::new(Restrictions {
        commands: Commands::AppendOnly,
        ..mailboxes(&["Archive"])
    })
    .await;
    let mut client = scene.client().await;
    let appended = client.command("a", "APPEND Archive {5+}\r\nhello").await.unwrap();
    assert!(appended[0].starts_with("a OK"), "{appended:?}");
    for command in [
        "APPEND INBOX {5+}\r\nhello",
        "SELECT Archive",
        "EXAMINE Archive",
        "IDLE",
        "SEARCH ALL",
    ] {
        let answer = client.command("b", command).await.unwrap();
        assert_eq!(answer, [format!("b {DENIED}")], "{command}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_stops_the_download_and_is_kept_across_reconnects() {
    let restrictions = Restrictions {
        budget: BudgetLimits {
            bytes: Some(100_000),
            messages: None,
        },
        ..Restrictions::default()
    };
    let scene = Scene::new(restrictions).await;
    let large = [b"Subject: large\r\n\r\n".as_slice(), &[b'x'; 3_000_000]].concat();
    scene.backend.mail.deliver("alice", "INBOX", &large);
    let mut client = scene.client().await;
    client.command("a", "SELECT INBOX").await.unwrap();
    client.send("b FETCH * BODY.PEEK[]\r\n").await.unwrap();
    let received = client.rest().await.unwrap();
    assert!(
        received.len() > 50_000 && received.len() < 300_000,
        "{}",
        received.len()
    );
    let (at, ended) = scene.proxy.events.wait(0, "session_ended").await.unwrap();
    assert_eq!(text(&ended, "event.reason"), "budget_exceeded");
    // Back at once, and all but downloading goes on.
    let mut client = scene.client().await;
    client.command("a", "SELECT INBOX").await.unwrap();
    let answer = client.command("b", "UID FETCH 1 (FLAGS)").await.unwrap();
    assert!(answer[0].starts_with("b NO [LIMIT] "), "{answer:?}");
    let answer = client.command("c", "SEARCH ALL").await.unwrap();
    assert!(answer.last().unwrap().starts_with("c OK"), "{answer:?}");
    client.command("d", "LOGOUT").await.unwrap();
    let (_, ended) = scene.proxy.events.wait(at + 1, "session_ended").await.unwrap();
    assert_eq!(text(&ended, "event.reason"), "logout");
    // Another app password of the same user has nothing to do with it.
    let (_, other) = scene.proxy.another_app_password(&scene.user, MAIL_PASSWORD).await;
    let mut client = scene.proxy.logged_in("alice", &other).await;
    client.command("a", "SELECT INBOX").await.unwrap();
    let answer = client.command("b", "FETCH * BODY.PEEK[]").await.unwrap();
    assert!(answer.last().unwrap().starts_with("b OK"));
}
