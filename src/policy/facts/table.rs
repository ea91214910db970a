//! The table of facts: name, kind, when it can be known, what it says, an example, and where it comes from.
//!
//! `docs/rules.md` has the same rows; a test compares them.

use std::sync::Arc;

use crate::policy::facts::Event;
use crate::policy::facts::Events;
use crate::policy::facts::Facts;
use crate::policy::facts::Kind;
use crate::policy::facts::Texts;
use crate::policy::facts::Value;

macro_rules! facts {
    ($($name:ident $path:literal $kind:ident $events:expr, $doc:literal, $example:literal, |$f:ident| $get:expr;)*) => {
        /// One thing that can be known about a moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Fact { $(#[doc = $doc] $name,)* }

        impl Fact {
            /// All of them, in the order of the docs.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in rules: `session.bytes_fetched`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $path,)* }
            }

            /// What kind of value it is.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }

            /// When it can be known.
            #[must_use]
            pub const fn events(self) -> Events {
                match self { $(Self::$name => $events,)* }
            }

            /// What it says, in one line.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }

            /// An example, as a test table would write it.
            #[must_use]
            pub const fn example(self) -> &'static str {
                match self { $(Self::$name => $example,)* }
            }

            /// Its value among the facts of a moment.
            pub(super) fn of<'a>(self, facts: &Facts<'a>) -> Option<Value<'a>> {
                match self { $(Self::$name => { let $f = facts; $get })* }
            }
        }
    };
}

#[rustfmt::skip]
facts! {
    SourceIp "source.ip" Address Events::ALL, "The client's address.", "192.0.2.1", |f| Some(Value::Address(f.source.ip));
    SourceNetworks "source.networks" Texts Events::ALL, "The names of the network sets that contain the address.", "[office]", |f| shared(&f.source.networks);
    SourceCountry "source.country" Text Events::ALL, "Country of the address (ISO 3166 code), if a database is configured.", "AT", |f| text(&f.source.country);
    SourceAsn "source.asn" Number Events::ALL, "Autonomous system of the address, if a database is configured.", "64496", |f| number(f.source.asn?);
    SourceIsKnown "source.is_known" Truth Events::ALL, "Somebody logged in from this network lately.", "true", |f| truth(f.source.is_known?);
    SourceIsNewForUser "source.is_new_for_user" Truth Events::FROM_LOGIN, "This user has not logged in from this network lately.", "false", |f| truth(f.source.is_new_for_user?);
    SourceIsNewCountryForUser "source.is_new_country_for_user" Truth Events::FROM_LOGIN, "This user has not logged in from this country lately.", "false", |f| truth(f.source.is_new_country_for_user?);
    SourceIsNewAsnForUser "source.is_new_asn_for_user" Truth Events::FROM_LOGIN, "This user has not logged in from this autonomous system lately.", "false", |f| truth(f.source.is_new_asn_for_user?);
    TlsVersion "tls.version" Text Events::ALL, "TLS version.", "1.3", |f| text(&f.tls?.version);
    TlsCipher "tls.cipher" Text Events::ALL, "Cipher suite, by its IANA name.", "TLS13_AES_256_GCM_SHA384", |f| text(&f.tls?.cipher);
    TlsServerName "tls.server_name" Text Events::ALL, "Host name that the client asked for.", "mail.example.org", |f| text(&f.tls?.server_name);
    TlsJa4 "tls.ja4" Text Events::ALL, "JA4 fingerprint of the ClientHello.", "t13d1516h2_8daaf6152771_b186095e22b6", |f| text(&f.tls?.ja4);
    TlsClientCertificate "tls.client_certificate" Text Events::ALL, "Subject of the verified client certificate.", "CN=alice", |f| text(&f.tls?.client_certificate);
    TlsIsNewForUser "tls.is_new_for_user" Truth Events::FROM_LOGIN, "This user has not used a client of this TLS fingerprint lately, whether it resumes sessions or not.", "false", |f| truth(f.tls?.is_new_for_user?);
    ClientName "client.name" Text Events::FROM_LOGIN, "Name in the client's ID command.", "Thunderbird", |f| text(&f.client?.name);
    ClientVersion "client.version" Text Events::FROM_LOGIN, "Version in the client's ID command.", "128.5.0", |f| text(&f.client?.version);
    ClientOs "client.os" Text Events::FROM_LOGIN, "Operating system in the client's ID command.", "Linux", |f| text(&f.client?.os);
    ClientVendor "client.vendor" Text Events::FROM_LOGIN, "Vendor in the client's ID command.", "Mozilla", |f| text(&f.client?.vendor);
    ClientFamily "client.family" Text Events::FROM_LOGIN, "Family of clients, by the ID command.", "thunderbird", |f| text(&f.client?.family);
    ClientIsNewForUser "client.is_new_for_user" Truth Events::FROM_LOGIN, "This user has not used a client of this family lately.", "false", |f| truth(f.client?.is_new_for_user?);
    UserName "user.name" Text Events::FROM_LOGIN, "User name.", "alice@example.org", |f| Some(Value::Text(&f.user?.name));
    UserDomain "user.domain" Text Events::FROM_LOGIN, "What stands behind the last `@` of the user name.", "example.org", |f| domain(&f.user?.name);
    UserAccount "user.account" Text Events::FROM_LOGIN, "Account that is opened: the user's own, or a shared one.", "sales@example.org", |f| Some(Value::Text(&f.user?.account));
    UserGroups "user.groups" Texts Events::FROM_LOGIN, "Groups of the user.", "[staff]", |f| shared(&f.user?.groups);
    UserMfa "user.mfa" Text Events::FROM_LOGIN, "How the second factor was proved: `app_password`, `totp`, `trusted_window`, `exempt`, `not_enrolled`.", "app_password", |f| text(&f.user?.mfa);
    UserIsService "user.is_service" Truth Events::FROM_LOGIN, "The credential is declared as a program's.", "false", |f| truth(f.user?.is_service);
    UserUnseenFor "user.unseen_for" Duration Events::FROM_LOGIN, "Time since the user's login before this one.", "7776000", |f| count(f.user?.unseen_for?);
    UserSessions "user.sessions" Number Events::FROM_LOGIN, "Open sessions of the user, this one included; of several replicas, what the others have told of when the user logs in.", "5", |f| number(f.user?.sessions?);
    UserSessionNetworks "user.session_networks" Number Events::FROM_LOGIN, "From how many networks those at this replica are.", "1", |f| number(f.user?.session_networks?);
    UserAppPasswordId "user.app_password.id" Text Events::FROM_LOGIN, "Id of the app password in use.", "k7q2xa", |f| Some(Value::Text(&f.user?.app_password.as_ref()?.id));
    UserAppPasswordLabel "user.app_password.label" Text Events::FROM_LOGIN, "Label of the app password in use.", "Phone", |f| Some(Value::Text(&f.user?.app_password.as_ref()?.label));
    UserAppPasswordAge "user.app_password.age" Duration Events::FROM_LOGIN, "Time since the app password was created.", "86400", |f| count(f.user?.app_password.as_ref()?.age);
    UserAppPasswordUnusedFor "user.app_password.unused_for" Duration Events::FROM_LOGIN, "Time since the app password was last used, before this login.", "3600", |f| count(f.user?.app_password.as_ref()?.unused_for?);
    UserAppPasswordClientFamilyAtCreation "user.app_password.client_family_at_creation" Text Events::FROM_LOGIN, "Family of the client that used the app password first.", "thunderbird", |f| text(&f.user?.app_password.as_ref()?.client_family_at_creation);
    LoginOutcome "login.outcome" Text Events::only(Event::Login), "`success`, or `failure`.", "failure", |f| outcome(f.login?.succeeded);
    LoginReason "login.reason" Text Events::only(Event::Login), "Why it failed, as in events.", "code_invalid", |f| Some(Value::Text(f.login?.reason?));
    LoginMechanism "login.mechanism" Text Events::only(Event::Login), "SASL mechanism, or `login`.", "plain", |f| Some(Value::Text(f.login?.mechanism));
    LoginCredential "login.credential" Text Events::only(Event::Login), "What was presented: `app_password`, `password`, `password_and_code`, `token`, `certificate`.", "password", |f| Some(Value::Text(f.login?.credential));
    LoginFailuresBefore "login.failures_before" Number Events::only(Event::Login), "Failed logins of the user since the last success.", "3", |f| number(f.login?.failures_before);
    LoginFailedNetworksBefore "login.failed_networks_before" Number Events::only(Event::Login), "From how many networks those came.", "2", |f| number(f.login?.failed_networks_before);
    LoginPasswordHash "login.password_hash" Opaque Events::only(Event::Login), "Which password was presented, by a keyed hash: only for `per` and `distinct`.", "7", |f| Some(Value::Opaque(f.login?.password_hash?));
    SessionAge "session.age" Duration Events::IN_SESSION, "Time since the login.", "60", |f| count(f.session?.age);
    SessionMailbox "session.mailbox" Text Events::IN_SESSION, "Selected mailbox.", "INBOX", |f| Some(Value::Text(f.session?.mailbox?));
    SessionMailboxRole "session.mailbox_role" Text Events::IN_SESSION, "What the selected mailbox is for: `inbox`, `sent`, `drafts`, `trash`, `junk`, `archive`, `all`.", "inbox", |f| Some(Value::Text(f.session?.mailbox_role?));
    SessionMailboxIsShared "session.mailbox_is_shared" Truth Events::IN_SESSION, "The selected mailbox is another user's, or shared.", "false", |f| truth(f.session?.mailbox_is_shared);
    SessionExists "session.exists" Number Events::IN_SESSION, "Messages in the selected mailbox.", "20000", |f| number(f.session?.exists?);
    SessionMailboxFetched "session.mailbox_fetched" Number Events::IN_SESSION, "Messages of the selected mailbox so far whose body went to the client, however often it was opened.", "80", |f| count(f.session?.mailbox_fetched);
    SessionMailboxesSelected "session.mailboxes_selected" Number Events::IN_SESSION, "Different mailboxes selected so far.", "3", |f| number(f.session?.mailboxes_selected);
    SessionCommands "session.commands" Number Events::IN_SESSION, "Commands so far.", "42", |f| count(f.session?.commands);
    SessionBadCommands "session.bad_commands" Number Events::IN_SESSION, "Commands so far that were answered BAD.", "0", |f| count(f.session?.bad_commands);
    SessionSearches "session.searches" Number Events::IN_SESSION, "SEARCH, SORT and THREAD commands so far.", "2", |f| count(f.session?.searches);
    SessionMessagesFetched "session.messages_fetched" Number Events::IN_SESSION, "Messages so far whose body went to the client.", "12", |f| count(f.session?.messages_fetched);
    SessionBytesFetched "session.bytes_fetched" Number Events::IN_SESSION, "Bytes of messages so far that went to the client.", "1048576", |f| count(f.session?.bytes_fetched);
    SessionSeenSet "session.seen_set" Truth Events::IN_SESSION, "A message has been marked as read, by STORE or by a FETCH without PEEK.", "true", |f| truth(f.session?.seen_set);
    SessionAppended "session.appended" Number Events::IN_SESSION, "Messages appended so far.", "0", |f| count(f.session?.appended);
    SessionDeleted "session.deleted" Number Events::IN_SESSION, "Messages marked as deleted so far.", "0", |f| count(f.session?.deleted);
    SessionExpunged "session.expunged" Number Events::IN_SESSION, "Messages so far that the backend reported gone.", "0", |f| count(f.session?.expunged);
    SessionMoved "session.moved" Number Events::IN_SESSION, "Messages moved so far.", "0", |f| count(f.session?.moved);
    SessionSearchCategories "session.search_categories" Texts Events::IN_SESSION, "Categories of the words searched for so far; never the words.", "[security]", |f| borrowed(f.session?.search_categories);
    SessionIsFirstSync "session.is_first_sync" Truth Events::IN_SESSION, "The session draws on a new credential's allowance for its first sync.", "false", |f| truth(f.session?.is_first_sync);
    SessionGapMeanMs "session.gap_mean_ms" Number Events::IN_SESSION, "Mean time between commands, in milliseconds.", "250", |f| count(f.session?.gap_mean_ms?);
    SessionGapDeviationMs "session.gap_deviation_ms" Number Events::IN_SESSION, "Standard deviation of that time, in milliseconds.", "90", |f| count(f.session?.gap_deviation_ms?);
    SessionEndReason "session.end_reason" Text Events::only(Event::SessionEnd), "Why the session ended, as in events.", "logout", |f| Some(Value::Text(f.session?.end_reason?));
    CommandVerb "command.verb" Text Events::only(Event::Command), "Verb in upper case, without `UID`.", "FETCH", |f| Some(Value::Text(f.command?.verb));
    CommandUid "command.uid" Truth Events::only(Event::Command), "It is the `UID` form.", "true", |f| truth(f.command?.uid);
    CommandMailbox "command.mailbox" Text Events::only(Event::Command), "Mailbox that it works on: the one it names, else the selected one.", "INBOX", |f| Some(Value::Text(f.command?.mailbox?));
    CommandMailboxRole "command.mailbox_role" Text Events::only(Event::Command), "What that mailbox is for, as `session.mailbox_role`.", "inbox", |f| Some(Value::Text(f.command?.mailbox_role?));
    CommandMailboxIsShared "command.mailbox_is_shared" Truth Events::only(Event::Command), "That mailbox is another user's, or shared.", "false", |f| truth(f.command?.mailbox_is_shared);
    CommandDestination "command.destination" Text Events::only(Event::Command), "Where COPY, MOVE or RENAME leads.", "Trash", |f| Some(Value::Text(f.command?.destination?));
    CommandDestinationRole "command.destination_role" Text Events::only(Event::Command), "What the destination is for.", "trash", |f| Some(Value::Text(f.command?.destination_role?));
    CommandPattern "command.pattern" Text Events::only(Event::Command), "Pattern of LIST, LSUB or XLIST.", "*", |f| Some(Value::Text(f.command?.pattern?));
    CommandSetSize "command.set_size" Number Events::only(Event::Command), "How many messages it is about, as far as can be told beforehand; of DELETE, how many were moved into the mailbox within a day.", "20000", |f| count(f.command?.set_size?);
    CommandSetIsAll "command.set_is_all" Truth Events::only(Event::Command), "It is about the whole mailbox.", "true", |f| truth(f.command?.set_is_all);
    CommandSecurityNotices "command.security_notices" Number Events::only(Event::Command), "How many of the messages that STORE, COPY, MOVE or UID EXPUNGE is about were shown lately and are security notices, by their subjects; see [below](#security-notices).", "1", |f| count(f.command?.security_notices);
    CommandFetchBody "command.fetch_body" Truth Events::only(Event::Command), "FETCH asks for bodies, or parts of them.", "true", |f| truth(f.command?.fetch_body);
    CommandFetchHeaders "command.fetch_headers" Truth Events::only(Event::Command), "FETCH asks for headers or envelopes.", "true", |f| truth(f.command?.fetch_headers);
    CommandFetchFlags "command.fetch_flags" Truth Events::only(Event::Command), "FETCH asks for flags.", "true", |f| truth(f.command?.fetch_flags);
    CommandSearchKeys "command.search_keys" Texts Events::only(Event::Command), "Keys of SEARCH, SORT or THREAD in upper case.", "[TEXT, SINCE]", |f| borrowed(f.command?.search_keys);
    CommandSearchCategories "command.search_categories" Texts Events::only(Event::Command), "Categories of the words searched for; never the words.", "[payment]", |f| borrowed(f.command?.search_categories);
    CommandStoreFlags "command.store_flags" Texts Events::only(Event::Command), "Flags of STORE or APPEND.", "[\\Seen]", |f| borrowed(f.command?.store_flags);
    CommandStoreMode "command.store_mode" Text Events::only(Event::Command), "What STORE does with its flags: `add`, `remove`, `replace`.", "add", |f| Some(Value::Text(f.command?.store_mode?));
    CommandStoreAddsDeleted "command.store_adds_deleted" Truth Events::only(Event::Command), "STORE marks messages as deleted.", "false", |f| truth(f.command?.store_adds_deleted);
    CommandLiteralSize "command.literal_size" Number Events::only(Event::Command), "Bytes in its literals, the message of an APPEND included.", "2048", |f| count(f.command?.literal_size);
    CommandLiterals "command.literals" Number Events::only(Event::Command), "How many literals it has.", "1", |f| number(f.command?.literals);
    CommandDepth "command.depth" Number Events::only(Event::Command), "How deep its parentheses nest.", "2", |f| number(f.command?.depth);
    CommandSize "command.size" Number Events::only(Event::Command), "Its bytes, without the message of an APPEND.", "120", |f| count(f.command?.size);
    FetchedBytes "fetched.bytes" Number Events::only(Event::Fetched), "Bytes of messages since this was last judged.", "65536", |f| count(f.fetched?.bytes);
    FetchedMessages "fetched.messages" Number Events::only(Event::Fetched), "Messages begun since this was last judged.", "4", |f| count(f.fetched?.messages);
    FetchedBody "fetched.body" Truth Events::only(Event::Fetched), "Bodies, or parts of them, are among it.", "true", |f| truth(f.fetched?.body);
    AppendedSize "appended.size" Number Events::only(Event::Appended), "Bytes of the message.", "2048", |f| count(f.appended?.size);
    AppendedMailbox "appended.mailbox" Text Events::only(Event::Appended), "Mailbox that it went to.", "Sent", |f| Some(Value::Text(f.appended?.mailbox));
    AppendedMailboxRole "appended.mailbox_role" Text Events::only(Event::Appended), "What that mailbox is for.", "sent", |f| Some(Value::Text(f.appended?.mailbox_role?));
    AppendedIsInbox "appended.is_inbox" Truth Events::only(Event::Appended), "That mailbox is INBOX.", "false", |f| truth(f.appended?.is_inbox);
    AppendedBackdatedBy "appended.backdated_by" Duration Events::only(Event::Appended), "How far in the past the date lies that the client gave the message; of several in one command, the earliest.", "0", |f| count(f.appended?.backdated_by?);
}

impl Fact {
    /// Finds a fact by its name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fact| fact.name() == name)
    }

    /// True where it may be known at every event of a session: no command, no data and no end has it to itself.
    pub(in crate::policy) fn is_of_sessions(self) -> bool {
        let mut in_session = Event::ALL
            .iter()
            .filter(|event| Events::IN_SESSION.contains(**event));
        in_session.all(|event| self.events().contains(*event))
    }

    /// True for what can only be another thing at the next moment of a session where its parties are, or the mailbox that is
    /// open, or what the command says, or whether bodies are fetched: see [`crate::policy::engine::Prepared`].
    pub(in crate::policy) const fn is_steady(self) -> bool {
        // What is known from the login on is known of the parties.
        self.events().contains(Event::Login)
            || matches!(
                self,
                Self::SessionMailbox
                    | Self::SessionMailboxRole
                    | Self::SessionMailboxIsShared
                    | Self::SessionIsFirstSync
                    | Self::CommandVerb
                    | Self::CommandUid
                    | Self::CommandMailbox
                    | Self::CommandMailboxRole
                    | Self::CommandMailboxIsShared
                    | Self::CommandSetSize
                    | Self::CommandSetIsAll
                    | Self::CommandFetchBody
                    | Self::CommandFetchHeaders
                    | Self::CommandFetchFlags
                    | Self::CommandDepth
                    | Self::CommandSize
                    | Self::CommandLiteralSize
                    | Self::CommandLiterals
                    | Self::FetchedBody
            )
    }
}

fn text(text: &Option<Arc<str>>) -> Option<Value<'_>> {
    text.as_deref().map(Value::Text)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "each accessor of the table may find nothing"
)]
fn shared(list: &[Arc<str>]) -> Option<Value<'_>> {
    Some(Value::Texts(Texts::Shared(list)))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "each accessor of the table may find nothing"
)]
fn borrowed<'a>(list: &'a [&'a str]) -> Option<Value<'a>> {
    Some(Value::Texts(Texts::Borrowed(list)))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "each accessor of the table may find nothing"
)]
fn truth(value: bool) -> Option<Value<'static>> {
    Some(Value::Truth(value))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "each accessor of the table may find nothing"
)]
fn number(value: u32) -> Option<Value<'static>> {
    Some(Value::Number(i64::from(value)))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "each accessor of the table may find nothing"
)]
fn count(value: u64) -> Option<Value<'static>> {
    Some(Value::Number(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn outcome(succeeded: bool) -> Option<Value<'static>> {
    let word = if succeeded { "success" } else { "failure" };
    Some(Value::Text(word))
}

fn domain(name: &str) -> Option<Value<'_>> {
    let (_, domain) = name.rsplit_once('@')?;
    (!domain.is_empty()).then_some(Value::Text(domain))
}
