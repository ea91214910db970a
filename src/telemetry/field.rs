//! The closed list of fields that an event can have. Names are ECS's where ECS has one; `imap.*` and `imapwarden.*` are ours.

macro_rules! fields {
    ($($name:ident = $path:literal $meaning:literal;)*) => {
        /// One field of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Field { $(#[doc = $meaning] $name,)* }

        impl Field {
            /// All of them, for the docs and their test.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its place in `ALL`.
            #[must_use]
            #[expect(clippy::as_conversions, reason = "an enum's own number")]
            pub const fn number(self) -> usize {
                self as usize
            }

            /// Where it stands in the JSON object: names of nested objects, joined by dots.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $(Self::$name => $path,)* }
            }

            /// What it says.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

fields! {
    Timestamp = "@timestamp" "When it happened: RFC 3339, UTC, milliseconds.";
    EcsVersion = "ecs.version" "The version of ECS that the names come from.";
    Code = "event.code" "The stable code.";
    Action = "event.action" "The stable word.";
    Category = "event.category" "ECS's categories.";
    Type = "event.type" "ECS's types.";
    Kind = "event.kind" "Always `event`.";
    Provider = "event.provider" "Always `imapwarden`.";
    Outcome = "event.outcome" "`success`, `failure` or `unknown`.";
    Sequence = "event.sequence" "Counts the events of one process and sink from 1; a gap tells of lost events.";
    Reason = "event.reason" "Why, as a stable word: a refusal, an end reason.";
    Duration = "event.duration" "How long it took, in nanoseconds.";
    LogLevel = "log.level" "`info`, `warn` or `error`.";
    Message = "message" "One sentence for people.";
    ServiceVersion = "service.version" "The version of imapwarden.";
    ProcessPid = "process.pid" "The process.";
    FilePath = "file.path" "The file that was read.";
    ErrorMessage = "error.message" "What went wrong, in words; peer text is escaped.";
    SourceIp = "source.ip" "The client's address; behind a trusted load balancer, the one it states.";
    SourcePort = "source.port" "The client's port.";
    NatIp = "source.nat.ip" "The other end of our socket, where it is a load balancer.";
    NatPort = "source.nat.port" "Its port.";
    SourceCountry = "source.geo.country_iso_code" "The country that the client's address belongs to, where a database knows it.";
    SourceAsNumber = "source.as.number" "The number of its autonomous system, where a database knows it.";
    SourceAsOrganization = "source.as.organization.name" "Who runs that.";
    SourceBytes = "source.bytes" "Bytes that the client sent, inside TLS.";
    DestinationBytes = "destination.bytes" "Bytes that were sent to the client, inside TLS.";
    NetworkProtocol = "network.protocol" "Always `imap`, on events of a connection.";
    UserName = "user.name" "Who logs in, as typed.";
    AccountName = "user.effective.name" "The account that is opened, where it is another's.";
    UserAgentName = "user_agent.name" "The program, from the client's ID command.";
    UserAgentVersion = "user_agent.version" "Its version.";
    TlsVersion = "tls.version" "`1.2` or `1.3`.";
    TlsCipher = "tls.cipher" "The cipher suite.";
    TlsResumed = "tls.resumed" "True where an earlier TLS session was resumed.";
    TlsServerName = "tls.client.server_name" "The server name that the client asked for (SNI).";
    TlsJa4 = "tls.client.ja4" "The JA4 fingerprint of the client's TLS: which program or library it is, whatever it says.";
    TlsSubject = "tls.client.subject" "The subject of the client's certificate, where one was verified.";
    SessionId = "session.id" "The connection: 16 hexadecimal digits, the same in every event of one connection.";
    RuleName = "rule.name" "The list, rule or limit that decided.";
    RuleVersion = "rule.version" "What tells the set of rules from another: a hash of its text.";
    Severity = "event.severity" "How bad a rule calls it: 1 info, 21 low, 47 medium, 73 high, 99 critical.";
    TechniqueId = "threat.technique.id" "The ATT&CK technique that a rule is about.";
    DecisionId = "imapwarden.decision.id" "The decision's name; refused clients are shown it.";
    DecisionMode = "imapwarden.decision.mode" "`enforce`, or `shadow`: reported, not acted on.";
    DecisionActions = "imapwarden.decision.actions" "What the rule does.";
    DecisionValue = "imapwarden.decision.value" "What the rule counted.";
    DecisionThreshold = "imapwarden.decision.threshold" "What it had to be above.";
    ImapCommand = "imap.command" "The command's verb.";
    ImapMailbox = "imap.mailbox" "The mailbox, decoded.";
    ConfigChanged = "imapwarden.config.changed" "Sections of the configuration that differ from before.";
    Listener = "imapwarden.listener" "The listener that took the connection.";
    Mechanism = "imapwarden.mechanism" "`login`, `plain` or `sasl_login`.";
    SecondFactor = "imapwarden.second_factor" "`app_password`, `totp`, `trusted_window`, `exempt` or `not_enrolled`.";
    StoreAway = "imapwarden.store_away" "True where the store was away, and a trusted window was honoured that this process knew of.";
    AppPasswordId = "imapwarden.app_password.id" "The app password's id, as `imapwarden app-password list` shows it.";
    AppPasswordLabel = "imapwarden.app_password.label" "The app password's label.";
    EndSide = "imapwarden.end.side" "Who ended it: `client`, `backend` or `proxy`.";
    Commands = "imapwarden.commands.sent" "Commands sent to the backend after login.";
    CommandsRefused = "imapwarden.commands.refused" "Commands after login that imapwarden answered itself.";
    CommandsDenied = "imapwarden.commands.denied" "Those of them that are proper commands, and were not allowed.";
    MessagesAppended = "imapwarden.messages.appended" "Messages that the client appended, begun.";
    CommandResult = "imapwarden.command.result" "What became of a command: `ok`, `no` or `bad` from the backend, `refused` by the proxy, `unanswered` where the session ended first.";
    CommandsUntold = "imapwarden.commands.untold" "Commands of the session that no event tells of, since the last one that was told.";
    FetchedBytes = "imapwarden.fetched.bytes" "Bytes of FETCH responses that came until the command was answered.";
    FetchedMessages = "imapwarden.fetched.messages" "Messages whose bodies came with them.";
    FetchedBody = "imapwarden.fetched.body" "True where bodies, or parts of them, were among it.";
    AppendedBytes = "imapwarden.appended.bytes" "Bytes of the messages that the command appended.";
    AppendedMessages = "imapwarden.appended.messages" "How many they are.";
    Facts = "imapwarden.facts" "What rules knew, by the names of facts in rules.md; what is false, zero or empty is left out.";
    BackendName = "imapwarden.backend.name" "The backend.";
    BackendSent = "imapwarden.backend.bytes_sent" "Bytes that were sent to the backend.";
    BackendReceived = "imapwarden.backend.bytes_received" "Bytes that the backend sent.";
    BanNetwork = "imapwarden.ban.network" "The banned network.";
    BanUntil = "imapwarden.ban.until" "When the ban ends; absent where it does not.";
    BanReason = "imapwarden.ban.reason" "Why, in the words of whoever set the ban.";
    KeyId = "imapwarden.key.id" "The key in force, as `imapwarden key status` calls it.";
    Dropped = "imapwarden.events.dropped" "How many events were lost since the last one written.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_stands_where_another_has_its_children() {
        for one in Field::ALL {
            for other in Field::ALL.iter().filter(|other| *other != one) {
                let inside = other.path().strip_prefix(one.path());
                assert!(
                    inside.is_none_or(|rest| !rest.is_empty() && !rest.starts_with('.')),
                    "{} is in the way of {}",
                    one.path(),
                    other.path()
                );
            }
        }
    }
}
