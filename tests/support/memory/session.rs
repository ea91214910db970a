//! One client's session: reads commands, runs them one after the other, tells of what others changed.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;

use super::Mail;
use super::State;
use super::fetch;
use super::mailbox::Account;
use super::mailbox::Mailbox;
use super::mailbox::Message;
use super::mailbox::Received;
use super::mailbox::as_set;
use super::mailbox::flag;
use super::mailbox::flag_list;
use super::mailbox::inbox;
use super::mailbox::matches;
use super::mailbox::sequence_set;
use super::mime;
use super::search;
use super::wire;
use super::wire::Arg;
use super::wire::LineEnd;

const BEFORE_LOGIN: &str = "IMAP4rev1 SASL-IR AUTH=PLAIN ID";
const AFTER_LOGIN: &str =
    "IMAP4rev1 ID IDLE NAMESPACE UIDPLUS MOVE UNSELECT CHILDREN SPECIAL-USE LIST-EXTENDED LIST-STATUS";

/// Serves one client until it goes away or says LOGOUT.
pub(super) async fn serve(mail: &Mail, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut session = Session {
        mail,
        stream: BufReader::new(stream),
        output: Vec::new(),
        user: None,
        selected: None,
    };
    session.say(&format!("* OK [CAPABILITY {BEFORE_LOGIN}] Memory server ready"));
    while !session.mail.state().closing {
        session.flush().await?;
        let Some(command) = session.read_command().await? else {
            return Ok(());
        };
        if !session.run(&command).await? {
            return session.flush().await;
        }
    }
    session.say("* BYE The server is going down");
    session.flush().await
}

struct Session<'a, S> {
    mail: &'a Mail,
    stream: BufReader<S>,
    output: Vec<u8>,
    user: Option<String>,
    selected: Option<Selected>,
}

/// The selected mailbox as the client knows it.
struct Selected {
    name: String,
    validity: u32,
    read_only: bool,
    /// In the order of sequence numbers.
    known: Vec<Known>,
}

struct Known {
    uid: u32,
    flags: BTreeSet<String>,
}

/// How a command was answered: the text behind OK, NO or BAD.
type Answer = Result<String, Refused>;

enum Refused {
    No(&'static str),
    Bad(&'static str),
}

use Refused::Bad;
use Refused::No;

const SYNTAX: Refused = Bad("Syntax error");

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    /// Reads a command with its literals; asks for each. Nothing at the end of the stream, or while the server closes.
    async fn read_command(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut changed = self.mail.0.changed.subscribe();
        let mut command = Vec::new();
        loop {
            let end = tokio::select! {
                end = wire::read_line(&mut self.stream, &mut command) => end?,
                () = closing(self.mail, &mut changed) => {
                    self.say("* BYE The server is going down");
                    self.flush().await?;
                    None
                }
            };
            match end {
                None => return Ok(None),
                Some(LineEnd::Complete) => return Ok(Some(command)),
                Some(LineEnd::NonSync(_)) => {
                    self.mail.change(|state| state.non_sync_literals += 1);
                    return Err(io::Error::other("a literal came without being asked for"));
                }
                Some(LineEnd::Literal(size)) => {
                    if let Some(refusal) = self.refuses_literal(&command) {
                        self.say(&refusal);
                        command.clear();
                    } else {
                        self.say("+ OK");
                        self.flush().await?;
                        wire::read_literal(&mut self.stream, &mut command, size).await?;
                        continue;
                    }
                }
            }
            self.flush().await?;
        }
    }

    /// An APPEND to a mailbox that is not there is refused before its message (RFC 3501, section 6.3.11).
    fn refuses_literal(&self, head: &[u8]) -> Option<String> {
        let words = wire::arguments(head.rsplitn(2, |byte| *byte == b'{').last()?)?;
        let [tag, verb, name, ..] = words.as_slice() else {
            return None;
        };
        let exists =
            self.with_account(|account| account.mailboxes.contains_key(inbox(name.text()?)).then_some(()));
        if verb.keyword()? != "APPEND" || exists.is_some() {
            return None;
        }
        self.record(head);
        Some(format!("{} NO [TRYCREATE] No such mailbox", tag.text()?))
    }

    /// Runs a command; false where the session is over.
    async fn run(&mut self, command: &[u8]) -> io::Result<bool> {
        self.record(command);
        let args = wire::arguments(command).unwrap_or_default();
        let [Arg::Atom(tag), Arg::Atom(verb), rest @ ..] = args.as_slice() else {
            self.say("* BAD Syntax error");
            return Ok(true);
        };
        let verb = verb.to_ascii_uppercase();
        let answer = match verb.as_str() {
            "AUTHENTICATE" => self.authenticate(rest).await?,
            "IDLE" => self.idle().await?,
            _ => self.execute(&verb, rest),
        };
        // Sequence numbers must not change while a client may still be using them (RFC 3501, section 5.5).
        let may_expunge = !matches!(verb.as_str(), "FETCH" | "STORE" | "SEARCH");
        self.tell_changes(may_expunge);
        match answer {
            Ok(text) => self.say(&format!("{tag} OK {text}")),
            Err(No(text)) => self.say(&format!("{tag} NO {text}")),
            Err(Bad(text)) => self.say(&format!("{tag} BAD {text}")),
        }
        Ok(verb != "LOGOUT")
    }

    async fn authenticate(&mut self, args: &[Arg]) -> io::Result<Answer> {
        let (mechanism, initial) = match args {
            [mechanism] => (mechanism.keyword(), None),
            [mechanism, initial] => (mechanism.keyword(), initial.text().map(str::to_owned)),
            _ => return Ok(Err(SYNTAX)),
        };
        if mechanism.as_deref() != Some("PLAIN") {
            return Ok(Err(No("Unsupported mechanism")));
        }
        let response = match initial {
            Some(initial) => initial,
            None => {
                self.say("+ ");
                self.flush().await?;
                let mut line = Vec::new();
                wire::read_line(&mut self.stream, &mut line).await?;
                self.record(&line);
                String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
            }
        };
        let decoded = STANDARD.decode(response).unwrap_or_default();
        let parts: Vec<_> = decoded
            .split(|byte| *byte == 0)
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect();
        let [authzid, authcid, password] = parts.as_slice() else {
            return Ok(Err(Bad("Invalid response")));
        };
        Ok(self.log_in(authzid, authcid, password))
    }

    async fn idle(&mut self) -> io::Result<Answer> {
        if self.user.is_none() {
            return Ok(Err(Bad("Not logged in")));
        }
        self.say("+ idling");
        let mut changed = self.mail.0.changed.subscribe();
        let mut line = Vec::new();
        loop {
            self.tell_changes(true);
            self.flush().await?;
            tokio::select! {
                read = wire::read_line(&mut self.stream, &mut line) => {
                    read?;
                    self.record(&line);
                    let done = line.eq_ignore_ascii_case(b"DONE\r\n");
                    return Ok(if done { Ok("Idle completed".into()) } else { Err(Bad("Expected DONE")) });
                }
                _ = changed.changed() => {
                    if self.mail.state().closing {
                        return Ok(Err(No("The server is going down")));
                    }
                }
            }
        }
    }

    fn execute(&mut self, verb: &str, args: &[Arg]) -> Answer {
        match (verb, args) {
            ("CAPABILITY", []) => {
                let list = if self.user.is_some() {
                    AFTER_LOGIN
                } else {
                    BEFORE_LOGIN
                };
                self.say(&format!("* CAPABILITY {list}"));
                done()
            }
            ("NOOP", []) => done(),
            ("LOGOUT", []) => {
                self.say("* BYE Bye");
                done()
            }
            ("ID", [_]) => {
                self.say("* ID (\"name\" \"memory\")");
                done()
            }
            ("LOGIN", [name, password]) => {
                let (name, password) = (name.text().ok_or(SYNTAX)?, password.text().ok_or(SYNTAX)?);
                match name.split_once('*') {
                    Some((account, master)) => self.log_in(account, master, password),
                    None => self.log_in("", name, password),
                }
            }
            _ if self.user.is_none() => Err(Bad("Not logged in")),
            _ => self.execute_logged_in(verb, args),
        }
    }

    fn execute_logged_in(&mut self, verb: &str, args: &[Arg]) -> Answer {
        match (verb, args) {
            ("NAMESPACE", []) => {
                self.say("* NAMESPACE ((\"\" \"/\")) NIL NIL");
                done()
            }
            ("SELECT", [name]) => self.select(name, false),
            ("EXAMINE", [name]) => self.select(name, true),
            ("CREATE", [name]) => self.create(name),
            ("DELETE", [name]) => self.delete(name),
            ("RENAME", [from, to]) => self.rename(from, to),
            ("SUBSCRIBE", [name]) => self.subscribe(name, true),
            ("UNSUBSCRIBE", [name]) => self.subscribe(name, false),
            ("LIST", args) => self.list(args),
            ("LSUB", [reference, pattern]) => self.lsub(reference, pattern),
            ("STATUS", [name, items]) => {
                let line = self.status(name.text().ok_or(SYNTAX)?, items)?;
                self.say(&line);
                done()
            }
            ("APPEND", [name, rest @ ..]) => self.append(name, rest),
            _ if self.selected.is_none() => match verb {
                "CHECK" | "CLOSE" | "UNSELECT" | "EXPUNGE" | "SEARCH" | "FETCH" | "STORE" | "COPY"
                | "MOVE" | "UID" => Err(Bad("No mailbox selected")),
                _ => Err(Bad("Unknown command")),
            },
            ("CHECK", []) => done(),
            ("CLOSE", []) => {
                if self.writable().is_ok() {
                    self.expunge(|_| true)?;
                }
                self.selected = None;
                done()
            }
            ("UNSELECT", []) => {
                self.selected = None;
                done()
            }
            ("EXPUNGE", []) => self.expunge(|_| true),
            ("UID", [Arg::Atom(verb), rest @ ..]) => {
                self.execute_on_messages(&verb.to_ascii_uppercase(), rest, true)
            }
            (verb, rest) => self.execute_on_messages(verb, rest, false),
        }
    }

    fn execute_on_messages(&mut self, verb: &str, args: &[Arg], by_uid: bool) -> Answer {
        match (verb, args) {
            ("SEARCH", keys) => self.search(keys, by_uid),
            ("FETCH", [set, items]) => self.fetch(set, items, by_uid),
            ("STORE", [set, how, flags @ ..]) if !flags.is_empty() => self.store(set, how, flags, by_uid),
            ("COPY", [set, name]) => self.copy(set, name, by_uid),
            ("MOVE", [set, name]) => self.move_to(set, name, by_uid),
            ("EXPUNGE", [set]) if by_uid => {
                let set = sequence_set(set.text().ok_or(SYNTAX)?, self.largest().uid).ok_or(SYNTAX)?;
                self.expunge(|uid| set.contains(uid))
            }
            _ => Err(Bad("Unknown command or arguments")),
        }
    }

    fn log_in(&mut self, account: &str, name: &str, password: &str) -> Answer {
        let allowed = self.mail.change(|state| {
            let allowed = state.allows(account, name, password);
            state.failed_logins += usize::from(!allowed);
            allowed
        });
        if !allowed {
            return Err(No("[AUTHENTICATIONFAILED] Wrong name or password"));
        }
        self.user = Some(if account.is_empty() { name } else { account }.to_owned());
        Ok(format!("[CAPABILITY {AFTER_LOGIN}] Logged in"))
    }

    fn select(&mut self, name: &Arg, read_only: bool) -> Answer {
        self.selected = None;
        let name = inbox(name.text().ok_or(SYNTAX)?);
        let selected = self
            .with_account(|account| {
                let mailbox = account.mailboxes.get(name)?;
                let known = mailbox.messages.iter().map(Known::of).collect();
                let lines = [
                    "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)".to_owned(),
                    format!("* {} EXISTS", mailbox.messages.len()),
                    "* 0 RECENT".to_owned(),
                    "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] Flags"
                        .to_owned(),
                    format!("* OK [UIDVALIDITY {}] UIDs", mailbox.uid_validity),
                    format!("* OK [UIDNEXT {}] Next", mailbox.uid_next()),
                ];
                Some((lines, known, mailbox.uid_validity))
            })
            .ok_or(No("[NONEXISTENT] No such mailbox"))?;
        let (lines, known, validity) = selected;
        for line in lines {
            self.say(&line);
        }
        self.selected = Some(Selected {
            name: name.to_owned(),
            validity,
            read_only,
            known,
        });
        Ok(if read_only {
            "[READ-ONLY] Examined"
        } else {
            "[READ-WRITE] Selected"
        }
        .into())
    }

    fn create(&mut self, name: &Arg) -> Answer {
        let name = name.text().ok_or(SYNTAX)?.trim_end_matches('/');
        let made = self.change_account(|account| {
            // The levels above come into being with it.
            for (at, _) in name.match_indices('/') {
                account.create(&name[..at], None);
            }
            account.create(inbox(name), None)
        });
        if made {
            done()
        } else {
            Err(No("[ALREADYEXISTS] There is such a mailbox"))
        }
    }

    fn delete(&mut self, name: &Arg) -> Answer {
        let name = name.text().ok_or(SYNTAX)?;
        let gone =
            inbox(name) != "INBOX" && self.change_account(|account| account.mailboxes.remove(name).is_some());
        if gone {
            done()
        } else {
            Err(No("[NONEXISTENT] No such mailbox"))
        }
    }

    fn rename(&mut self, from: &Arg, to: &Arg) -> Answer {
        let (from, to) = (from.text().ok_or(SYNTAX)?, to.text().ok_or(SYNTAX)?);
        if inbox(from) == "INBOX" {
            return Err(No("[CANNOT] INBOX stays"));
        }
        self.change_account(|account| {
            if account.mailboxes.contains_key(inbox(to)) {
                return Err(No("[ALREADYEXISTS] There is such a mailbox"));
            }
            if !account.mailboxes.contains_key(from) {
                return Err(No("[NONEXISTENT] No such mailbox"));
            }
            let below = format!("{from}/");
            let moved: Vec<_> = account
                .mailboxes
                .extract_if(.., |name, _| name == from || name.starts_with(&below))
                .collect();
            for (name, mailbox) in moved {
                account
                    .mailboxes
                    .insert(format!("{to}{}", &name[from.len()..]), mailbox);
            }
            done()
        })
    }

    fn subscribe(&mut self, name: &Arg, on: bool) -> Answer {
        let name = inbox(name.text().ok_or(SYNTAX)?).to_owned();
        self.change_account(|account| match on {
            true => account.subscribed.insert(name),
            false => account.subscribed.remove(&name),
        });
        done()
    }

    /// LIST with the selection and return options of RFC 5258, RFC 5819 and RFC 6154.
    fn list(&mut self, args: &[Arg]) -> Answer {
        let (selection, args) = match args {
            [Arg::List(options), rest @ ..] => (options.as_slice(), rest),
            args => (&[][..], args),
        };
        let (reference, patterns, returned) = match args {
            [reference, patterns] => (reference, patterns, &[][..]),
            [reference, patterns, word, Arg::List(options)]
                if word.keyword().as_deref() == Some("RETURN") =>
            {
                (reference, patterns, options.as_slice())
            }
            _ => return Err(SYNTAX),
        };
        let reference = reference.text().ok_or(SYNTAX)?;
        let patterns: Option<Vec<_>> = patterns.members().iter().map(Arg::text).collect();
        let patterns = patterns.ok_or(SYNTAX)?;
        if patterns == [""] {
            self.say("* LIST (\\Noselect) \"/\" \"\"");
            return done();
        }
        let has =
            |options: &[Arg], word: &str| options.iter().any(|arg| arg.keyword().as_deref() == Some(word));
        let status = returned
            .iter()
            .position(|arg| arg.keyword().as_deref() == Some("STATUS"));
        let show_subscribed = has(selection, "SUBSCRIBED") || has(returned, "SUBSCRIBED");
        let wanted = |account: &Account, name: &str| {
            let listed = patterns
                .iter()
                .any(|pattern| matches(name, &format!("{reference}{pattern}")));
            listed
                && (!has(selection, "SUBSCRIBED") || account.subscribed.contains(name))
                && (!has(selection, "SPECIAL-USE") || account.mailboxes[name].special_use.is_some())
        };
        let listed = self.with_account(|account| {
            let names = account.mailboxes.keys().filter(|name| wanted(account, name));
            let lines = names.map(|name| (name.clone(), attributes(account, name, show_subscribed)));
            Some(lines.collect::<Vec<_>>())
        });
        for (name, attributes) in listed.unwrap_or_default() {
            self.say(&format!("* LIST ({attributes}) \"/\" {}", mime::string(&name)));
            if let Some(items) = status.and_then(|at| returned.get(at + 1)) {
                let line = self.status(&name, items)?;
                self.say(&line);
            }
        }
        done()
    }

    fn lsub(&mut self, reference: &Arg, pattern: &Arg) -> Answer {
        let pattern = format!(
            "{}{}",
            reference.text().ok_or(SYNTAX)?,
            pattern.text().ok_or(SYNTAX)?
        );
        let names = self
            .with_account(|account| Some(account.subscribed.clone()))
            .unwrap_or_default();
        for name in names.iter().filter(|name| matches(name, &pattern)) {
            self.say(&format!("* LSUB () \"/\" {}", mime::string(name)));
        }
        done()
    }

    fn status(&self, name: &str, items: &Arg) -> Result<String, Refused> {
        let items: Option<Vec<_>> = items.members().iter().map(Arg::keyword).collect();
        let items = items.ok_or(SYNTAX)?;
        self.with_account(|account| {
            let Some(mailbox) = account.mailboxes.get(inbox(name)) else {
                return Some(Err(No("[NONEXISTENT] No such mailbox")));
            };
            let told = items
                .iter()
                .map(|item| status_item(mailbox, item))
                .collect::<Option<Vec<_>>>();
            let line = |told: Vec<_>| format!("* STATUS {} ({})", mime::string(inbox(name)), told.join(" "));
            Some(told.map(line).ok_or(SYNTAX))
        })
        .unwrap_or(Err(SYNTAX))
    }

    fn append(&mut self, name: &Arg, rest: &[Arg]) -> Answer {
        let name = inbox(name.text().ok_or(SYNTAX)?);
        let (flags, date, raw) = match rest {
            [Arg::Text(raw)] => (&[][..], None, raw),
            [Arg::List(flags), Arg::Text(raw)] => (flags.as_slice(), None, raw),
            [Arg::Text(date), Arg::Text(raw)] => (&[][..], Some(date), raw),
            [Arg::List(flags), Arg::Text(date), Arg::Text(raw)] => (flags.as_slice(), Some(date), raw),
            _ => return Err(SYNTAX),
        };
        let flags = flags
            .iter()
            .map(|arg| Some(flag(arg.text()?)))
            .collect::<Option<_>>()
            .ok_or(SYNTAX)?;
        let received = match date {
            Some(date) => Received(String::from_utf8(date.clone()).map_err(|_| SYNTAX)?),
            None => Received(" 2-Mar-2026 12:00:00 +0000".into()),
        };
        let raw: Arc<[u8]> = raw.as_slice().into();
        self.change_account(|account| {
            let mailbox = account
                .mailboxes
                .get_mut(name)
                .ok_or(No("[TRYCREATE] No such mailbox"))?;
            let uid = mailbox.append(raw, flags, received);
            Ok(format!(
                "[APPENDUID {} {uid}] Append completed",
                mailbox.uid_validity
            ))
        })
    }

    fn search(&mut self, args: &[Arg], by_uid: bool) -> Answer {
        let key = search::keys(args, self.largest()).ok_or(SYNTAX)?;
        let found = self.with_messages(|number, message| {
            let hit = key.matches(number, message);
            hit.then(|| if by_uid { message.uid } else { number }.to_string())
        });
        self.say(format!("* SEARCH {}", found.join(" ")).trim_end());
        done()
    }

    fn fetch(&mut self, set: &Arg, items: &Arg, by_uid: bool) -> Answer {
        let mut items = fetch::items(items).ok_or(SYNTAX)?;
        if by_uid && !items.contains(&fetch::Item::Uid) {
            items.insert(0, fetch::Item::Uid);
        }
        let uids = self.uids(set, by_uid)?;
        if items.iter().any(fetch::marks_seen) && self.writable().is_ok() {
            self.change_messages(&uids, |message| {
                message.flags.insert("\\Seen".to_owned());
            });
        }
        let mut told = Vec::new();
        self.with_messages(|number, message| {
            if uids.contains(&message.uid) {
                fetch::response(number as usize, message, &items, &mut told);
            }
            None::<()>
        });
        self.output.extend_from_slice(&told);
        done()
    }

    fn store(&mut self, set: &Arg, how: &Arg, flags: &[Arg], by_uid: bool) -> Answer {
        self.writable()?;
        let how = how.keyword().ok_or(SYNTAX)?;
        let flags = flags.iter().flat_map(Arg::members);
        let flags: BTreeSet<_> = flags
            .map(|arg| Some(flag(arg.text()?)))
            .collect::<Option<_>>()
            .ok_or(SYNTAX)?;
        let (action, silent) = match how.strip_suffix(".SILENT") {
            Some(action) => (action, true),
            None => (how.as_str(), false),
        };
        if !["FLAGS", "+FLAGS", "-FLAGS"].contains(&action) {
            return Err(SYNTAX);
        }
        let uids = self.uids(set, by_uid)?;
        self.change_messages(&uids, |message| match action {
            "+FLAGS" => message.flags.extend(flags.iter().cloned()),
            "-FLAGS" => message.flags.retain(|known| !flags.contains(known)),
            _ => message.flags.clone_from(&flags),
        });
        let mut told = Vec::new();
        self.with_messages(|number, message| {
            if uids.contains(&message.uid) {
                told.push((number, message.uid, message.flags.clone()));
            }
            None::<()>
        });
        for (number, uid, flags) in told {
            if !silent {
                let uid = if by_uid {
                    format!("UID {uid} ")
                } else {
                    String::new()
                };
                self.say(&format!("* {number} FETCH ({uid}FLAGS {})", flag_list(&flags)));
            }
            self.note_flags(number, flags);
        }
        done()
    }

    fn copy(&mut self, set: &Arg, name: &Arg, by_uid: bool) -> Answer {
        let uids = self.uids(set, by_uid)?;
        Ok(format!("{} Copied", self.copy_uids(&uids, name)?))
    }

    /// RFC 6851: the copy is told of first, then the messages go.
    fn move_to(&mut self, set: &Arg, name: &Arg, by_uid: bool) -> Answer {
        self.writable()?;
        let uids = self.uids(set, by_uid)?;
        let code = self.copy_uids(&uids, name)?;
        self.say(&format!("* OK {code} Moved"));
        self.change_selected(|mailbox| mailbox.messages.retain(|message| !uids.contains(&message.uid)));
        done()
    }

    fn copy_uids(&mut self, uids: &[u32], name: &Arg) -> Result<String, Refused> {
        let name = inbox(name.text().ok_or(SYNTAX)?);
        let copies = self.with_messages(|_, message| uids.contains(&message.uid).then(|| message.clone()));
        self.change_account(|account| {
            let mailbox = account
                .mailboxes
                .get_mut(name)
                .ok_or(No("[TRYCREATE] No such mailbox"))?;
            let made: Vec<_> = copies
                .into_iter()
                .map(|message| mailbox.append(message.raw, message.flags, message.received))
                .collect();
            Ok(format!(
                "[COPYUID {} {} {}]",
                mailbox.uid_validity,
                as_set(uids),
                as_set(&made)
            ))
        })
    }

    fn expunge(&mut self, which: impl Fn(u32) -> bool) -> Answer {
        self.writable()?;
        self.change_selected(|mailbox| {
            mailbox
                .messages
                .retain(|message| !(message.has("\\Deleted") && which(message.uid)));
        });
        done()
    }

    /// Tells the client what it does not know yet of the selected mailbox.
    fn tell_changes(&mut self, may_expunge: bool) {
        let Some(mut selected) = self.selected.take() else {
            return;
        };
        let current = self
            .with_account(|account| {
                let mailbox = account.mailboxes.get(&selected.name)?;
                let same = mailbox.uid_validity == selected.validity;
                same.then(|| mailbox.messages.iter().map(Known::of).collect::<Vec<_>>())
            })
            .unwrap_or_default();
        let gone = |known: &Known| {
            current
                .binary_search_by_key(&known.uid, |message| message.uid)
                .is_err()
        };
        if may_expunge {
            for at in (0..selected.known.len()).rev() {
                if gone(&selected.known[at]) {
                    selected.known.remove(at);
                    self.say(&format!("* {} EXPUNGE", at + 1));
                }
            }
        }
        let last = selected.known.last().map_or(0, |known| known.uid);
        let before = selected.known.len();
        for message in current {
            if message.uid > last {
                selected.known.push(message);
                continue;
            }
            let at = selected
                .known
                .binary_search_by_key(&message.uid, |known| known.uid);
            if let Ok(at) = at
                && selected.known[at].flags != message.flags
            {
                self.say(&format!(
                    "* {} FETCH (UID {} FLAGS {})",
                    at + 1,
                    message.uid,
                    flag_list(&message.flags)
                ));
                selected.known[at] = message;
            }
        }
        if selected.known.len() > before {
            self.say(&format!("* {} EXISTS", selected.known.len()));
        }
        self.selected = Some(selected);
    }

    /// The client knows these flags now.
    fn note_flags(&mut self, number: u32, flags: BTreeSet<String>) {
        if let Some(selected) = &mut self.selected {
            selected.known[number as usize - 1].flags = flags;
        }
    }

    /// The UIDs that a set means, among the messages that the client knows.
    fn uids(&self, set: &Arg, by_uid: bool) -> Result<Vec<u32>, Refused> {
        let largest = self.largest();
        let text = set.text().ok_or(SYNTAX)?;
        let set = sequence_set(text, if by_uid { largest.uid } else { largest.number }).ok_or(SYNTAX)?;
        let known = self.selected.iter().flat_map(|selected| &selected.known);
        let chosen = known
            .zip(1..)
            .filter(|(known, number)| set.contains(if by_uid { known.uid } else { *number }));
        Ok(chosen.map(|(known, _)| known.uid).collect())
    }

    fn largest(&self) -> search::Largest {
        let known = self.selected.as_ref().map_or(&[][..], |selected| &selected.known);
        search::Largest {
            number: known.len() as u32,
            uid: known.last().map_or(0, |known| known.uid),
        }
    }

    fn writable(&self) -> Result<(), Refused> {
        match &self.selected {
            Some(selected) if !selected.read_only => Ok(()),
            _ => Err(No("[READ-ONLY] The mailbox is open for reading only")),
        }
    }

    /// Looks at each message that the client knows and that is still there, with the client's number for it.
    fn with_messages<T>(&self, mut look: impl FnMut(u32, &Message) -> Option<T>) -> Vec<T> {
        let Some(selected) = &self.selected else {
            return Vec::new();
        };
        let found = self.with_account(|account| {
            let mailbox = account.mailboxes.get(&selected.name)?;
            let known = selected.known.iter().zip(1..);
            Some(
                known
                    .filter_map(|(known, number)| look(number, mailbox.message(known.uid)?))
                    .collect(),
            )
        });
        found.unwrap_or_default()
    }

    fn change_messages(&self, uids: &[u32], how: impl Fn(&mut Message)) {
        self.change_selected(|mailbox| {
            for uid in uids {
                if let Some(message) = mailbox.message_mut(*uid) {
                    how(message);
                }
            }
        });
    }

    fn change_selected(&self, how: impl FnOnce(&mut Mailbox)) {
        let Some(selected) = &self.selected else { return };
        self.change_account(|account| {
            if let Some(mailbox) = account.mailboxes.get_mut(&selected.name) {
                how(mailbox);
            }
        });
    }

    fn with_account<T>(&self, look: impl FnOnce(&Account) -> Option<T>) -> Option<T> {
        let state = self.mail.state();
        look(&state.users.get(self.user.as_ref()?)?.account)
    }

    fn change_account<T>(&self, how: impl FnOnce(&mut Account) -> T) -> T {
        let user = self
            .user
            .as_deref()
            .expect("checked before any command that changes mail");
        self.mail.change(|state| {
            how(&mut state
                .users
                .get_mut(user)
                .expect("users are never removed")
                .account)
        })
    }

    fn record(&self, command: &[u8]) {
        let text = command.strip_suffix(b"\r\n").unwrap_or(command);
        let text = String::from_utf8_lossy(text).into_owned();
        self.mail.change(|state| state.transcript.push(text));
    }

    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        self.stream.flush().await
    }
}

impl State {
    /// True where the password is right: the user's own, or the master's for somebody else's account.
    fn allows(&self, account: &str, name: &str, password: &str) -> bool {
        let own = account.is_empty() || account == name;
        if own && self.users.get(name).is_some_and(|user| user.password == password) {
            return true;
        }
        let master = self
            .master
            .as_ref()
            .is_some_and(|(master, right)| master == name && right == password);
        master && self.users.contains_key(account)
    }
}

impl Known {
    fn of(message: &Message) -> Self {
        Self {
            uid: message.uid,
            flags: message.flags.clone(),
        }
    }
}

fn done() -> Answer {
    Ok("Completed".into())
}

/// Ends when the server says BYE to everybody.
async fn closing(mail: &Mail, changed: &mut tokio::sync::watch::Receiver<u64>) {
    while !mail.state().closing {
        let _ = changed.changed().await;
    }
}

fn attributes(account: &Account, name: &str, show_subscribed: bool) -> String {
    let below = format!("{name}/");
    let has_children = account.mailboxes.keys().any(|other| other.starts_with(&below));
    let mut words = vec![if has_children {
        "\\HasChildren"
    } else {
        "\\HasNoChildren"
    }];
    words.extend(account.mailboxes[name].special_use);
    if show_subscribed && account.subscribed.contains(name) {
        words.push("\\Subscribed");
    }
    words.join(" ")
}

fn status_item(mailbox: &Mailbox, item: &str) -> Option<String> {
    let number = match item {
        "MESSAGES" => mailbox.messages.len(),
        "RECENT" => 0,
        "UIDNEXT" => mailbox.uid_next() as usize,
        "UIDVALIDITY" => mailbox.uid_validity as usize,
        "UNSEEN" => mailbox.unseen(),
        _ => return None,
    };
    Some(format!("{item} {number}"))
}
