//! Text as words are compared in: lower case, without accents, one space around each word.

use zeroize::Zeroizing;

/// Folded text. It is wiped when it is no longer needed: what people search for is nobody's business.
pub(super) struct Folded(Zeroizing<String>);

impl Folded {
    /// Folds bytes of UTF-8; bytes that are none are taken for Latin-1, which old clients search in.
    pub(super) fn of(term: &[u8]) -> Self {
        // Never grows, so that no copy is left behind: a byte becomes two at most, and a letter `ss`, `ae` or the like.
        let mut folded = Self(Zeroizing::new(String::with_capacity(
            term.len().saturating_mul(3).saturating_add(2),
        )));
        folded.0.push(' ');
        for chunk in term.utf8_chunks() {
            for char in chunk.valid().chars() {
                folded.take(char);
            }
            for byte in chunk.invalid() {
                folded.take(char::from(*byte));
            }
        }
        if !folded.0.ends_with(' ') {
            folded.0.push(' ');
        }
        folded
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn take(&mut self, char: char) {
        // Accents of their own, soft hyphens, and marks without width: they are not there.
        if matches!(char, '\u{300}'..='\u{36f}' | '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
        {
            return;
        }
        // Full-width forms, as Japanese keyboards write them.
        let char = match char {
            '\u{ff01}'..='\u{ff5e}' => u32::from(char)
                .checked_sub(0xfee0)
                .and_then(char::from_u32)
                .unwrap_or(char),
            other => other,
        };
        for lower in char.to_lowercase() {
            match base_of(lower) {
                Some(base) => self.0.push_str(base),
                None if matches!(lower, '\u{300}'..='\u{36f}') => {}
                None if lower.is_alphanumeric() => self.0.push(lower),
                None if !self.0.ends_with(' ') => self.0.push(' '),
                None => {}
            }
        }
    }
}

/// A letter without its accent.
fn base_of(letter: char) -> Option<&'static str> {
    Some(match letter {
        'à'..='å' | 'ā' | 'ă' | 'ą' | 'ǎ' => "a",
        'æ' => "ae",
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => "c",
        'ď' | 'đ' | 'ð' => "d",
        'è'..='ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => "e",
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => "g",
        'ĥ' | 'ħ' => "h",
        'ì'..='ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' => "i",
        'ĵ' => "j",
        'ķ' => "k",
        'ĺ' | 'ļ' | 'ľ' | 'ł' => "l",
        'ñ' | 'ń' | 'ņ' | 'ň' => "n",
        'ò'..='ö' | 'ø' | 'ō' | 'ŏ' | 'ő' => "o",
        'œ' => "oe",
        'ŕ' | 'ŗ' | 'ř' => "r",
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => "s",
        'ß' => "ss",
        'ţ' | 'ť' | 'ț' => "t",
        'þ' => "th",
        'ù'..='ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' => "u",
        'ŵ' => "w",
        'ý' | 'ÿ' | 'ŷ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        'ё' => "е",
        'й' => "и",
        'ї' => "і",
        'ά' => "α",
        'έ' => "ε",
        'ή' => "η",
        'ί' | 'ϊ' | 'ΐ' => "ι",
        'ό' => "ο",
        'ύ' | 'ϋ' | 'ΰ' => "υ",
        'ώ' => "ω",
        'ς' => "σ",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        Folded::of(text.as_bytes()).as_str().to_owned()
    }

    #[test]
    fn words_stand_between_single_spaces() {
        assert_eq!(folded(""), " ");
        assert_eq!(folded(" .. "), " ");
        assert_eq!(folded("One-Time  password!"), " one time password ");
        assert_eq!(folded("2FA"), " 2fa ");
    }

    #[test]
    fn both_ways_to_write_an_accent_come_out_the_same() {
        for (composed, decomposed, plain) in [
            ("Überweisung", "U\u{308}berweisung", " uberweisung "),
            ("hasło", "hasło", " haslo "),
            ("płatność", "płatnos\u{301}c\u{301}", " platnosc "),
            ("Straße", "Straße", " strasse "),
            ("İstanbul", "I\u{307}stanbul", " istanbul "),
            ("счёт", "сче\u{308}т", " счет "),
        ] {
            assert_eq!(folded(composed), plain);
            assert_eq!(folded(decomposed), plain);
        }
    }

    #[test]
    fn the_room_is_enough_for_any_text() {
        for text in [
            "ß".repeat(500),
            "İ".repeat(500),
            "ﬃ".repeat(500),
            "\u{1e9e}".repeat(500),
            "a".repeat(500),
        ] {
            let folded = Folded::of(text.as_bytes());
            assert!(
                folded.0.capacity() == text.len() * 3 + 2,
                "it has grown: {text:.3}"
            );
        }
        let latin = vec![0xdf_u8; 500];
        assert_eq!(Folded::of(&latin).0.capacity(), 1502);
    }
}
