//! What happens: the facts of one moment. Borrowed from the session, built on the stack for one judgement.

/// A login that was decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Login<'a> {
    /// Whether it succeeds, unless a rule objects.
    pub succeeded: bool,
    /// Why it failed: a word of `types::Refusal`.
    pub reason: Option<&'a str>,
    /// The SASL mechanism, or `login`.
    pub mechanism: &'a str,
    /// What was presented: `app_password`, `password`, `password_and_code`, `token` or `certificate`.
    pub credential: &'a str,
    /// Failed logins of this user since the last success, this one not included.
    pub failures_before: u32,
    /// From how many networks those came.
    pub failed_networks_before: u32,
    /// Keyed hash of the password that was presented: the same for the same password, worthless to anybody else.
    pub password_hash: Option<u64>,
}

/// The session so far; what happens now is not included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Session<'a> {
    /// Seconds since the login.
    pub age: u64,
    /// The selected mailbox, decoded.
    pub mailbox: Option<&'a str>,
    /// What it is for: `inbox`, `sent`, `drafts`, `trash`, `junk`, `archive`, `all`.
    pub mailbox_role: Option<&'a str>,
    /// Whether the selected mailbox is another user's or shared.
    pub mailbox_is_shared: bool,
    /// How many messages the selected mailbox has.
    pub exists: Option<u32>,
    /// Messages of the selected mailbox whose body was sent to the client, however often it was opened.
    pub mailbox_fetched: u64,
    /// How many different mailboxes have been selected.
    pub mailboxes_selected: u32,
    /// Commands that were forwarded.
    pub commands: u64,
    /// Commands that we answered BAD.
    pub bad_commands: u64,
    /// SEARCH, SORT and THREAD commands.
    pub searches: u64,
    /// Messages whose body was sent to the client.
    pub messages_fetched: u64,
    /// Bytes of messages sent to the client.
    pub bytes_fetched: u64,
    /// Whether `\Seen` was set on any message, by STORE or by fetching without PEEK.
    pub seen_set: bool,
    /// Messages appended.
    pub appended: u64,
    /// Messages marked `\Deleted`, as the commands' sets say.
    pub deleted: u64,
    /// Messages that the backend reported gone.
    pub expunged: u64,
    /// Messages moved to another mailbox.
    pub moved: u64,
    /// The categories that the terms of its searches fell into.
    pub search_categories: &'a [&'a str],
    /// Whether it draws on the one-time allowance that a new credential has for its first sync.
    pub is_first_sync: bool,
    /// Mean time between the client's commands, in milliseconds; `None` before there are enough.
    pub gap_mean_ms: Option<u64>,
    /// Standard deviation of that time, in milliseconds.
    pub gap_deviation_ms: Option<u64>,
    /// Why it ended: a word of `types::EndReason`.
    pub end_reason: Option<&'a str>,
}

/// A command that waits for the verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Command<'a> {
    /// The verb in upper case, without `UID`.
    pub verb: &'a str,
    /// Whether it is the `UID` form.
    pub uid: bool,
    /// The mailbox it works on, decoded: the one it names, else the selected one.
    pub mailbox: Option<&'a str>,
    /// What that mailbox is for, as in `Session::mailbox_role`.
    pub mailbox_role: Option<&'a str>,
    /// Whether that mailbox is another user's or shared.
    pub mailbox_is_shared: bool,
    /// Where COPY, MOVE and RENAME lead, decoded.
    pub destination: Option<&'a str>,
    /// What the destination is for.
    pub destination_role: Option<&'a str>,
    /// The pattern of LIST and its kin.
    pub pattern: Option<&'a str>,
    /// How many messages its set means, as far as can be told; of DELETE, how many were moved into the mailbox lately.
    pub set_size: Option<u64>,
    /// Whether its set means the whole mailbox.
    pub set_is_all: bool,
    /// How many messages of its set the client was shown as security notices.
    pub security_notices: u64,
    /// Whether FETCH asks for bodies or parts of them.
    pub fetch_body: bool,
    /// Whether FETCH asks for headers or envelopes.
    pub fetch_headers: bool,
    /// Whether FETCH asks for flags.
    pub fetch_flags: bool,
    /// SEARCH's keys in upper case.
    pub search_keys: &'a [&'a str],
    /// The categories that SEARCH's terms fall into; the terms themselves are no facts.
    pub search_categories: &'a [&'a str],
    /// STORE's flags, or APPEND's.
    pub store_flags: &'a [&'a str],
    /// `add`, `remove` or `replace`.
    pub store_mode: Option<&'a str>,
    /// Whether STORE marks messages `\Deleted`.
    pub store_adds_deleted: bool,
    /// Bytes in its literals, or of the message that APPEND announces.
    pub literal_size: u64,
    /// How many literals it has.
    pub literals: u32,
    /// How deep its parentheses nest.
    pub depth: u32,
    /// Its bytes, streamed literals not included.
    pub size: u64,
}

/// Data of messages that the backend has sent since the last moment of this kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes.
    pub bytes: u64,
    /// Messages begun.
    pub messages: u64,
    /// Whether bodies or parts of them are among it.
    pub body: bool,
}

/// A message that the backend accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended<'a> {
    /// Its bytes.
    pub size: u64,
    /// Where it went, decoded.
    pub mailbox: &'a str,
    /// What that mailbox is for.
    pub mailbox_role: Option<&'a str>,
    /// Whether that is INBOX.
    pub is_inbox: bool,
    /// How many seconds in the past the date lies that the client gave it.
    pub backdated_by: Option<u64>,
}
