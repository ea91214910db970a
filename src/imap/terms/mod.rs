//! What the words that somebody searches for are about: payments, passwords, contracts. The words themselves are never kept.
//!
//! Intruders search a mailbox for what can be turned into money before they read anything. Letters are compared without case
//! and accents, in whole words: an entry fits the words that begin with it, and their beginnings, because servers search for
//! parts of words.

mod fold;
mod words;

use std::fmt;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use crate::imap::terms::fold::Folded;
use crate::imap::terms::words::WORDS;

/// What a word is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// Invoices and transfers of money.
    Payment,
    /// Accounts and cards.
    Bank,
    /// Passwords and keys.
    Credential,
    /// Contracts and courts.
    Legal,
    /// Wages and personal files.
    Hr,
    /// Alerts and codes that a service sends when somebody signs in: what an intruder deletes.
    Security,
}

impl Category {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Payment,
        Self::Bank,
        Self::Credential,
        Self::Legal,
        Self::Hr,
        Self::Security,
    ];

    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Bank => "bank",
            Self::Credential => "credential",
            Self::Legal => "legal",
            Self::Hr => "hr",
            Self::Security => "security",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Payment => 1,
            Self::Bank => 2,
            Self::Credential => 4,
            Self::Legal => 8,
            Self::Hr => 16,
            Self::Security => 32,
        }
    }
}

/// Some of the categories.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Categories(u8);

impl Categories {
    /// True where there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True where the category is among them.
    #[must_use]
    pub const fn contains(self, category: Category) -> bool {
        self.0 & category.bit() != 0
    }

    /// The categories, in their order.
    pub fn iter(self) -> impl Iterator<Item = Category> {
        Category::ALL
            .into_iter()
            .filter(move |category| self.contains(*category))
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Categories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The categories that a term falls into. Takes time in proportion to its length.
#[must_use]
pub fn categories_of(term: &[u8]) -> Categories {
    let mut found = Categories::default();
    let folded = Folded::of(term);
    for hit in MATCHER.words.find_overlapping_iter(folded.as_str()) {
        let category = MATCHER.categories.get(hit.pattern().as_usize());
        found.0 |= category.map_or(0, |category| category.bit());
    }
    found
}

static MATCHER: LazyLock<Matcher> = LazyLock::new(Matcher::new);

/// Every entry as it stands in folded text, and the category of each.
struct Matcher {
    words: AhoCorasick,
    categories: Vec<Category>,
}

impl Matcher {
    fn new() -> Self {
        let mut patterns = Vec::new();
        let mut categories = Vec::new();
        for (category, entries) in WORDS {
            for entry in entries.iter().flat_map(|line| line.split(", ")) {
                for pattern in patterns_of(entry) {
                    patterns.push(pattern);
                    categories.push(*category);
                }
            }
        }
        #[expect(
            clippy::expect_used,
            reason = "a few thousand short patterns, the same in every process"
        )]
        let words = AhoCorasick::new(patterns).expect("the word lists fit into an automaton");
        Self { words, categories }
    }
}

/// The shortest beginning of a word that is taken for the word, and how many of its letters may be missing.
const SHORTEST_BEGINNING: usize = 5;
const MISSING: usize = 2;

/// Folded text has one space before, between and behind words.
fn patterns_of(entry: &str) -> Vec<String> {
    if let Some(anywhere) = entry.strip_prefix('~') {
        return vec![anywhere.to_owned()];
    }
    if let Some(exact) = entry.strip_prefix('=') {
        return vec![format!(" {exact} ")];
    }
    let mut patterns = vec![format!(" {entry}")];
    let letters = entry.chars().count();
    if !entry.contains(' ') {
        for count in SHORTEST_BEGINNING.max(letters.saturating_sub(MISSING))..letters {
            let beginning: String = entry.chars().take(count).collect();
            patterns.push(format!(" {beginning} "));
        }
    }
    patterns
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn found(term: &str) -> Vec<&'static str> {
        categories_of(term.as_bytes())
            .iter()
            .map(Category::as_str)
            .collect()
    }

    #[test]
    fn words_of_many_languages_fall_into_their_categories() {
        for (category, terms) in [
            (
                "payment",
                "invoice|Invoices|WIRE TRANSFER|Rechnung|Überweisung|Ueberweisung|facture|Factura|fattura|bonifico|fatura|factuur|\
                 faktura|PŁATNOŚĆ|przelew|платежи|請求書",
            ),
            (
                "bank",
                "IBAN|bank|Banküberweisung|credit card|Konto|Kreditkarte|compte bancaire|cuenta bancaria|conto corrente|\
                 conta bancária|bankrekening|numer konta|реквизиты|銀行",
            ),
            (
                "credential",
                "password|Passwörter|Kennwort|mot de passe|contraseña|credenziali|senha|wachtwoord|hasło|пароль|密码|api key",
            ),
            (
                "legal",
                "contract|NDA|lawsuit|Vertrag|avocat|abogado|avvocato|advogado|overeenkomst|umowa|договор",
            ),
            (
                "hr",
                "salary|payroll|Gehaltsabrechnung|Kündigung|fiche de paie|nómina|busta paga|loonstrook|wynagrodzenie|зарплата",
            ),
            (
                "security",
                "verification code|security alert|2FA|Sicherheitscode|code de vérification|código de seguridad|验证码|\
                 Your password has been changed|New sign-in to your account|Ihr Passwort wurde geändert|Neue Anmeldung bei Ihrem Konto|\
                 Votre mot de passe a été modifié|Tu contraseña ha sido cambiada|La tua password è stata modificata|\
                 Sua senha foi alterada|Uw wachtwoord is gewijzigd|Twoje hasło zostało zmienione|Vaše heslo bylo změněno|\
                 Ditt lösenord har ändrats|Şifreniz değiştirildi|Пароль изменён|新しいログイン",
            ),
        ] {
            for term in terms.split('|') {
                assert!(found(term).contains(&category), "{term}: {:?}", found(term));
            }
        }
    }

    #[test]
    fn everyday_words_fall_into_none() {
        for term in [
            "",
            " ",
            "holiday",
            "Anna",
            "meeting",
            "spring",
            "opinion",
            "pint",
            "wireless",
            "Rechner",
            "kontor",
            "newsletter",
            "urlaub",
            "vacances",
            "reunion",
            "handicap",
            "standard",
            "panda",
            "lohnt",
            "nomination",
            "transport",
            "pass",
            "<CAF1234@mail.example.org>",
            "github",
            "fotos",
            "court terme",
            "sign up for our newsletter",
            "your order has been changed",
            "app update",
        ] {
            assert!(found(term).is_empty(), "{term}: {:?}", found(term));
        }
    }

    #[test]
    fn case_accents_and_spelling_do_not_matter() {
        for term in [
            "ÜBERWEISUNG",
            "u\u{308}berweisung",
            "uberweisung",
            "  Überweisung!  ",
            "re: überweisungen 2026",
            "ＩＮＶＯＩＣＥ",
            "in\u{ad}voice",
            "bank.INVOICE-2026",
        ] {
            assert!(found(term).contains(&"payment"), "{term}");
        }
        assert!(found("credit-card").contains(&"bank"));
        assert!(found("credit  card\r\n").contains(&"bank"));
        assert_eq!(found("rechnung passwort"), ["payment", "credential"]);
    }

    #[test]
    fn bytes_of_latin_1_are_read_as_such() {
        let latin: Vec<u8> = vec![0xdc, b'b', b'e', b'r', b'w', b'e', b'i', b's', b'u', b'n', b'g'];
        assert!(categories_of(&latin).contains(Category::Payment));
        assert!(categories_of(b"\xff password \xfe").contains(Category::Credential));
    }

    #[test]
    fn beginnings_of_words_count_once_they_are_plain() {
        assert!(found("invoi").contains(&"payment") && found("passwo").contains(&"credential"));
        assert!(found("invo").is_empty() && found("paym").is_empty() && found("xinvoice").is_empty());
    }

    #[test]
    fn entries_are_folded_and_stand_once() {
        let mut seen = BTreeMap::new();
        for (category, entries) in WORDS {
            for entry in entries.iter().flat_map(|line| line.split(", ")) {
                let bare = entry.trim_start_matches(['~', '=']);
                assert_eq!(
                    Folded::of(bare.as_bytes()).as_str(),
                    format!(" {bare} "),
                    "{entry}"
                );
                assert_eq!(seen.insert(bare, *category), None, "{entry} stands twice");
                assert!(categories_of(bare.as_bytes()).contains(*category), "{entry}");
            }
        }
        assert!(seen.len() > 300, "{}", seen.len());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(term: Vec<u8>) {
            let _ = categories_of(&term);
        }

        #[test]
        fn what_stands_around_a_word_does_not_hide_it(
            before in "[ -/:-@\\[-`{-~]{0,20}",
            behind in "[ -/:-@\\[-`{-~]{0,20}",
        ) {
            let term = format!("{before}Rechnung{behind}");
            prop_assert!(found(&term).contains(&"payment"), "{}", term);
        }
    }
}
