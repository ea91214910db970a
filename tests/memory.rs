//! The in-memory IMAP server of the tests and the demo keeps to its own protocol, and the dialog player to its format.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fault must fail the test"
)]

mod support;

use std::collections::BTreeMap;

use support::client::Client;
use support::dialog::Dialog;
use support::dialog::Stage;
use support::dialog::play;
use support::events::Recorder;
use support::memory::Mail;
use support::memory::Server;
use support::memory::sample::OFFICE;
use support::scripted::Move;
use support::scripted::Outcome;
use support::scripted::Scripted;
use support::scripted::after_login;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

const PASSWORD: &str = "right \"horse\"";

async fn server() -> Server {
    let mail = Mail::default();
    mail.add_sample_user("alice", PASSWORD);
    Server::start(mail).await.unwrap()
}

async fn logged_in(server: &Server) -> Client<TcpStream> {
    let mut client = Client::plain(server.addr).await.unwrap();
    assert!(
        client
            .response()
            .await
            .unwrap()
            .starts_with("* OK [CAPABILITY IMAP4rev1 ")
    );
    let answer = client
        .command("l", "LOGIN alice \"right \\\"horse\\\"\"")
        .await
        .unwrap();
    assert!(answer[0].starts_with("l OK [CAPABILITY "), "{answer:?}");
    client
}

/// Runs commands one after the other and joins all responses with newlines.
async fn ask(client: &mut Client<TcpStream>, commands: &[&str]) -> String {
    let mut all = Vec::new();
    for (command, number) in commands.iter().zip(1..) {
        all.extend(client.command(&format!("t{number}"), command).await.unwrap());
    }
    all.join("\n")
}

#[tokio::test]
async fn only_the_right_password_opens_a_mailbox() {
    let server = server().await;
    server.mail.set_master("master", "key");
    for (command, expected) in [
        ("LOGIN alice wrong", "a NO "),
        ("LOGIN bob x", "a NO "),
        ("SELECT INBOX", "a BAD "),
        ("AUTHENTICATE PLAIN AGFsaWNlAHJpZ2h0ICJob3JzZSI=", "a OK "),
        ("AUTHENTICATE PLAIN AGFsaWNlAHdyb25n", "a NO "),
        ("AUTHENTICATE PLAIN YWxpY2UAbWFzdGVyAGtleQ==", "a OK "),
        ("AUTHENTICATE PLAIN Ym9iAG1hc3RlcgBrZXk=", "a NO "),
        ("LOGIN alice*master key", "a OK "),
        ("LOGIN alice*master wrong", "a NO "),
    ] {
        let mut client = Client::plain(server.addr).await.unwrap();
        client.response().await.unwrap();
        let answer = client.command("a", command).await.unwrap();
        assert!(answer[0].starts_with(expected), "{command}: {answer:?}");
    }
    assert_eq!(server.mail.connections(), 9);
    assert_eq!(server.mail.failed_logins(), 5);
    assert!(
        server
            .mail
            .transcript()
            .contains(&"a LOGIN alice wrong".to_owned())
    );
}

#[tokio::test]
async fn mailboxes_are_listed_with_their_uses() {
    let server = server().await;
    let mut client = logged_in(&server).await;
    let told = ask(
        &mut client,
        &[
            "LIST \"\" \"*\"",
            "LSUB \"\" %",
            "STATUS INBOX (MESSAGES UNSEEN UIDNEXT)",
        ],
    )
    .await;
    for line in [
        "* LIST (\\HasNoChildren) \"/\" \"INBOX\"",
        "* LIST (\\HasNoChildren \\Sent) \"/\" \"Sent\"",
        "* LIST (\\HasChildren \\Archive) \"/\" \"Archive\"",
        "* LIST (\\HasNoChildren) \"/\" \"Archive/2025\"",
        "* LIST (\\HasNoChildren) \"/\" \"B&APw-ro\"",
        "* LSUB () \"/\" \"Trash\"",
        "* STATUS \"INBOX\" (MESSAGES 6 UNSEEN 4 UIDNEXT 7)",
    ] {
        assert!(told.contains(line), "{line} is not in\n{told}");
    }
    assert!(!told.contains("* LSUB () \"/\" \"Archive/2025\""));
    let extended = ask(
        &mut client,
        &["LIST (SPECIAL-USE) \"\" (\"S%\" \"T%\") RETURN (SUBSCRIBED STATUS (MESSAGES))"],
    )
    .await;
    assert_eq!(
        extended,
        "* LIST (\\HasNoChildren \\Sent \\Subscribed) \"/\" \"Sent\"\n* STATUS \"Sent\" (MESSAGES 1)\n\
         * LIST (\\HasNoChildren \\Trash \\Subscribed) \"/\" \"Trash\"\n* STATUS \"Trash\" (MESSAGES 0)\nt1 OK Completed"
    );
}

#[tokio::test]
async fn messages_are_fetched_searched_and_marked() {
    let server = server().await;
    let mut client = logged_in(&server).await;
    let told = ask(
        &mut client,
        &[
            "SELECT INBOX",
            "FETCH 2 (UID BODYSTRUCTURE BODY.PEEK[2.MIME]<0.12>)",
            "SEARCH CHARSET UTF-8 SUBJECT gr\u{fc}\u{df}e",
            "UID SEARCH UNSEEN NOT FLAGGED",
            "FETCH 4 BODY[1]",
            "UID STORE 5:6 +FLAGS.SILENT (\\Flagged $Work)",
            "FETCH 4:6 FLAGS",
        ],
    )
    .await;
    for line in [
        "* 6 EXISTS",
        "* 2 FETCH (UID 2 BODYSTRUCTURE ((\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \"quoted-printable\"",
        "BODY[2.MIME]<0> {12}\r\nContent-Type)",
        "* SEARCH 2\n",
        "* SEARCH 4 5 6\n",
        "* 4 FETCH (BODY[1] {51}\r\nThe figures are attached. Row three is an estimate.)",
        "* 4 FETCH (UID 4 FLAGS (\\Seen))",
        "* 5 FETCH (FLAGS ($Work \\Flagged))",
    ] {
        assert!(told.contains(line), "{line} is not in\n{told}");
    }
    assert_eq!(told.matches("* 5 FETCH").count(), 1, "silent is silent:\n{told}");
}

#[tokio::test]
async fn messages_are_appended_copied_moved_and_expunged() {
    let server = server().await;
    let mut client = logged_in(&server).await;
    client
        .send("a APPEND INBOX (\\Seen) \"03-Mar-2026 10:00:00 +0000\" {12}\r\n")
        .await
        .unwrap();
    assert_eq!(client.response().await.unwrap(), "+ OK");
    client.send("A: b\r\n\r\nhi\r\n\r\n").await.unwrap();
    let answer = client.answer("a").await.unwrap().concat();
    assert!(
        answer.starts_with("a OK [APPENDUID ") && answer.contains(" 7]"),
        "{answer}"
    );
    client.send("b APPEND Nowhere {9999}\r\n").await.unwrap();
    assert!(client.response().await.unwrap().starts_with("b NO [TRYCREATE]"));
    let told = ask(
        &mut client,
        &[
            "SELECT INBOX",
            "UID COPY 7 B&APw-ro",
            "MOVE 1 Trash",
            "STORE 2 +FLAGS (\\Deleted)",
            "UID EXPUNGE 1:2",
            "UID EXPUNGE 3",
            "UNSELECT",
            "FETCH 1 UID",
        ],
    )
    .await;
    for line in [
        " 7 2] Copied",
        "* OK [COPYUID ",
        "* 1 EXPUNGE\nt3 OK",
        "* 2 FETCH (FLAGS (\\Deleted \\Flagged))\nt4 OK",
        "t5 OK",
        "* 2 EXPUNGE\nt6 OK",
        "t8 BAD",
    ] {
        assert!(told.contains(line), "{line} is not in\n{told}");
    }
    assert_eq!(
        server.mail.messages("alice", OFFICE).unwrap()[1],
        b"A: b\r\n\r\nhi\r\n"
    );
    assert_eq!(server.mail.messages("alice", "INBOX").unwrap().len(), 5);
}

#[tokio::test]
async fn idle_hears_of_new_mail_and_ends_with_done() {
    let server = server().await;
    let mut client = logged_in(&server).await;
    ask(&mut client, &["SELECT INBOX"]).await;
    client.send("i IDLE\r\n").await.unwrap();
    assert_eq!(client.response().await.unwrap(), "+ idling");
    server.mail.deliver("alice", "INBOX", b"Subject: new\r\n\r\n");
    assert_eq!(client.response().await.unwrap(), "* 7 EXISTS");
    client.send("DONE\r\nn NOOP\r\n").await.unwrap();
    assert_eq!(
        client.answer("n").await.unwrap(),
        ["i OK Idle completed", "n OK Completed"]
    );
}

#[tokio::test]
async fn two_clients_see_each_others_changes() {
    let server = server().await;
    let (mut one, mut other) = (logged_in(&server).await, logged_in(&server).await);
    ask(&mut one, &["SELECT INBOX"]).await;
    ask(
        &mut other,
        &[
            "SELECT INBOX",
            "STORE 3 -FLAGS (\\Flagged)",
            "STORE 1 +FLAGS (\\Deleted)",
            "EXPUNGE",
        ],
    )
    .await;
    assert_eq!(
        ask(&mut one, &["FETCH 3 UID"]).await,
        "* 3 FETCH (UID 3)\n* 3 FETCH (UID 3 FLAGS ())\nt1 OK Completed"
    );
    assert_eq!(ask(&mut one, &["NOOP"]).await, "* 1 EXPUNGE\nt1 OK Completed");
}

#[tokio::test]
async fn mailboxes_come_and_go() {
    let server = server().await;
    let mut client = logged_in(&server).await;
    let told = ask(
        &mut client,
        &[
            "CREATE a/b/c",
            "RENAME a z",
            "LIST \"\" z*",
            "DELETE z/b/c",
            "DELETE INBOX",
            "DELETE nowhere",
            "CREATE Sent",
            "UNSUBSCRIBE Junk",
        ],
    )
    .await;
    for line in [
        "\"z/b/c\"",
        "t4 OK",
        "t5 NO",
        "t6 NO",
        "t7 NO [ALREADYEXISTS]",
        "t8 OK",
    ] {
        assert!(told.contains(line), "{line} is not in\n{told}");
    }
}

#[tokio::test]
async fn a_literal_nobody_asked_for_is_counted_and_ends_the_connection() {
    let server = server().await;
    let mut client = Client::plain(server.addr).await.unwrap();
    client.response().await.unwrap();
    client.send("a LOGIN {5+}\r\nalice {1}\r\n").await.unwrap();
    assert_eq!(client.rest().await.unwrap(), b"");
    assert_eq!(server.mail.non_sync_literals(), 1);
}

#[tokio::test]
async fn a_server_that_goes_down_says_bye() {
    let server = server().await;
    let mut client = logged_in(&server).await;
    server.mail.say_bye();
    assert!(client.response().await.unwrap().starts_with("* BYE"));
    server.mail.until(|mail| mail.open_connections() == 0).await;
}

/// The dialog player against itself: the "proxy" is a pipe between client and backend.
#[tokio::test]
async fn dialogs_are_played_line_by_line() {
    let text = r#"
# a whole dialog
option second_factor exempt
client> a LOGIN {5}\r\nalice pw\x21
backend< {tag} LOGIN {5}\r\nalice pw!
client> {3 x ab} {base64 a\x00{tag}}
backend< ababab YQBh
backend> * OK hello
backend> {tag} OK done
client< * OK …
client< a OK done
client> b NO\
client> OP
backend< b NOOP
client: close
backend: closed
"#;
    let dialog = Dialog::parse(text).unwrap();
    assert_eq!(
        dialog.options,
        [("second_factor".to_owned(), "exempt".to_owned())]
    );
    through_a_pipe(&dialog).await.unwrap();
}

#[tokio::test]
async fn a_dialog_that_goes_otherwise_says_where() {
    for (text, problem) in [
        (
            "client> a\nbackend< b",
            "line 2: Hear(Backend, \"b\"): heard instead: a",
        ),
        ("client> x y\nbackend< {t} y\nclient> z\nbackend< {t}", "line 4"),
        ("client> a\nbackend< a\nbackend: close\nclient< x", "line 4"),
        ("backend: unasked\nclient> a\nbackend: unasked", "line 3"),
        ("client> a\nclient: tls", "line 2: Tls: nobody is trusted"),
    ] {
        let error = through_a_pipe(&Dialog::parse(text).unwrap()).await.unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
    for wrong in [
        "client a",
        "nobody> a",
        "client> \\q",
        "client: dance",
        "backend: tls",
        "include x",
    ] {
        assert!(Dialog::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_dialog_that_includes_nonsense_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    file("some.part", "client> a\n");
    file("wrong.part", "client> a\nnonsense\n");
    assert!(Dialog::load(&file("good.dialog", "include some\nclient> b\n")).is_ok());
    let error = Dialog::load(&file("bad.dialog", "\ninclude wrong\n")).unwrap_err();
    assert_eq!(error, "line 2, wrong line 2 is not a step: nonsense");
    assert!(Dialog::load(&file("lost.dialog", "include nothing\n")).is_err());
}

#[tokio::test]
async fn a_scripted_backend_plays_its_moves_and_tells_what_became_of_them() {
    let script = after_login(vec![
        Move::Flood(b"* x\r\n".to_vec(), 3),
        Move::ExpectLine("DONE"),
        Move::Reset,
    ]);
    let backend = Scripted::start(vec![script.clone(), script]).await.unwrap();
    let mut client = Client::plain(backend.addr).await.unwrap();
    client.response().await.unwrap();
    let answer = client.command("t", "LOGIN a b").await.unwrap();
    assert_eq!(answer, ["t OK [CAPABILITY IMAP4rev1] in"]);
    client.send("DONE\r\n").await.unwrap();
    assert_eq!(client.rest().await.unwrap(), b"* x\r\n* x\r\n* x\r\n");
    let mut wrong = Client::plain(backend.addr).await.unwrap();
    wrong.send("t NOOP\r\n").await.unwrap();
    let outcomes = backend.outcomes(2).await;
    assert_eq!(
        outcomes,
        [Outcome::Played, Outcome::Unexpected("t NOOP".to_owned())]
    );
    assert_eq!(backend.lines(), ["t LOGIN a b", "DONE", "t NOOP"]);
}

async fn through_a_pipe(dialog: &Dialog) -> Result<(), String> {
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = backend.local_addr().unwrap();
    let stage = Stage {
        connect: || TcpStream::connect(addr),
        trusted: None,
        backend,
        events: Recorder::default(),
        words: BTreeMap::new(),
    };
    play(dialog, stage).await
}
