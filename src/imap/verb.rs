//! The command table: which verbs exist after login, and the shape of their arguments.
//!
//! A verb that is not here is answered BAD and never forwarded, unless the operator lists it. The shapes say where a mailbox
//! name stands and where a literal may stand; they do not repeat the whole grammar, which is the backend's to judge.

use std::collections::HashMap;
use std::sync::LazyLock;

/// One position in a command's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A mailbox name: word, quoted string or literal. The first is the command's mailbox, the second its destination.
    Mailbox,
    /// A string in any form.
    Astring,
    /// A word: an atom, number, sequence set.
    Word,
    /// A parenthesised list of words, nested or not, without strings.
    Words,
    /// `Words`, or nothing.
    MaybeWords,
    /// LIST's patterns: a string, or a parenthesised list of strings.
    Patterns,
    /// Anything, strings and literals included, also nothing.
    Rest,
    /// APPEND's flags, date and message: a literal here is streamed.
    Message,
}

/// What the session has to know about a verb beyond its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Forwarded and answered.
    Plain,
    /// Selects its mailbox when the backend says OK.
    Select,
    /// Leaves the selected mailbox when the backend says OK.
    Unselect,
    /// Takes over the connection until DONE.
    Idle,
    /// Ends the session.
    Logout,
    /// Never forwarded after login; the text says why.
    Refused(&'static str),
}

macro_rules! verbs {
    ($($name:ident $word:literal $kind:expr, [$($part:ident)*];)*) => {
        /// Every verb we know. `Extra` is one that the operator allows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Verb { $(#[doc = $word] $name,)* /** A verb from `relay.extra_commands`. */ Extra }

        impl Verb {
            /// All of them, for labels that must exist from the start.
            pub const ALL: &'static [Self] = &[$(Self::$name,)* Self::Extra];

            /// The verb in upper case; `extra` for one that the operator allows.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* Self::Extra => "extra" }
            }

            /// What the session has to know about it.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => $kind,)* Self::Extra => Kind::Plain }
            }

            /// The shape of its arguments.
            #[must_use]
            pub const fn shape(self) -> &'static [Part] {
                match self { $(Self::$name => &[$(Part::$part),*],)* Self::Extra => &[Part::Rest] }
            }

            /// Finds a verb by its word, whatever the case.
            #[must_use]
            pub fn find(word: &[u8]) -> Option<Self> {
                by_word(b"", word)
            }

            /// Finds the verb that `UID` makes with a word.
            #[must_use]
            pub fn find_uid(word: &[u8]) -> Option<Self> {
                by_word(b"UID ", word)
            }
        }
    };
}

/// No verb is longer, `UID` included.
const LONGEST: usize = 16;

/// A verb by its words, in upper case.
fn by_word(before: &[u8], word: &[u8]) -> Option<Verb> {
    static VERBS: LazyLock<HashMap<&[u8], Verb>> = LazyLock::new(|| {
        let known = Verb::ALL.iter().filter(|verb| **verb != Verb::Extra);
        known.map(|verb| (verb.as_str().as_bytes(), *verb)).collect()
    });
    let mut room = [0; LONGEST];
    let words = room.get_mut(..before.len() + word.len())?;
    let (first, last) = words.split_at_mut_checked(before.len())?;
    first.copy_from_slice(before);
    last.copy_from_slice(word);
    words.make_ascii_uppercase();
    VERBS.get(&*words).copied()
}

const AGAIN: Kind = Kind::Refused("Already logged in");

verbs! {
    // RFC 3501 and RFC 9051
    Capability "CAPABILITY" Kind::Plain, [];
    Noop "NOOP" Kind::Plain, [];
    Logout "LOGOUT" Kind::Logout, [];
    StartTls "STARTTLS" Kind::Refused("TLS is already on"), [];
    Authenticate "AUTHENTICATE" AGAIN, [Rest];
    Login "LOGIN" AGAIN, [Rest];
    Enable "ENABLE" Kind::Plain, [Rest];
    Select "SELECT" Kind::Select, [Mailbox MaybeWords];
    Examine "EXAMINE" Kind::Select, [Mailbox MaybeWords];
    Create "CREATE" Kind::Plain, [Mailbox MaybeWords];
    Delete "DELETE" Kind::Plain, [Mailbox];
    Rename "RENAME" Kind::Plain, [Mailbox Mailbox MaybeWords];
    Subscribe "SUBSCRIBE" Kind::Plain, [Mailbox];
    Unsubscribe "UNSUBSCRIBE" Kind::Plain, [Mailbox];
    List "LIST" Kind::Plain, [MaybeWords Astring Patterns Rest];
    Lsub "LSUB" Kind::Plain, [Astring Patterns];
    Namespace "NAMESPACE" Kind::Plain, [];
    Status "STATUS" Kind::Plain, [Mailbox Words];
    Append "APPEND" Kind::Plain, [Mailbox Message];
    Idle "IDLE" Kind::Idle, [];
    Check "CHECK" Kind::Plain, [];
    Close "CLOSE" Kind::Unselect, [];
    Unselect "UNSELECT" Kind::Unselect, [];
    Expunge "EXPUNGE" Kind::Plain, [];
    Search "SEARCH" Kind::Plain, [Rest];
    Fetch "FETCH" Kind::Plain, [Word Rest];
    Store "STORE" Kind::Plain, [Word MaybeWords Word Rest];
    Copy "COPY" Kind::Plain, [Word Mailbox];
    Move "MOVE" Kind::Plain, [Word Mailbox];
    // RFC 3501, RFC 4315, RFC 6851, RFC 8508: the same by unique identifier
    UidSearch "UID SEARCH" Kind::Plain, [Rest];
    UidFetch "UID FETCH" Kind::Plain, [Word Rest];
    UidStore "UID STORE" Kind::Plain, [Word MaybeWords Word Rest];
    UidCopy "UID COPY" Kind::Plain, [Word Mailbox];
    UidMove "UID MOVE" Kind::Plain, [Word Mailbox];
    UidExpunge "UID EXPUNGE" Kind::Plain, [Word];
    UidSort "UID SORT" Kind::Plain, [Rest];
    UidThread "UID THREAD" Kind::Plain, [Rest];
    UidReplace "UID REPLACE" Kind::Plain, [Word Mailbox Message];
    // RFC 5256, RFC 5267, RFC 7377
    Sort "SORT" Kind::Plain, [Rest];
    Thread "THREAD" Kind::Plain, [Rest];
    CancelUpdate "CANCELUPDATE" Kind::Plain, [Rest];
    Esearch "ESEARCH" Kind::Plain, [Rest];
    // RFC 8508
    Replace "REPLACE" Kind::Plain, [Word Mailbox Message];
    // RFC 2971
    Id "ID" Kind::Plain, [Rest];
    // RFC 9208
    GetQuota "GETQUOTA" Kind::Plain, [Astring];
    GetQuotaRoot "GETQUOTAROOT" Kind::Plain, [Mailbox];
    SetQuota "SETQUOTA" Kind::Plain, [Astring Words];
    // RFC 4314
    SetAcl "SETACL" Kind::Plain, [Mailbox Astring Astring];
    DeleteAcl "DELETEACL" Kind::Plain, [Mailbox Astring];
    GetAcl "GETACL" Kind::Plain, [Mailbox];
    ListRights "LISTRIGHTS" Kind::Plain, [Mailbox Astring];
    MyRights "MYRIGHTS" Kind::Plain, [Mailbox];
    // RFC 5464, and the draft before it that Cyrus still offers
    GetMetadata "GETMETADATA" Kind::Plain, [MaybeWords Mailbox Rest];
    SetMetadata "SETMETADATA" Kind::Plain, [Mailbox Rest];
    GetAnnotation "GETANNOTATION" Kind::Plain, [Patterns Rest];
    SetAnnotation "SETANNOTATION" Kind::Plain, [Patterns Rest];
    // RFC 5465, RFC 5255, RFC 4467, RFC 5259, RFC 9698, draft UIDBATCHES
    Notify "NOTIFY" Kind::Plain, [Rest];
    Language "LANGUAGE" Kind::Plain, [Rest];
    Comparator "COMPARATOR" Kind::Plain, [Rest];
    GenUrlAuth "GENURLAUTH" Kind::Plain, [Rest];
    UrlFetch "URLFETCH" Kind::Plain, [Rest];
    ResetKey "RESETKEY" Kind::Plain, [Rest];
    Convert "CONVERT" Kind::Plain, [Rest];
    Conversions "CONVERSIONS" Kind::Plain, [Rest];
    GetJmapAccess "GETJMAPACCESS" Kind::Plain, [];
    UidBatches "UIDBATCHES" Kind::Plain, [Rest];
    // RFC 2193, and the predecessor of SPECIAL-USE
    Rlist "RLIST" Kind::Plain, [Astring Patterns];
    Rlsub "RLSUB" Kind::Plain, [Astring Patterns];
    Xlist "XLIST" Kind::Plain, [Astring Patterns];
    // What would blind us, or change who speaks
    Compress "COMPRESS" Kind::Refused("Compression is not available"), [Rest];
    Unauthenticate "UNAUTHENTICATE" Kind::Refused("Not available"), [];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_found_in_any_case_and_only_whole() {
        assert_eq!(Verb::find(b"select"), Some(Verb::Select));
        assert_eq!(Verb::find(b"SELECTX"), None);
        assert_eq!(Verb::find(b"extra"), None);
        assert_eq!(Verb::find(b""), None);
        assert_eq!(Verb::find_uid(b"fetch"), Some(Verb::UidFetch));
        assert_eq!(Verb::find_uid(b"select"), None);
        assert_eq!(Verb::find(&[b'A'; 100]), None);
        for verb in Verb::ALL.iter().filter(|verb| **verb != Verb::Extra) {
            assert_eq!(Verb::find(verb.as_str().as_bytes()), Some(*verb));
        }
    }

    #[test]
    fn a_message_is_always_the_last_part() {
        for verb in Verb::ALL {
            let at = verb.shape().iter().position(|part| *part == Part::Message);
            assert!(at.is_none_or(|at| at + 1 == verb.shape().len()), "{verb:?}");
        }
    }
}
