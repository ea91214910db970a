//! App passwords as people see them: `iw-xxxx-xxxx-xxxx-xxxx-xxxx-xxxx-xxxx-xxxx`.
//!
//! 32 base-32 characters behind the prefix: a 30-bit id, 115 random bits, a 15-bit checksum. The checksum finds typing
//! mistakes, so that they are not counted as guesses; it protects against nobody. What has the shape of an app password is
//! never treated as anything else: it must not reach a backend, an LDAP server or a log as a "main password".

use aws_lc_rs::error::Unspecified;
use zeroize::Zeroizing;

use crate::auth::random;
use crate::types::Secret;

/// No `i`, `l`, `o`, `u`: what people mix up, and what spells words (Crockford's choice).
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters that carry the id, the secret and the checksum: 6 + 23 + 3, five bits each.
const SYMBOLS: usize = 32;
const ID: usize = 6;
const SECRET: usize = 23;

/// More bytes than this are no app password, however they are spaced out.
const MAX_TYPED: usize = 256;

/// What a typed password turns out to be.
#[derive(Debug)]
pub enum Typed {
    /// An app password whose checksum is right.
    AppPassword(AppPassword),
    /// An app password with a typing mistake.
    Mistyped,
    /// Something else: a main password, with or without a code.
    Other,
}

impl Typed {
    /// The id, where it may be anybody's: which row to look at.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        match self {
            Self::AppPassword(typed) => Some(typed.id()),
            Self::Mistyped | Self::Other => None,
        }
    }
}

/// An app password as typed or drawn; not known to be anybody's.
pub struct AppPassword {
    id: u32,
    secret: Zeroizing<[u8; SECRET]>,
}

/// Shows the id alone.
impl std::fmt::Debug for AppPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AppPassword({})", id_text(self.id))
    }
}

impl AppPassword {
    /// Draws an id and a secret.
    pub(super) fn generate() -> Result<Self, Unspecified> {
        let [a, b, c, d] = *random::bytes::<4>()?;
        let mut secret = random::bytes::<SECRET>()?;
        // 256 is a multiple of 32: no value is likelier than another.
        for symbol in secret.iter_mut() {
            *symbol &= 31;
        }
        Ok(Self {
            id: u32::from_be_bytes([a, b, c, d]) >> 2,
            secret,
        })
    }

    /// The public part: which row to look at.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The 115 secret bits, five to a byte: one form for all ways of typing.
    pub(super) fn secret(&self) -> &[u8; SECRET] {
        &self.secret
    }

    /// As it is shown to its owner, once.
    #[must_use]
    pub fn print(&self) -> Secret {
        // With its room reserved nothing is moved, and no copy is left behind.
        let mut symbols = Zeroizing::new(Vec::with_capacity(SYMBOLS));
        symbols.extend_from_slice(&id_symbols(self.id));
        symbols.extend_from_slice(self.secret.as_slice());
        let check = checksum(&symbols);
        symbols.extend_from_slice(&check);
        let mut text = Vec::with_capacity(64);
        text.extend_from_slice(b"iw");
        for (at, symbol) in symbols.iter().enumerate() {
            if at % 4 == 0 {
                text.push(b'-');
            }
            text.push(letter(*symbol));
        }
        Secret::new(text)
    }
}

/// An id as people read it: the six characters behind the prefix.
#[must_use]
pub fn id_text(id: u32) -> String {
    id_symbols(id)
        .iter()
        .map(|symbol| char::from(letter(*symbol)))
        .collect()
}

/// Reads an id as people type it: any case, with or without the dash in it.
#[must_use]
pub fn parse_id(text: &str) -> Option<u32> {
    let symbols: Option<Vec<u8>> = text.chars().filter(|c| !is_spacing(*c)).map(symbol).collect();
    let symbols = <[u8; ID]>::try_from(symbols?).ok()?;
    Some(id_from(&symbols))
}

/// Says what a typed password is.
///
/// Case does not count, nor do dashes and spaces anywhere; `o` is read as `0`, `i` and `l` as `1`. What then is `iw` and 32
/// characters of the alphabet has the shape of an app password. So has what begins with `iw-` and is about as long or
/// longer: somebody lost or doubled a character, pasted it twice, or typed a code behind it.
#[must_use]
pub fn read(typed: &[u8]) -> Typed {
    let Some(text) = std::str::from_utf8(typed)
        .ok()
        .filter(|text| text.len() <= MAX_TYPED)
    else {
        return Typed::Other;
    };
    let mut symbols = Zeroizing::new([0; 2 + SYMBOLS]);
    let mut count = 0;
    let mut in_alphabet = true;
    for c in text.chars().filter(|c| !is_spacing(*c)) {
        let read = symbol(c);
        in_alphabet &= read.is_some();
        if let Some(place) = symbols.get_mut(count) {
            *place = read.unwrap_or(0);
        }
        count += 1;
    }
    let whole = in_alphabet && count == 2 + SYMBOLS;
    match decode(&symbols) {
        Some(app_password) if whole => app_password.map_or(Typed::Mistyped, Typed::AppPassword),
        _ if looks_printed(text) && count + 4 >= 2 + SYMBOLS => Typed::Mistyped,
        _ => Typed::Other,
    }
}

/// Outer `None`: the prefix is not ours. Inner `None`: the checksum is wrong.
fn decode(symbols: &[u8; 2 + SYMBOLS]) -> Option<Option<AppPassword>> {
    let rest = symbols.strip_prefix(&[1, 28])?;
    let (data, check) = rest.split_at_checked(ID + SECRET)?;
    let (id, secret) = data.split_first_chunk::<ID>()?;
    if checksum(data) != check {
        return Some(None);
    }
    let secret = Zeroizing::new(<[u8; SECRET]>::try_from(secret).ok()?);
    let id = id_from(id);
    Some(Some(AppPassword { id, secret }))
}

/// Begins the way we print them: nobody's own password does so by chance and has the length too.
fn looks_printed(text: &str) -> bool {
    let mut start = text.trim_start().chars();
    let prefix = [start.next(), start.next()].map(|c| c.and_then(symbol));
    prefix == [Some(1), Some(28)] && start.next().is_some_and(|c| c != ' ' && is_spacing(c))
}

/// Dashes and spaces, also the ones that word processors and phones put in their place.
fn is_spacing(c: char) -> bool {
    matches!(
        c,
        '-' | ' ' | '\t' | '\u{a0}' | '\u{ad}' | '\u{2010}'
            ..='\u{2015}' | '\u{202f}' | '\u{2212}' | '\u{fe63}' | '\u{ff0d}'
    )
}

/// The five bits of a character.
fn symbol(c: char) -> Option<u8> {
    let lower = match c.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        other => other,
    };
    let at = ALPHABET.iter().position(|letter| char::from(*letter) == lower)?;
    u8::try_from(at).ok()
}

fn letter(symbol: u8) -> u8 {
    ALPHABET.get(usize::from(symbol)).copied().unwrap_or(b'?')
}

fn id_symbols(id: u32) -> [u8; ID] {
    [25, 20, 15, 10, 5, 0].map(|shift| low_byte(id >> shift) & 31)
}

fn id_from(symbols: &[u8; ID]) -> u32 {
    symbols.iter().fold(0, |id, symbol| id << 5 | u32::from(*symbol))
}

fn low_byte(number: u32) -> u8 {
    let [.., low] = number.to_be_bytes();
    low
}

/// CRC-15 (the polynomial of CAN, 0x4599) over the five-bit symbols, as three symbols. It finds every change within three
/// neighbouring characters: a wrong one, two swapped ones; of anything else it misses one in 32,768.
fn checksum(symbols: &[u8]) -> [u8; 3] {
    let mut crc: u32 = 0x2a5d;
    for symbol in symbols {
        for bit in [4, 3, 2, 1, 0] {
            let flips = ((crc >> 14) ^ (u32::from(*symbol) >> bit)) & 1;
            crc = ((crc << 1) & 0x7fff) ^ (0x4599 * flips);
        }
    }
    [10, 5, 0].map(|shift| low_byte(crc >> shift) & 31)
}

#[cfg(test)]
impl AppPassword {
    /// The same secret under another id.
    pub(super) fn called(self, id: u32) -> Self {
        Self { id, ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> AppPassword {
        AppPassword {
            id: 0x2345_6789,
            secret: Zeroizing::new(std::array::from_fn(|at| u8::try_from(at * 11 % 32).unwrap())),
        }
    }

    fn printed() -> String {
        String::from_utf8(sample().print().expose().to_vec()).unwrap()
    }

    fn accepted(typed: &str) -> bool {
        match read(typed.as_bytes()) {
            Typed::AppPassword(read) => read.id == sample().id && read.secret == sample().secret,
            _ => false,
        }
    }

    #[test]
    fn it_prints_as_a_prefix_and_eight_groups_of_four() {
        let groups: Vec<_> = printed().split('-').map(str::len).collect();
        assert_eq!(groups, [2, 4, 4, 4, 4, 4, 4, 4, 4]);
        assert!(printed().starts_with("iw-"));
        assert!(printed()[3..].replace('-', "").starts_with(&id_text(sample().id)));
    }

    #[test]
    fn it_is_read_in_any_case_with_or_without_dashes_and_spaces() {
        let text = printed();
        let bare = text.replace('-', "");
        let spaced: String = bare.chars().flat_map(|c| [c, ' ']).collect();
        for typed in [
            text.clone(),
            bare,
            spaced,
            text.to_uppercase(),
            text.replace('-', "\u{2013}"),
            text.replace('-', " "),
            format!(" {text}\t"),
        ] {
            assert!(accepted(&typed), "{typed}");
        }
    }

    #[test]
    fn letters_that_look_alike_are_read_as_what_was_meant() {
        let text = printed();
        assert!(
            text.contains('0') && text.contains('1'),
            "the sample has what this test is about"
        );
        for (meant, typed) in [('0', 'o'), ('0', 'O'), ('1', 'l'), ('1', 'I'), ('i', 'l')] {
            assert!(
                accepted(&text.replace(meant, &typed.to_string())),
                "{meant} as {typed}"
            );
        }
    }

    #[test]
    fn what_is_no_app_password_stays_a_main_password() {
        for typed in [
            "",
            "iw",
            "hunter2",
            "hunter2;123456",
            "iwantatablefortwo",
            "i w",
            "\u{0}iw",
            "iw-2024",
        ] {
            assert!(matches!(read(typed.as_bytes()), Typed::Other), "{typed}");
        }
        assert!(matches!(read(b"\xffiw-0000"), Typed::Other));
        assert!(matches!(read(&vec![b'i'; 100_000]), Typed::Other));
    }

    #[test]
    fn a_lost_or_doubled_character_is_a_typing_mistake_and_not_a_main_password() {
        let text = printed();
        for typed in [
            &text[..text.len() - 1],
            &format!("{text}a"),
            &format!("{text};123456"),
            &format!("{text}{text}"),
            &text[..38],
        ] {
            assert!(matches!(read(typed.as_bytes()), Typed::Mistyped), "{typed}");
        }
        let umlaut = format!("{}ü{}", &text[..10], &text[11..]);
        assert!(matches!(read(umlaut.as_bytes()), Typed::Mistyped));
    }

    #[test]
    fn two_neighbours_swapped_are_a_typing_mistake() {
        let bare: Vec<u8> = printed().replace('-', "").into_bytes();
        for at in 2..bare.len() - 1 {
            let mut swapped = bare.clone();
            swapped.swap(at, at + 1);
            if swapped != bare {
                assert!(matches!(read(&swapped), Typed::Mistyped), "{at}");
            }
        }
    }

    #[test]
    fn ids_read_back_what_they_print() {
        for id in [0, 1, 0x3fff_ffff, 0x1234_5678] {
            assert_eq!(parse_id(&id_text(id)), Some(id));
        }
        assert_eq!(parse_id("ABCD-EF"), parse_id("abcdef"));
        for wrong in ["", "abcde", "abcdefg", "abcde!", "абвгде"] {
            assert_eq!(parse_id(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn two_drawn_ones_differ_and_read_back() {
        let (a, b) = (AppPassword::generate().unwrap(), AppPassword::generate().unwrap());
        assert_ne!(a.secret, b.secret);
        for drawn in [a, b] {
            let Typed::AppPassword(read) = read(drawn.print().expose()) else {
                panic!("it does not read back")
            };
            assert_eq!((read.id, &read.secret), (drawn.id, &drawn.secret));
        }
    }

    #[test]
    fn the_secret_is_not_in_its_debug_form() {
        let shown = format!("{:?}", sample());
        assert_eq!(shown, format!("AppPassword({})", id_text(sample().id)));
    }

    proptest! {
        #[test]
        fn every_single_wrong_character_is_found(at in 0_usize..32, with in 0_usize..32, id in 0_u32..1 << 30, fill in any::<[u8; SECRET]>()) {
            let good = AppPassword { id, secret: Zeroizing::new(fill.map(|byte| byte & 31)) };
            let mut typed = String::from_utf8(good.print().expose().to_vec()).unwrap().replace('-', "").into_bytes();
            let wrong = ALPHABET[with];
            prop_assume!(typed[2 + at] != wrong);
            typed[2 + at] = wrong;
            prop_assert!(matches!(read(&typed), Typed::Mistyped));
        }

        #[test]
        fn any_bytes_are_read_without_trouble(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(!matches!(read(&bytes), Typed::AppPassword(_)));
        }

        #[test]
        fn any_text_is_read_without_trouble(text in ".{0,60}", tail in "[a-z0-9 -]{0,50}") {
            let _ = read(text.as_bytes());
            let _ = read(format!("iw-{tail}").as_bytes());
            let _ = parse_id(&text);
        }

        #[test]
        fn what_was_drawn_reads_back(id in 0_u32..1 << 30, fill in any::<[u8; SECRET]>()) {
            let good = AppPassword { id, secret: Zeroizing::new(fill.map(|byte| byte & 31)) };
            let Typed::AppPassword(found) = read(good.print().expose()) else { panic!("it does not read back") };
            prop_assert_eq!(found.id, id);
            prop_assert_eq!(&found.secret, &good.secret);
        }
    }
}
