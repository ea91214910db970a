//! What a mailbox is for, by its name: servers of the kind that stand behind us seldom say (RFC 6154).

use crate::imap::mailbox::MailboxName;

/// A mailbox, and what its name says of it.
#[derive(Debug)]
pub(super) struct Place {
    name: MailboxName,
    role: Option<&'static str>,
    is_shared: bool,
}

impl Place {
    /// Looks at a name once.
    pub(super) fn new(name: MailboxName) -> Self {
        let Named { role, is_shared, .. } = Named::new(name.as_str());
        Self {
            name,
            role,
            is_shared,
        }
    }

    /// The same, borrowed.
    pub(super) fn named(&self) -> Named<'_> {
        Named {
            name: self.name.as_str(),
            role: self.role,
            is_shared: self.is_shared,
        }
    }
}

/// A mailbox's name, and what it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    /// The name, decoded.
    pub(super) name: &'a str,
    /// What it is for, as [`role_of`] says.
    pub(super) role: Option<&'static str>,
    /// Whether it is another user's, or shared.
    pub(super) is_shared: bool,
}

impl<'a> Named<'a> {
    /// Looks at a name.
    pub(super) fn new(name: &'a str) -> Self {
        Self {
            name,
            role: role_of(name),
            is_shared: is_shared(name),
        }
    }
}

/// Names of special mailboxes in the languages of common clients, in lower case.
const ROLES: &[(&str, &[&str])] = &[
    (
        "sent",
        &[
            "sent",
            "sent items",
            "sent messages",
            "sent mail",
            "sent-mail",
            "gesendet",
            "gesendete elemente",
            "gesendete objekte",
            "envoyés",
            "messages envoyés",
            "éléments envoyés",
            "enviados",
            "elementos enviados",
            "inviata",
            "posta inviata",
            "verzonden",
            "verzonden items",
            "wysłane",
            "skickat",
            "sendt",
            "odeslaná pošta",
        ],
    ),
    (
        "drafts",
        &[
            "drafts",
            "draft",
            "entwürfe",
            "brouillons",
            "borradores",
            "bozze",
            "rascunhos",
            "concepten",
            "szkice",
            "utkast",
            "kladder",
            "koncepty",
        ],
    ),
    (
        "trash",
        &[
            "trash",
            "deleted items",
            "deleted messages",
            "deleted",
            "bin",
            "papierkorb",
            "gelöschte elemente",
            "gelöschte objekte",
            "corbeille",
            "éléments supprimés",
            "papelera",
            "elementos eliminados",
            "cestino",
            "lixo",
            "lixeira",
            "itens excluídos",
            "prullenbak",
            "verwijderde items",
            "kosz",
            "papperskorgen",
            "papirkurv",
            "koš",
        ],
    ),
    (
        "junk",
        &[
            "junk",
            "junk e-mail",
            "junk email",
            "spam",
            "bulk mail",
            "spam-verdacht",
            "courrier indésirable",
            "indésirables",
            "correo no deseado",
            "posta indesiderata",
            "lixo eletrônico",
            "ongewenste e-mail",
            "skräppost",
        ],
    ),
    (
        "archive",
        &[
            "archive", "archives", "archiv", "archivo", "archivio", "arquivo", "archief", "archiwum", "arkiv",
        ],
    ),
    (
        "all",
        &[
            "all mail",
            "all",
            "alle nachrichten",
            "tous les messages",
            "todos",
            "tutti i messaggi",
        ],
    ),
];

/// What namespaces of other users and shared ones begin with, in lower case.
const SHARED: &[&str] = &[
    "shared/",
    "shared.",
    "#shared/",
    "#shared.",
    "other users/",
    "other users.",
    "user/",
    "user.",
    "#user/",
    "public/",
    "public.",
    "#public/",
    "public folders/",
    "shared folders/",
    "shared folders.",
];

/// `inbox`, `sent`, `drafts`, `trash`, `junk`, `archive` or `all`; nothing for other mailboxes. `INBOX.Sent` and
/// `[Gmail]/Sent Mail` are found as well; what is below another user's name is not this user's.
pub(super) fn role_of(mailbox: &str) -> Option<&'static str> {
    if mailbox == "INBOX" {
        return Some("inbox");
    }
    let lower = mailbox.to_lowercase();
    if is_shared(&lower) {
        return None;
    }
    let name = ["inbox/", "inbox.", "[gmail]/", "[google mail]/"]
        .iter()
        .find_map(|prefix| lower.strip_prefix(prefix))
        .unwrap_or(&lower);
    ROLES
        .iter()
        .find(|(_, names)| names.contains(&name))
        .map(|(role, _)| *role)
}

/// Whether a mailbox is another user's, or shared.
pub(super) fn is_shared(mailbox: &str) -> bool {
    SHARED.iter().any(|prefix| {
        mailbox
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_mailboxes_are_known_by_their_names() {
        for (name, role) in [
            ("INBOX", Some("inbox")),
            ("Sent", Some("sent")),
            ("INBOX.Sent Items", Some("sent")),
            ("INBOX/Trash", Some("trash")),
            ("[Gmail]/All Mail", Some("all")),
            ("Entwürfe", Some("drafts")),
            ("Éléments supprimés", Some("trash")),
            ("Sent/2024", None),
            ("Projects", None),
            ("user/bob/Sent", None),
            ("", None),
        ] {
            assert_eq!(role_of(name), role, "{name}");
        }
    }

    #[test]
    fn other_users_mailboxes_are_known_by_their_prefix() {
        for (name, shared) in [
            ("shared/bob/Common", true),
            ("Other Users/bob", true),
            ("user.bob", true),
            ("Public/News", true),
            ("users", false),
            ("Sharedé", false),
            ("INBOX", false),
        ] {
            assert_eq!(is_shared(name), shared, "{name}");
        }
    }
}
