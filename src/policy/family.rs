//! Families of mail programs: one word for what a client says it is in ID (RFC 2971).
//!
//! Versions, builds and translations of one program are one family, so that an update is no new client. Anybody can say
//! anything: a family is fit for noticing that a credential has moved from one program to another, never for trust.

/// Longest text that is looked at, in bytes.
const MAX_TEXT: usize = 160;

macro_rules! families {
    ($($name:ident $word:literal $meaning:literal [$($needle:literal)*];)*) => {
        /// A family of mail programs. The list is closed; a released word never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Family { $(#[doc = $meaning] $name,)* }

        impl Family {
            /// All of them, in the order in which they are tried.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Which programs it stands for.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// Words of a name that tell the family: in lower case, each a word or several.
            const fn needles(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($needle),*],)* }
            }
        }
    };
}

families! {
    // What stands further up is tried first: "Thunderbird for Android" is K-9.
    None "none" "No ID at all, as mbsync, aerc, fetchmail and scripts send none." [];
    Unknown "unknown" "An ID that names none of these." [];
    K9 "k9" "K-9 Mail, and Thunderbird for Android, which is made from it." ["k-9" "k9" "thunderbird for android" "thunderbird beta for android"];
    Thunderbird "thunderbird" "Thunderbird, and what is built on it: Betterbird, Postbox, SeaMonkey." ["thunderbird" "betterbird" "postbox" "seamonkey" "icedove"];
    AppleMailIos "apple_mail_ios" "Mail on iPhone and iPad." ["iphone mail" "ipad mail" "ios mail" "com.apple.email.maild" "com.apple.mobilemail"];
    AppleMailMac "apple_mail_mac" "Mail on the Mac." ["mac os x mail" "macos mail" "apple mail" "com.apple.mail"];
    Outlook "outlook" "Microsoft Outlook on all systems, and Windows Mail." ["outlook" "windows mail" "windows live mail"];
    Gmail "gmail" "The Gmail app." ["com.google.android.gm" "gmail"];
    SamsungEmail "samsung_email" "Samsung Email." ["com.samsung.android.email" "samsung email"];
    AndroidEmail "android_email" "The Email app of Android itself, as phone makers shipped it." ["com.android.email"];
    FairEmail "fairemail" "FairEmail." ["fairemail"];
    BlueMail "bluemail" "BlueMail." ["bluemail" "blue mail"];
    Spark "spark" "Spark." ["spark"];
    EmClient "em_client" "eM Client." ["em client" "emclient"];
    TheBat "the_bat" "The Bat!" ["the bat"];
    MailMate "mailmate" "MailMate." ["mailmate"];
    Mailspring "mailspring" "Mailspring." ["mailspring"];
    Evolution "evolution" "Evolution." ["evolution"];
    Geary "geary" "Geary." ["geary"];
    Kmail "kmail" "KMail and Kontact." ["kmail" "kontact"];
    ClawsMail "claws_mail" "Claws Mail and Sylpheed." ["claws" "claws mail" "sylpheed"];
    Trojita "trojita" "Trojitá." ["trojita" "trojitá"];
    DeltaChat "delta_chat" "Delta Chat." ["delta chat" "deltachat"];
    Mutt "mutt" "Mutt and NeoMutt." ["mutt" "neomutt"];
    Alpine "alpine" "Alpine and Pine." ["alpine" "pine"];
    Aerc "aerc" "aerc." ["aerc"];
    Himalaya "himalaya" "Himalaya." ["himalaya"];
    Mbsync "mbsync" "mbsync (isync)." ["mbsync" "isync"];
    OfflineImap "offlineimap" "OfflineIMAP." ["offlineimap" "offlineimap3"];
    ImapSync "imapsync" "imapsync." ["imapsync"];
    Fetchmail "fetchmail" "fetchmail." ["fetchmail"];
    Getmail "getmail" "getmail." ["getmail" "getmail6"];
    Curl "curl" "curl and libcurl." ["curl" "libcurl"];
    Python "python" "Python's libraries: imaplib, IMAPClient, imap-tools." ["imaplib" "imapclient" "imap-tools" "imap_tools" "aioimaplib" "python"];
    ImapFlow "imapflow" "ImapFlow for Node.js." ["imapflow"];
    MailKit "mailkit" "MailKit for .NET." ["mailkit"];
    JavaMail "javamail" "JavaMail and Jakarta Mail." ["javamail" "jakarta mail" "angus mail"];
    Roundcube "roundcube" "Roundcube, a webmail." ["roundcube"];
    SnappyMail "snappymail" "SnappyMail and RainLoop, webmails." ["snappymail" "rainloop"];
    Horde "horde" "Horde, a webmail." ["horde"];
    Nextcloud "nextcloud" "Nextcloud Mail, a webmail." ["nextcloud"];
    Sogo "sogo" "SOGo, a webmail." ["sogo"];
}

/// The fields of an ID command that a family is told by, as the client sent them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Identity<'a> {
    /// `name`
    pub name: Option<&'a str>,
    /// `vendor`
    pub vendor: Option<&'a str>,
    /// `os`
    pub os: Option<&'a str>,
    /// `version`: of no use for the family but that it was sent.
    pub version: Option<&'a str>,
}

impl Family {
    /// The family of a client that says this of itself.
    #[must_use]
    pub fn of(identity: &Identity<'_>) -> Self {
        if *identity == Identity::default() {
            return Self::None;
        }
        let os = lowered(identity.os);
        let named = match lowered(identity.name) {
            name if name.is_empty() => by_vendor(&lowered(identity.vendor)),
            name => by_name(&name),
        };
        match named {
            Self::AppleMailIos | Self::AppleMailMac => apple(named, &os),
            // Thunderbird for Android leaves its system out of its name.
            Self::Thunderbird if os.contains("android") => Self::K9,
            other => other,
        }
    }
}

fn by_name(name: &str) -> Family {
    let told = |family: &&Family| family.needles().iter().any(|needle| has_word(name, needle));
    Family::ALL.iter().find(told).copied().unwrap_or(Family::Unknown)
}

/// Where no program is named, its maker may be.
fn by_vendor(vendor: &str) -> Family {
    match vendor {
        _ if has_word(vendor, "apple") => Family::AppleMailIos,
        _ if has_word(vendor, "mozilla") => Family::Thunderbird,
        _ if has_word(vendor, "microsoft") => Family::Outlook,
        _ => Family::Unknown,
    }
}

/// The same service of Apple's fetches mail on phones and on Macs.
fn apple(named: Family, os: &str) -> Family {
    if os.starts_with("mac") || os.starts_with("os x") {
        return Family::AppleMailMac;
    }
    if os.starts_with("ios") || os.starts_with("ipados") || os.starts_with("iphone") {
        return Family::AppleMailIos;
    }
    named
}

/// True where the words stand in the text with nothing but other characters than letters and digits around them.
fn has_word(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(at, _)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let behind = text
            .get(at..)
            .and_then(|text| text.strip_prefix(words))
            .and_then(|text| text.chars().next());
        !before.is_some_and(char::is_alphanumeric) && !behind.is_some_and(char::is_alphanumeric)
    })
}

fn lowered(text: Option<&str>) -> String {
    let text = text.unwrap_or_default().trim();
    let end = text.floor_char_boundary(MAX_TEXT);
    text.get(..end).unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn named(name: &str) -> Family {
        Family::of(&Identity {
            name: Some(name),
            ..Identity::default()
        })
    }

    fn on(name: &str, os: &str) -> Family {
        Family::of(&Identity {
            name: Some(name),
            os: Some(os),
            ..Identity::default()
        })
    }

    #[test]
    fn the_clients_that_were_measured_have_their_families() {
        for (name, family) in [
            ("Thunderbird", Family::Thunderbird),
            ("imapflow", Family::ImapFlow),
            ("alpine", Family::Alpine),
            ("OfflineIMAP", Family::OfflineImap),
            ("Mutt", Family::Mutt),
            ("NeoMutt", Family::Mutt),
            ("imapsync", Family::ImapSync),
            ("Roundcube", Family::Roundcube),
            ("K-9 Mail", Family::K9),
            ("Thunderbird for Android", Family::K9),
            ("FairEmail", Family::FairEmail),
            ("iPhone Mail", Family::AppleMailIos),
            ("iPad Mail", Family::AppleMailIos),
            ("Mac OS X Mail", Family::AppleMailMac),
            ("Microsoft Outlook", Family::Outlook),
            ("IMAPClient", Family::Python),
            ("curl/8.5.0", Family::Curl),
            ("com.samsung.android.email.provider", Family::SamsungEmail),
            ("com.google.android.gm", Family::Gmail),
            ("com.android.email", Family::AndroidEmail),
            ("The Bat!", Family::TheBat),
            ("Trojitá", Family::Trojita),
        ] {
            assert_eq!(named(name), family, "{name}");
            assert_eq!(named(&name.to_uppercase()), family, "{name}");
        }
    }

    /// mbsync, aerc, fetchmail, getmail, imapfilter, imaplib and curl were seen to send none.
    #[test]
    fn a_client_without_an_id_is_told_from_one_with_a_strange_id() {
        assert_eq!(Family::of(&Identity::default()), Family::None);
        for strange in [
            "",
            " ",
            "x",
            "MyMailer",
            "mutter",
            "pineapple",
            "outlooks",
            "sparks",
        ] {
            assert_eq!(named(strange), Family::Unknown, "{strange:?}");
        }
        let only_version = Identity {
            version: Some("1"),
            ..Identity::default()
        };
        assert_eq!(Family::of(&only_version), Family::Unknown);
    }

    #[test]
    fn the_system_tells_programs_of_one_name_apart() {
        assert_eq!(on("com.apple.email.maild", "iOS"), Family::AppleMailIos);
        assert_eq!(on("com.apple.email.maild", "macOS"), Family::AppleMailMac);
        assert_eq!(on("Mac OS X Mail", "Mac OS X"), Family::AppleMailMac);
        assert_eq!(on("Thunderbird", "Android"), Family::K9);
        assert_eq!(on("Thunderbird", "Linux"), Family::Thunderbird);
        let apple = Identity {
            vendor: Some("Apple Inc."),
            os: Some("iOS"),
            ..Identity::default()
        };
        assert_eq!(Family::of(&apple), Family::AppleMailIos);
    }

    #[test]
    fn words_are_unique_and_every_family_is_found_by_its_own_needles() {
        let words: BTreeSet<_> = Family::ALL.iter().map(|family| family.as_str()).collect();
        assert_eq!(words.len(), Family::ALL.len());
        for family in Family::ALL {
            for needle in family.needles() {
                assert_eq!(named(needle), *family, "{needle}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_family(name: String, vendor: Option<String>, os: Option<String>) {
            let identity = Identity {
                name: Some(&name),
                vendor: vendor.as_deref(),
                os: os.as_deref(),
                version: None,
            };
            prop_assert_ne!(Family::of(&identity), Family::None);
        }
    }
}
