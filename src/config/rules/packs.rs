//! The rules that come with the program: the files of `policies/`, as they were when it was built.

/// Rules that come with the program, by their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pack {
    /// For everybody: reports what is odd, stops what is plainly an attack.
    Baseline,
    /// Beside the baseline, where mail is worth more than convenience.
    Strict,
    /// An archive, or while an incident is looked into.
    ReadOnly,
    /// Shields for any server's parser.
    Generic,
    /// Known holes of Cyrus.
    Cyrus,
    /// Known holes of Dovecot.
    Dovecot,
    /// Known holes of UW-imapd.
    UwImapd,
}

impl Pack {
    /// All of them, with their names in the configuration.
    pub(in crate::config) const NAMES: &'static [(&'static str, Self)] = &[
        ("baseline", Self::Baseline),
        ("strict", Self::Strict),
        ("read-only", Self::ReadOnly),
        ("generic", Self::Generic),
        ("cyrus", Self::Cyrus),
        ("dovecot", Self::Dovecot),
        ("uw-imapd", Self::UwImapd),
    ];

    /// Those in force where nobody says otherwise: silent on what mail programs do.
    pub const DEFAULT: &'static [Self] = &[Self::Baseline, Self::Generic];

    /// The files: what they are called in messages, and their texts.
    pub(super) const fn files(self) -> &'static [(&'static str, &'static str)] {
        macro_rules! files {
            ($($path:literal),*) => {
                &[$((concat!("builtin:", $path), include_str!(concat!("../../../policies/", $path)))),*]
            };
        }
        match self {
            Self::Baseline => files![
                "baseline/authentication.yaml",
                "baseline/mailbox-access.yaml",
                "baseline/protocol.yaml",
                "baseline/tampering.yaml"
            ],
            Self::Strict => files!["strict/strict.yaml"],
            Self::ReadOnly => files!["read-only/read-only.yaml"],
            Self::Generic => files!["virtual-patching/generic.yaml"],
            Self::Cyrus => files!["virtual-patching/cyrus.yaml"],
            Self::Dovecot => files!["virtual-patching/dovecot.yaml"],
            Self::UwImapd => files!["virtual-patching/uw-imapd.yaml"],
        }
    }
}
