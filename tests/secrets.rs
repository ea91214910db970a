//! Sessions of every kind, good and bad, with the log as loud as it gets: no secret comes out anywhere, and no mail.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a fault must fail the test; tables and stories are as long as they are"
)]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use imapwarden::auth::totp;
use imapwarden::server::clock;
use imapwarden::types::Secret;
use imapwarden::types::UnixTime;
use serde_json::Value;
use support::client::TlsClient;
use support::events::text;
use support::memory::Mail;
use support::memory::Server;
use support::program::Place;
use support::program::Program;
use support::program::private_file;
use support::proxy::yaml;
use tempfile::TempDir;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// One that needs no quotes and one that needs them, an encoding, and escapes.
const MAIL_PASSWORD: &str = "Mail-Password-Of-Alice";
const HARD_PASSWORD: &str = "hard \"Horse\" \\ b\u{e4}ttery";
const MASTER_PASSWORD: &str = "Master-Password-Of-All";
const SUBJECT: &str = "Subject-Nobody-May-See";
const BODY: &str = "Body-Nobody-May-See";
const SEARCHED: &str = "Searched-By-Nobody";

/// Everything that must not be found, and where it was looked for.
#[derive(Default)]
struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    fn add(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        self.0.push((name.to_owned(), bytes.as_ref().to_vec()));
    }

    /// A text in the forms in which it may come to light: as it is, as JSON and IMAP quote it, in base 64 and hexadecimal.
    fn add_text(&mut self, text: &str) {
        self.add(text, text);
        let json = serde_json::to_string(text).unwrap();
        self.add(&format!("{text} quoted"), json.trim_matches('"'));
        self.add(
            &format!("{text} in base 64"),
            STANDARD.encode(text).trim_end_matches('='),
        );
        self.add(&format!("{text} in hexadecimal"), hexadecimal(text.as_bytes()));
    }

    /// A mail password, as it stands in the logins of a user as well.
    fn add_password(&mut self, user: &str, password: &str) {
        self.add_text(password);
        self.add(
            &format!("PLAIN of {user}"),
            plain(user, password).trim_end_matches('='),
        );
    }

    /// An app password's secret part: what comes behind the id, with and without dashes.
    fn add_app_password(&mut self, user: &str, printed: &str) {
        let bare: String = printed.chars().filter(|c| *c != '-').skip(2 + 6).collect();
        self.add(&format!("{printed} without dashes"), bare);
        self.add(printed, &printed[10..]);
        self.add(
            &format!("{printed} in base 64"),
            STANDARD.encode(printed).trim_end_matches('='),
        );
        self.add(
            &format!("PLAIN of {printed}"),
            plain(user, printed).trim_end_matches('='),
        );
    }

    /// Nothing of it may be in the bytes, in any case.
    fn search(&self, place: &str, bytes: &[u8]) {
        let haystack = bytes.to_ascii_lowercase();
        for (name, secret) in &self.0 {
            let needle = secret.to_ascii_lowercase();
            assert!(needle.len() >= 8, "{name} is too short to be looked for");
            if let Some(at) = memchr::memmem::find(&haystack, &needle) {
                let around = &bytes[at.saturating_sub(200)..(at + 200).min(bytes.len())];
                panic!("{name} is in {place}: {}", around.escape_ascii());
            }
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn plain(user: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{user}\0{password}"))
}

/// A one-time code stands out only where no digit is beside it; times are left out, since they have six digits too.
fn search_code(code: &str, place: &str, content: &str) {
    for line in content.lines() {
        let line = line.split("\"timestamp\":").last().unwrap();
        let line = line.split_once(',').map_or(line, |(_, rest)| rest);
        for (at, _) in line.match_indices(code) {
            let beside = [line[..at].chars().last(), line[at + code.len()..].chars().next()];
            let alone = beside.iter().flatten().all(|c| !c.is_ascii_digit());
            assert!(!alone, "a one-time code is in {place}: {line}");
        }
    }
}

// --- A backend that gives everything away

/// How it answers a login, by the user's name.
fn betray(user: &str, tag: &str, said: &str) -> String {
    let quoted = said.escape_default();
    match user.split('@').next().unwrap() {
        "no" => format!("{tag} NO wrong: {said}\r\n"),
        "limit" => format!("{tag} NO [LIMIT] too often: {said}\r\n"),
        "bad" => format!("{tag} BAD what is \"{quoted}\"?\r\n"),
        "bye" => format!("* BYE I heard {said}\r\n"),
        "untagged" => format!("* OK [ALERT] {said}\r\nx9 OK {said}\r\n"),
        "asks" => format!("+ {said}\r\n"),
        "upper" => format!("{tag} NO [UNAVAILABLE] {}\r\n", said.to_uppercase()),
        "cut" => format!("{tag} NO [UNAVAILABLE] {}\r\n", &said[..said.len() - 3]),
        "garbage" => format!("?{said}\r\n"),
        "bare" => format!("{said}\n"),
        _ => format!("{tag} NO [SERVERBUG] {said}\r\n"),
    }
}

const BETRAYED: [&str; 11] = [
    "no", "limit", "bad", "bye", "untagged", "asks", "upper", "cut", "garbage", "bare", "bug",
];

/// A backend whose every answer to a login repeats it; what it has heard.
async fn traitor(capabilities: &'static str) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(String::new()));
    let all = Arc::clone(&heard);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let all = Arc::clone(&all);
            // Whatever breaks here is the other side's doing.
            tokio::spawn(async move { drop(betray_one(stream, capabilities, &all).await) });
        }
    });
    (addr, heard)
}

async fn betray_one(stream: TcpStream, capabilities: &str, all: &Mutex<String>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream
        .write_all(format!("* OK [CAPABILITY IMAP4rev1{capabilities}] ready\r\n").as_bytes())
        .await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let (tag, said) = line.split_once(' ').unwrap_or(("*", line));
        let user = match said.split(' ').collect::<Vec<_>>()[..] {
            ["LOGIN", user, ..] => user.trim_matches('"').to_owned(),
            [_, "PLAIN", message] => {
                let message = STANDARD.decode(message).unwrap();
                let message = String::from_utf8(message).unwrap();
                // The authorization identity of a master user comes first.
                message
                    .split('\0')
                    .find(|part| !part.is_empty())
                    .unwrap()
                    .to_owned()
            }
            _ => return Ok(()),
        };
        let mut words = vec![said.to_owned()];
        if let Some(message) = said.strip_prefix("AUTHENTICATE PLAIN ") {
            let decoded = STANDARD.decode(message).unwrap();
            words.push(String::from_utf8(decoded).unwrap().replace('\0', " "));
        }
        for said in words.iter().rev() {
            all.lock().unwrap().push_str(&format!("{said}\n"));
            stream.write_all(betray(&user, tag, said).as_bytes()).await?;
        }
    }
}

// --- The sessions

/// Sends bytes on a connection of its own, and takes what comes until nothing more is owed.
async fn say(program: &Program, bytes: Vec<u8>, until: &'static str) {
    let mut client = program.connect().await;
    client.send(&bytes).await.unwrap();
    if until.is_empty() {
        // The connection ends in the middle.
        return;
    }
    let heard = client.answer(until).await;
    // Some of it ends the connection instead.
    drop(heard);
}

/// What people type, and what programs send, that is wrong.
fn broken(secrets: &mut Secrets, app_password: &str) -> Vec<(Vec<u8>, &'static str)> {
    let mut count = 0;
    let mut secret = || {
        count += 1;
        let secret = format!("Wrong-Secret-Number-{count:03}");
        secrets.add_text(&secret);
        secrets.add(
            &format!("PLAIN of {secret}"),
            plain("alice", &secret).trim_end_matches('='),
        );
        secret
    };
    let mut all: Vec<(String, &'static str)> = vec![
        (format!("a LOGIN alice {}\r\n", secret()), "a"),
        (format!("a LOGIN nobody {}\r\n", secret()), "a"),
        (format!("a LOGIN {{5}}\r\nalice {{23+}}\r\n{}\r\n", secret()), "a"),
        (format!("a LOGIN alice \"{}\r\n", secret()), "a"),
        (format!("a LOGIN alice {} more\r\n", secret()), "a"),
        (format!("a LOGIN {}\r\n", secret()), "a"),
        (format!("a LOGIN alice {{23}}\r\n{}", secret()), ""),
        (format!("a LOGIN alice {}", secret()), ""),
        (format!("a LOGIN alice {}\n", secret()), "*"),
        (format!("a LOGIN alice {}\0\r\n", secret()), "*"),
        (format!("a LOGIN alice \"{}\u{7f}\u{e4}\r\n", secret()), "a"),
        (format!("a LOGIN alice {{9999}}\r\n{}\r\n", secret()), "a"),
        (
            format!("a LOGIN alice {{5000+}}\r\n{}\r\n", secret().repeat(220)),
            "a",
        ),
        (format!("a LOGIN alice {}\r\n", secret().repeat(400)), "*"),
        (format!("{}\r\n", secret()), "*"),
        (format!("{} LOGIN alice\r\n", secret()), "*"),
        (format!("a {}\r\n", secret()), "a"),
        (format!("a AUTHENTICATE {}\r\n", secret()), "a"),
        (format!("a AUTHENTICATE PLAIN {}\r\n", secret()), "a"),
        (format!("a AUTHENTICATE PLAIN\r\n{}\r\n", secret()), "a"),
        (
            format!("a AUTHENTICATE PLAIN {}\r\n", STANDARD.encode(secret())),
            "a",
        ),
        (
            format!("a AUTHENTICATE PLAIN {}\r\n", plain("alice", &secret())),
            "a",
        ),
        (
            format!("a AUTHENTICATE PLAIN\r\n{}\r\n", plain("alice", &secret())),
            "a",
        ),
        (
            format!(
                "a AUTHENTICATE PLAIN {}\r\n",
                STANDARD.encode(format!("bob\0alice\0{}", secret()))
            ),
            "a",
        ),
        (
            format!(
                "a AUTHENTICATE LOGIN\r\n{}\r\n{}\r\n",
                STANDARD.encode("alice"),
                STANDARD.encode(secret())
            ),
            "a",
        ),
        (
            format!(
                "a AUTHENTICATE LOGIN\r\n{}\r\n{}\r\n",
                STANDARD.encode("alice"),
                secret()
            ),
            "a",
        ),
        (format!("a NOOP {}\r\n", secret()), "a"),
        (format!("a ID (\"password\" \"{}\")\r\n", secret()), "a"),
    ];
    // An app password with a typing mistake, with another's secret, of another user, and in two parts.
    let last = app_password.chars().last().unwrap();
    let other = if last == 'x' { 'y' } else { 'x' };
    let mistyped = format!("{}{other}", &app_password[..app_password.len() - 1]);
    all.push((format!("a LOGIN alice {mistyped}\r\n"), "a"));
    all.push((format!("a LOGIN bob {app_password}\r\n"), "a"));
    all.push((
        format!("a LOGIN alice \"{}\r\n", app_password.replace('-', " ")),
        "a",
    ));
    all.into_iter()
        .map(|(text, until)| (text.into_bytes(), until))
        .collect()
}

/// Logs in in every way there is, and works with mail.
async fn good(program: &Program, app_password: &str) {
    let message = plain("alice", app_password);
    let ways = [
        format!("a LOGIN alice {app_password}\r\n"),
        format!(
            "a LOGIN {{5+}}\r\nalice {{{}+}}\r\n{app_password}\r\n",
            app_password.len()
        ),
        format!("a AUTHENTICATE PLAIN {message}\r\n"),
        format!("a AUTHENTICATE PLAIN\r\n{message}\r\n"),
        format!(
            "a AUTHENTICATE LOGIN\r\n{}\r\n{}\r\n",
            STANDARD.encode("alice"),
            STANDARD.encode(app_password.to_uppercase())
        ),
    ];
    for way in ways {
        let mut client = program.connect().await;
        client.send(&way).await.unwrap();
        let answer = client.answer("a").await.unwrap();
        assert!(answer.last().unwrap().starts_with("a OK"), "{way}: {answer:?}");
        work(&mut client, app_password).await;
    }
}

async fn work(client: &mut TlsClient, app_password: &str) {
    let mail = format!("Subject: {SUBJECT}\r\n\r\n{BODY}\r\n");
    for command in [
        "SELECT INBOX".to_owned(),
        format!("APPEND INBOX {{{}+}}\r\n{mail}", mail.len()),
        format!(
            "SEARCH OR TEXT {SEARCHED} SUBJECT {{{}+}}\r\n{SUBJECT}",
            SUBJECT.len()
        ),
        "FETCH * (ENVELOPE BODY[])".to_owned(),
        // Refused, each with something in it that is nobody's business.
        format!("LOGIN alice {app_password}"),
        format!("AUTHENTICATE PLAIN {}", plain("alice", app_password)),
        format!("X{SEARCHED}"),
        format!("SEARCH TEXT \"{SEARCHED}"),
        "LOGOUT".to_owned(),
    ] {
        let answer = client.command("w", &command).await.unwrap();
        assert!(answer.last().unwrap().starts_with("w "), "{answer:?}");
    }
}

/// One-time codes: right, once more, wrong, none. The codes that were typed.
async fn codes(program: &Program, secret: &Secret) -> Vec<String> {
    let now = clock::unix();
    let (this, next) = (now, UnixTime(now.0 + 30));
    let codes = [this, next].map(|at| totp::code_at(secret, at).unwrap());
    let wrong = if codes.contains(&"314159".to_owned()) {
        "271828"
    } else {
        "314159"
    };
    for (from, code, expected) in [
        (1, codes[0].as_str(), "OK"),
        (1, codes[0].as_str(), "OK"),
        (2, codes[0].as_str(), "NO"),
        (3, codes[1].as_str(), "OK"),
        (4, wrong, "NO"),
        (5, "", "NO"),
    ] {
        let typed = format!("{HARD_PASSWORD};{code}");
        let typed = typed.trim_end_matches(';');
        let login = match from % 2 {
            0 => format!("a AUTHENTICATE PLAIN {}\r\n", plain("carol", typed)),
            _ => format!("a LOGIN carol {{{}+}}\r\n{typed}\r\n", typed.len()),
        };
        let mut client = program.connect_from([127, 0, 0, from]).await.unwrap();
        client.response().await.unwrap();
        client.send(login).await.unwrap();
        let answer = client.answer("a").await.unwrap();
        assert!(answer[0][2..].starts_with(expected), "{from} {code}: {answer:?}");
    }
    codes.into_iter().chain([wrong.to_owned()]).collect()
}

/// Makes a user with an app password by the command line; the standard error of it all, and the app password.
async fn create(place: &Place, user: &str, password: &str) -> (String, String) {
    let added = place.run("", &["user", "add", user]).await;
    let create = ["app-password", "create", user, "--password-stdin", "--json"];
    let created = place.run(&format!("{password}\n"), &create).await;
    assert_eq!(created.code, Some(0), "{created:?}");
    let value: Value = serde_json::from_str(&created.out).unwrap();
    let printed = value["password"].as_str().unwrap().to_owned();
    (added.out + &added.err + &created.err, printed)
}

/// Enrols one-time codes by the command line; the standard error of it all, and the secret.
async fn enrol(place: &Place, user: &str, secrets: &mut Secrets) -> (String, Secret) {
    let begun = place
        .run("", &["user", "enroll-totp", user, "--begin", "--json"])
        .await;
    let value: Value = serde_json::from_str(&begun.out).unwrap();
    let typed = value["secret"].as_str().unwrap();
    let raw = support::base32(typed);
    secrets.add("the TOTP secret in base 32", typed);
    secrets.add("the TOTP secret", &raw);
    secrets.add("the TOTP secret in hexadecimal", hexadecimal(&raw));
    secrets.add(
        "the TOTP secret in base 64",
        STANDARD.encode(&raw).trim_end_matches('='),
    );
    let secret = Secret::new(raw);
    let confirm = ["user", "enroll-totp", user, "--confirm", "--code-stdin"];
    let wrong = place.run("000000\n", &confirm).await;
    let code = totp::code_at(&secret, UnixTime(clock::unix().0 - 30)).unwrap();
    let confirmed = place.run(&format!("{code}\n"), &confirm).await;
    assert_eq!(confirmed.code, Some(0), "{confirmed:?}");
    search_code(
        &code,
        "the command line",
        &(confirmed.out.clone() + &confirmed.err),
    );
    (
        begun.err + &wrong.out + &wrong.err + &confirmed.out + &confirmed.err,
        secret,
    )
}

/// Everything that a running program shows to anybody, by place.
async fn outputs(place: &Place, program: &Program) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for name in ["cmdline", "environ"] {
        let path = format!("/proc/{}/{name}", program.pid());
        all.push((path.clone(), fs::read(path).unwrap()));
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        all.push((path.to_owned(), program.get(path).await.1.into_bytes()));
    }
    let listed = place.run("", &["session", "list", "--json"]).await;
    all.push(("the session list".to_owned(), listed.out.into_bytes()));
    for arguments in [
        &["user", "show", "carol", "--json"][..],
        &["user", "list"],
        &["app-password", "list", "alice"],
    ] {
        all.push((
            format!("{arguments:?}"),
            place.run("", arguments).await.out.into_bytes(),
        ));
    }
    all
}

/// The files that a program has written, but for its key, which is a secret by itself.
fn files(place: &Place) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(place.path("data"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = entries
        .filter(|path| path.file_name().unwrap() != "control.sock")
        .collect();
    all.push(place.path("events.jsonl"));
    assert!(all.iter().any(|path| path.ends_with("imapwarden.db")));
    all.into_iter()
        .map(|path| (path.display().to_string(), fs::read(path).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_mail_comes_out_anywhere_however_loud_the_log() {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    mail.add_user("carol", HARD_PASSWORD);
    let backend = Server::start(mail.clone()).await.unwrap();
    let (by_login, heard_login) = traitor("").await;
    let (by_plain, heard_plain) = traitor(" AUTH=PLAIN SASL-IR").await;
    let dir = TempDir::new().unwrap();
    private_file(dir.path(), "master.secret", MASTER_PASSWORD);
    let more = format!(
        "  - {{name: by-login, address: '{by_login}', timeout: 2s}}\n  - {{name: by-plain, address: '{by_plain}', timeout: 2s}}\n\
         \x20 - {{name: mastered, address: '{by_plain}', timeout: 2s, master: {{user: boss, password_file: master.secret}}}}\n\
         routes:\n  - {{domain: login.test, backend: by-login}}\n  - {{domain: plain.test, backend: by-plain}}\n\
         \x20 - {{domain: master.test, backend: mastered}}\n  - {{backend: mail}}\n\
         events: {{file: events.jsonl}}\nlog: {{level: trace}}\nlogin: {{refusal_delay: 1s}}\n\
         limits: {{failures_per_user_and_network: 100, failures_per_network: 1000, longest_delay: 1s, exempt: [loopback]}}\n"
    );
    let place = Place::in_directory(dir, &yaml(backend.addr, &more));
    let program = place.start_under("export RUST_LOG=trace; exec \"$@\"").await;
    let mut secrets = Secrets::default();
    secrets.add_password("alice", MAIL_PASSWORD);
    secrets.add_password("carol", HARD_PASSWORD);
    secrets.add_password("boss", MASTER_PASSWORD);
    for mail in [SUBJECT, BODY, SEARCHED] {
        secrets.add_text(mail);
    }

    let (mut told, app_password) = create(&place, "alice", MAIL_PASSWORD).await;
    secrets.add_app_password("alice", &app_password);
    let (more, other) = create(&place, "carol", HARD_PASSWORD).await;
    told += &more;
    secrets.add_app_password("carol", &other);
    let refused = ["app-password", "create", "alice", "--password-stdin"];
    secrets.add_text("Refused-By-The-Backend");
    let refused = place.run("Refused-By-The-Backend\n", &refused).await;
    assert_eq!(refused.code, Some(77), "{refused:?}");
    told += &(refused.out + &refused.err);
    let (more, totp_secret) = enrol(&place, "carol", &mut secrets).await;
    told += &more;

    good(&program, &app_password).await;
    let codes = codes(&program, &totp_secret).await;
    let mut saying = JoinSet::new();
    let program = Arc::new(program);
    for (bytes, until) in broken(&mut secrets, &app_password) {
        let program = Arc::clone(&program);
        saying.spawn(async move { say(&program, bytes, until).await });
    }
    for (domain, sealed) in [("login.test", true), ("plain.test", true), ("master.test", false)] {
        for name in BETRAYED {
            let user = format!("{name}@{domain}");
            let mail_password = format!("Betrayed-Password-{name}-{domain}");
            let (_, printed) = place
                .app_password(&user, sealed.then_some(mail_password.as_str()))
                .await;
            if sealed {
                secrets.add_password(&user, &mail_password);
            }
            secrets.add_app_password(&user, &printed);
            let login = format!("a LOGIN {user} {printed}\r\n").into_bytes();
            let program = Arc::clone(&program);
            saying.spawn(async move { say(&program, login, "a").await });
        }
    }
    saying.join_all().await;

    // They have been used: the backends know them.
    let heard = [
        heard_login.lock().unwrap().clone(),
        heard_plain.lock().unwrap().clone(),
    ]
    .concat();
    assert!(
        heard.contains("Betrayed-Password-no-login.test")
            && heard.contains("Betrayed-Password-bug-plain.test")
    );
    assert!(heard.contains(MASTER_PASSWORD) && !heard.contains("Betrayed-Password-no-master"));
    let transcript = mail.transcript().join("\n");
    for used in [plain("alice", MAIL_PASSWORD).as_str(), SEARCHED] {
        assert!(transcript.contains(used), "{used} is not in {transcript}");
    }
    let appended = mail.messages("alice", "INBOX").unwrap().pop().unwrap();
    assert!(memchr::memmem::find(&appended, BODY.as_bytes()).is_some());

    let mut all = outputs(&place, &program).await;
    let mut program = Arc::try_unwrap(program).ok().unwrap();
    program.signal("TERM");
    assert_eq!(program.wait(Duration::from_secs(40)).await.code(), Some(0));
    all.extend(files(&place));
    let log = program.log();
    assert!(
        log.contains("backend login failed") && log.contains("master user"),
        "{log}"
    );
    let events = fs::read_to_string(place.path("events.jsonl")).unwrap();
    let count = |action: &str| {
        let events = events
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        events
            .filter(|event| text(event, "event.action") == action)
            .count()
    };
    assert!(
        count("login_succeeded") >= 8 && count("login_failed") >= 15,
        "{events}"
    );
    assert!(count("login_unavailable") >= 2 * BETRAYED.len() - 4, "{events}");
    assert!(
        program.events.all().is_empty(),
        "nothing but events is on standard output"
    );
    for code in &codes {
        search_code(code, "the log", &log);
        search_code(code, "the events", &events);
    }
    all.push(("the log".to_owned(), log.into_bytes()));
    all.push(("the command line".to_owned(), told.into_bytes()));
    for (place, bytes) in &all {
        if !place.ends_with(".key") && !place.ends_with("key.pem") {
            secrets.search(place, bytes);
        }
    }
}

/// The search itself: it must find what is there.
#[test]
fn a_secret_is_found_in_each_of_its_forms() {
    let mut secrets = Secrets::default();
    secrets.add_password("carol", HARD_PASSWORD);
    secrets.add_app_password("carol", "iw-abcd-efgh-jkmn-pqrs-tvwx-yz01-2345-6789");
    let forms = [
        format!("x{HARD_PASSWORD}x"),
        format!("{{\"a\":{}}}", serde_json::to_string(HARD_PASSWORD).unwrap()),
        plain("carol", HARD_PASSWORD),
        "IWABCDEFGHJKMNPQRSTVWXYZ0123456789".to_owned(),
        "pqrs iw-abcd-efgh-jkmn-pqrs-tvwx-yz01-2345-6789".to_owned(),
    ];
    for form in forms {
        let found = std::panic::catch_unwind(|| secrets.search("here", form.as_bytes()));
        assert!(found.is_err(), "{form}");
    }
    secrets.search("here", b"iw-abcd-ef, carol");
    let found = std::panic::catch_unwind(|| search_code("314159", "here", "code 314159 given"));
    assert!(found.is_err());
    search_code(
        "314159",
        "here",
        "{\"timestamp\":\"2026-01-01T00:00:00.314159Z\",\"ns\":1314159}",
    );
}
