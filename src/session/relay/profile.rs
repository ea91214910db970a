//! Which commands a profile has. Every verb is in one class: a new one cannot be added without saying which.

use crate::imap::verb::Verb;
use crate::types::Commands;

/// What a command is about, as far as profiles tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// The connection itself; changes nothing and shows no mail.
    Session,
    /// Which mailboxes there are.
    List,
    /// Opening and leaving a mailbox.
    Open,
    /// Leaving a mailbox and, where it was opened by SELECT, removing what is marked as deleted.
    Close,
    /// Finding and reading messages.
    Read,
    /// Waiting for news.
    Wait,
    /// Rights, quotas and annotations, looked at.
    Look,
    /// Reading in ways that few programs use and no total counts.
    OddRead,
    /// Putting messages in.
    Append,
    /// Changing messages.
    Change,
    /// Changing which mailboxes there are.
    Folders,
    /// Rights, quotas and annotations, changed; and what gives others access.
    Admin,
    /// What the operator allows beyond the table, and what is never passed on.
    Unknown,
}

/// True where the commands include the verb.
pub(in crate::session) fn includes(commands: &Commands, verb: Verb) -> bool {
    use Class::Append;
    use Class::Change;
    use Class::Close;
    use Class::Folders;
    use Class::List;
    use Class::Look;
    use Class::Open;
    use Class::Read;
    use Class::Session;
    use Class::Wait;

    let class = class_of(verb);
    match commands {
        Commands::Any => true,
        Commands::Reader => matches!(class, Session | List | Open | Read | Wait | Look),
        Commands::MailClient => matches!(
            class,
            Session | List | Open | Close | Read | Wait | Look | Append | Change | Folders
        ),
        Commands::Backup => matches!(class, Session | List | Open | Close | Read | Look),
        Commands::AppendOnly => matches!(class, Session | List | Append),
        Commands::Only(verbs) => {
            let always = matches!(verb, Verb::Capability | Verb::Noop | Verb::Logout);
            let word = verb.as_str();
            let word = word.strip_prefix("UID ").unwrap_or(word);
            always || (class != Class::Unknown && verbs.iter().any(|allowed| &**allowed == word))
        }
    }
}

/// True for what changes neither messages nor mailboxes, given that mailboxes are opened with EXAMINE.
pub(super) fn only_reads(verb: Verb) -> bool {
    use Class::Close;
    use Class::List;
    use Class::Look;
    use Class::OddRead;
    use Class::Open;
    use Class::Read;
    use Class::Session;
    use Class::Wait;

    matches!(
        class_of(verb),
        Session | List | Open | Close | Read | Wait | Look | OddRead
    )
}

/// True for what may send mail to the client.
pub(super) fn downloads(verb: Verb) -> bool {
    matches!(verb, Verb::Fetch | Verb::UidFetch) || class_of(verb) == Class::OddRead
}

/// True for what may download in ways that the backend's FETCH responses do not show.
pub(super) fn downloads_uncounted(verb: Verb) -> bool {
    matches!(class_of(verb), Class::OddRead | Class::Unknown)
}

fn class_of(verb: Verb) -> Class {
    match verb {
        Verb::Capability
        | Verb::Noop
        | Verb::Logout
        | Verb::Id
        | Verb::Enable
        | Verb::Namespace
        | Verb::Language
        | Verb::Comparator => Class::Session,
        Verb::List | Verb::Lsub | Verb::Xlist | Verb::Rlist | Verb::Rlsub | Verb::Status => Class::List,
        Verb::Select | Verb::Examine | Verb::Unselect | Verb::Check => Class::Open,
        Verb::Close => Class::Close,
        Verb::Search
        | Verb::UidSearch
        | Verb::Sort
        | Verb::UidSort
        | Verb::Thread
        | Verb::UidThread
        | Verb::Esearch
        | Verb::CancelUpdate
        | Verb::Fetch
        | Verb::UidFetch
        | Verb::UidBatches => Class::Read,
        Verb::Idle | Verb::Notify => Class::Wait,
        Verb::GetQuota
        | Verb::GetQuotaRoot
        | Verb::GetAcl
        | Verb::ListRights
        | Verb::MyRights
        | Verb::GetMetadata
        | Verb::GetAnnotation
        | Verb::GetJmapAccess => Class::Look,
        Verb::Convert | Verb::Conversions | Verb::UrlFetch => Class::OddRead,
        Verb::Append => Class::Append,
        Verb::Store
        | Verb::UidStore
        | Verb::Copy
        | Verb::UidCopy
        | Verb::Move
        | Verb::UidMove
        | Verb::Expunge
        | Verb::UidExpunge
        | Verb::Replace
        | Verb::UidReplace => Class::Change,
        Verb::Create | Verb::Delete | Verb::Rename | Verb::Subscribe | Verb::Unsubscribe => Class::Folders,
        Verb::SetAcl
        | Verb::DeleteAcl
        | Verb::SetQuota
        | Verb::SetMetadata
        | Verb::SetAnnotation
        | Verb::GenUrlAuth
        | Verb::ResetKey => Class::Admin,
        Verb::StartTls
        | Verb::Authenticate
        | Verb::Login
        | Verb::Compress
        | Verb::Unauthenticate
        | Verb::Extra => Class::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn included(commands: &str) -> Vec<&'static str> {
        let commands = Commands::parse(commands).unwrap();
        let verbs = Verb::ALL.iter().filter(|verb| includes(&commands, **verb));
        verbs.map(|verb| verb.as_str()).collect()
    }

    #[test]
    fn a_list_means_its_verbs_with_and_without_uid_and_what_every_session_needs() {
        assert_eq!(
            included("FETCH,SELECT"),
            ["CAPABILITY", "NOOP", "LOGOUT", "SELECT", "FETCH", "UID FETCH"]
        );
        assert!(
            !included("EXTRA,LOGIN,COMPRESS")
                .iter()
                .any(|verb| ["extra", "LOGIN", "COMPRESS"].contains(verb))
        );
    }

    #[test]
    fn append_only_can_put_in_and_never_read_or_remove() {
        assert_eq!(
            included("append-only"),
            [
                "CAPABILITY",
                "NOOP",
                "LOGOUT",
                "ENABLE",
                "LIST",
                "LSUB",
                "NAMESPACE",
                "STATUS",
                "APPEND",
                "ID",
                "LANGUAGE",
                "COMPARATOR",
                "RLIST",
                "RLSUB",
                "XLIST",
            ]
        );
    }

    #[test]
    fn every_profile_but_mail_client_keeps_from_changing_what_is_there() {
        for profile in ["reader", "backup", "append-only"] {
            for verb in [
                "STORE",
                "UID STORE",
                "EXPUNGE",
                "MOVE",
                "COPY",
                "REPLACE",
                "CREATE",
                "DELETE",
                "RENAME",
            ] {
                assert!(!included(profile).contains(&verb), "{profile} {verb}");
            }
        }
        assert!(!included("reader").contains(&"CLOSE"), "after SELECT it expunges");
    }

    #[test]
    fn a_mail_client_needs_no_rights_quotas_and_annotations() {
        let verbs = included("mail-client");
        for verb in [
            "SETACL",
            "DELETEACL",
            "SETQUOTA",
            "SETMETADATA",
            "SETANNOTATION",
            "GENURLAUTH",
            "URLFETCH",
            "extra",
        ] {
            assert!(!verbs.contains(&verb), "{verb}");
        }
        for verb in [
            "UID STORE",
            "UID MOVE",
            "APPEND",
            "IDLE",
            "CLOSE",
            "SUBSCRIBE",
            "GETQUOTAROOT",
            "SORT",
        ] {
            assert!(verbs.contains(&verb), "{verb}");
        }
    }

    #[test]
    fn nothing_that_changes_anything_only_reads() {
        let reads: Vec<_> = Verb::ALL
            .iter()
            .filter(|verb| only_reads(**verb))
            .map(|verb| verb.as_str())
            .collect();
        for verb in [
            "APPEND",
            "STORE",
            "UID STORE",
            "COPY",
            "UID COPY",
            "MOVE",
            "UID MOVE",
            "EXPUNGE",
            "UID EXPUNGE",
            "REPLACE",
            "UID REPLACE",
            "CREATE",
            "DELETE",
            "RENAME",
            "SUBSCRIBE",
            "UNSUBSCRIBE",
            "SETACL",
            "DELETEACL",
            "SETQUOTA",
            "SETMETADATA",
            "SETANNOTATION",
            "GENURLAUTH",
            "RESETKEY",
            "extra",
        ] {
            assert!(!reads.contains(&verb), "{verb}");
        }
    }
}
