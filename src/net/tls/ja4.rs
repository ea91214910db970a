//! JA4: a fingerprint of the TLS client, from what its ClientHello offers (FoxIO, "JA4: TLS Client Fingerprinting", the one
//! method of that family that is under a BSD licence).
//!
//! A pure function of bytes that anybody may send: it looks at nothing beyond them, and holds nothing larger than them.

use std::fmt;

use aws_lc_rs::digest;
use rustls::pki_types::DnsName;

use crate::net::tls::hex;

const SERVER_NAME: u16 = 0x0000;
/// The only type of server name there is (RFC 6066, section 3).
const HOST_NAME: u8 = 0;
const SIGNATURE_ALGORITHMS: u16 = 0x000d;
const ALPN: u16 = 0x0010;
const SUPPORTED_VERSIONS: u16 = 0x002b;

/// What comes and goes with a resumed session: padding, ticket, pre-shared key, early data.
const OF_RESUMPTION: [u16; 4] = [0x0015, 0x0023, 0x0029, 0x002a];

/// A client's fingerprint.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ja4 {
    text: Box<str>,
    stable: Box<str>,
}

impl Ja4 {
    /// The fingerprint as everybody writes it, such as `t13d1516h2_8daaf6152771_e5627efa2ab1`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same without the extensions that a client sends only to resume a session: one client has one of these, and at
    /// least two of the others. For remembering clients; it is in no public list.
    #[must_use]
    pub fn stable(&self) -> &str {
        &self.stable
    }
}

impl fmt::Display for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The fingerprint of a ClientHello in the TLS records that it came in; what follows it is not looked at. `None` where it is
/// incomplete or malformed.
#[must_use]
pub fn ja4(client_hello: &[u8]) -> Option<Ja4> {
    examine(client_hello).map(|examined| examined.ja4)
}

/// What is to be known of a ClientHello that the engine does not tell.
pub(super) struct Examined {
    pub(super) ja4: Ja4,
    /// The host name that is asked for (RFC 6066, section 3), in lower case.
    pub(super) server_name: Option<String>,
}

/// The same as [`ja4`], and the name of the host.
pub(super) fn examine(client_hello: &[u8]) -> Option<Examined> {
    let message = message_in(client_hello)?;
    let hello = Hello::read(&message)?;
    let ciphers = hash(&sorted(hello.ciphers.clone()));
    let text = hello.fingerprint(&ciphers, &[]);
    let resumes = hello.extensions.iter().any(|kind| OF_RESUMPTION.contains(kind));
    let stable = if resumes {
        hello.fingerprint(&ciphers, &OF_RESUMPTION)
    } else {
        text.clone()
    };
    Some(Examined {
        ja4: Ja4 {
            text: text.into(),
            stable: stable.into(),
        },
        server_name: hello
            .server_name
            .map(|name| name.to_lowercase_owned().as_ref().to_owned()),
    })
}

/// The first host name in a list of server names; anything else in there is passed over.
fn host_name(mut extension: Fields<'_>) -> Option<DnsName<'_>> {
    let mut names = extension.vector16()?;
    while names.number8()? != HOST_NAME {
        names.vector16()?;
    }
    DnsName::try_from(names.vector16()?.0).ok()
}

/// The body of the ClientHello that the records begin with (RFC 8446, sections 4 and 5.1).
fn message_in(records: &[u8]) -> Option<Vec<u8>> {
    let mut records = Fields(records);
    let mut joined = Vec::new();
    loop {
        let mut message = Fields(&joined);
        if let (Some(kind), Some([high])) = (message.number8(), message.take(1)) {
            if kind != 1 {
                return None;
            }
            if let Some(low) = message.number16() {
                let length = usize::from(*high) << 16 | usize::from(low);
                if let Some(body) = message.take(length) {
                    return Some(body.to_vec());
                }
            }
        }
        if records.number8()? != 22 {
            return None;
        }
        records.take(2)?;
        // The last record may be there in part; what is missing then is missing from the message too.
        let length = usize::from(records.number16()?);
        let fragment = records.take(length.min(records.0.len()))?;
        if fragment.is_empty() {
            return None;
        }
        joined.extend_from_slice(fragment);
    }
}

/// What a ClientHello offers, without GREASE (RFC 8701).
struct Hello<'a> {
    version: u16,
    ciphers: Vec<u16>,
    extensions: Vec<u16>,
    signatures: Vec<u16>,
    alpn: &'a [u8],
    server_name: Option<DnsName<'a>>,
}

impl<'a> Hello<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(body);
        let legacy_version = fields.number16()?;
        fields.take(32)?; // random
        fields.vector8()?; // session id
        let ciphers = fields.vector16()?.numbers();
        fields.vector8()?; // compression
        let mut hello = Self {
            version: legacy_version,
            ciphers,
            extensions: Vec::new(),
            signatures: Vec::new(),
            alpn: &[],
            server_name: None,
        };
        if fields.0.is_empty() {
            return Some(hello);
        }
        let mut extensions = fields.vector16()?;
        while !extensions.0.is_empty() {
            let kind = extensions.number16()?;
            hello.take_extension(kind, extensions.vector16()?)?;
        }
        Some(hello)
    }

    fn take_extension(&mut self, kind: u16, mut content: Fields<'a>) -> Option<()> {
        if is_grease(kind) {
            return Some(());
        }
        self.extensions.push(kind);
        match kind {
            SERVER_NAME => self.server_name = host_name(content),
            SIGNATURE_ALGORITHMS => self.signatures = content.vector16()?.numbers(),
            SUPPORTED_VERSIONS => {
                let versions = content.vector8()?.numbers();
                self.version = versions.into_iter().max().unwrap_or(self.version);
            }
            ALPN => {
                let mut names = content.vector16()?;
                self.alpn = match names.0 {
                    [] => &[],
                    _ => names.vector8()?.0,
                };
            }
            _ => {}
        }
        Some(())
    }

    /// `ciphers` is the hash of those.
    fn fingerprint(&self, ciphers: &str, without: &[u16]) -> String {
        let extensions: Vec<u16> = self
            .extensions
            .iter()
            .copied()
            .filter(|kind| !without.contains(kind))
            .collect();
        let named = if extensions.contains(&SERVER_NAME) {
            'd'
        } else {
            'i'
        };
        let hashed = extensions
            .iter()
            .copied()
            .filter(|kind| !matches!(*kind, SERVER_NAME | ALPN));
        let mut list = sorted(hashed.collect());
        if !list.is_empty() && !self.signatures.is_empty() {
            list.push('_');
            list.push_str(&listed(&self.signatures));
        }
        format!(
            "t{}{named}{:02}{:02}{}_{ciphers}_{}",
            version_name(self.version),
            self.ciphers.len().min(99),
            extensions.len().min(99),
            ends_of(self.alpn),
            hash(&list),
        )
    }
}

fn version_name(version: u16) -> &'static str {
    match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// The first and the last character of a protocol's name; of its hexadecimal form where one of them is no letter or digit.
fn ends_of(name: &[u8]) -> String {
    let (Some(first), Some(last)) = (name.first(), name.last()) else {
        return "00".to_owned();
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [char::from(*first), char::from(*last)].iter().collect();
    }
    format!("{:x}{:x}", first >> 4, last & 0xf)
}

fn sorted(mut numbers: Vec<u16>) -> String {
    numbers.sort_unstable();
    listed(&numbers)
}

/// `1301,1302,c02b`
fn listed(numbers: &[u16]) -> String {
    let mut text = String::with_capacity(numbers.len().saturating_mul(5));
    for number in numbers {
        if !text.is_empty() {
            text.push(',');
        }
        let digit = |shift: u16| char::from_digit(u32::from(number >> shift & 0xf), 16);
        text.extend([12, 8, 4, 0].into_iter().filter_map(digit));
    }
    text
}

/// The first six bytes of a SHA-256, in hexadecimal; zeros for an empty list.
fn hash(list: &str) -> String {
    if list.is_empty() {
        return "0".repeat(12);
    }
    let digest = digest::digest(&digest::SHA256, list.as_bytes());
    hex(digest.as_ref().get(..6).unwrap_or_default())
}

/// `0a0a`, `1a1a` … `fafa`: values that mean nothing and must be ignored.
fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0xf == 0xa
}

/// Bytes that are read from the front, as RFC 8446, section 3, writes numbers and vectors.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number16(&mut self) -> Option<u16> {
        let [high, low] = self.take(2)? else { return None };
        Some(u16::from_be_bytes([*high, *low]))
    }

    fn vector8(&mut self) -> Option<Self> {
        let length = usize::from(self.number8()?);
        self.take(length).map(Self)
    }

    fn vector16(&mut self) -> Option<Self> {
        let length = usize::from(self.number16()?);
        self.take(length).map(Self)
    }

    /// All of it as 16-bit numbers, without GREASE.
    fn numbers(self) -> Vec<u16> {
        let (pairs, _) = self.0.as_chunks::<2>();
        let numbers = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
        numbers.filter(|number| !is_grease(*number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::tls::testing::Offer;

    const CHROME: &str = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035";
    const FIREFOX: &str =
        "1301,1303,1302,c02b,c02f,cca9,cca8,c02c,c030,c00a,c009,c013,c014,009c,009d,002f,0035";
    const OLD: &str = "c030,c02c,c028,c024,c014,c00a,009f,006b,0039,cca9,cca8,ccaa,ff85,00c4,0088,0081,009d,003d,0035,\
                       00c0,0084,c02f,c02b,c027,c023,c013,c009,009e,0067,0033,00be,0045,009c,003c,002f,00ba,0041,c011,\
                       c007,0005,0004,c012,c008,0016,000a,00ff";
    const CHROME_SIGNATURES: &str = "0403,0804,0401,0503,0805,0501,0806,0601";
    const FIREFOX_SIGNATURES: &str = "0403,0503,0603,0804,0805,0806,0401,0501,0601,0203,0201";
    const OLD_SIGNATURES: &str = "0601,0603,efef,0501,0503,0401,0403,eeee,eded,0301,0303,0201,0203";

    /// The document's own example, in the order of its `JA4_ro`.
    fn chrome() -> Offer {
        let extensions = "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015";
        Offer::new(&[0x0304, 0x0303], CHROME, extensions, &[b"h2"], CHROME_SIGNATURES)
    }

    fn fingerprint(offer: &Offer) -> String {
        ja4(&offer.records(usize::MAX)).unwrap().to_string()
    }

    /// From FoxIO's document and from captures whose lists and fingerprints others have published (Chrome, Firefox, a LibreSSL
    /// client that speaks TLS 1.2).
    #[test]
    fn published_fingerprints_come_out() {
        let modern: &[u16] = &[0x0304, 0x0303];
        for (published, versions, ciphers, extensions, signatures) in [
            (
                "t13d1516h2_8daaf6152771_02713d6af862",
                modern,
                CHROME,
                "0005,000a,000b,000d,0012,0017,001b,0023,002b,002d,0033,4469,fe0d,ff01,0000,0010",
                CHROME_SIGNATURES,
            ),
            (
                "t13d1516h2_8daaf6152771_64df15253037",
                modern,
                CHROME,
                "0000,0017,0018,ff01,000a,000b,0023,0010,000d,0012,0033,002b,002d,0015,001b,001c",
                CHROME_SIGNATURES,
            ),
            (
                "t13d1516h2_8daaf6152771_d8a2da3f94cd",
                modern,
                CHROME,
                "0012,000d,000b,ff01,0000,0023,001b,44cd,fe0d,0033,0005,0010,000a,002d,0017,002b",
                CHROME_SIGNATURES,
            ),
            (
                "t13d1715h2_5b57614c22b0_5c2c66f702b0",
                modern,
                FIREFOX,
                "0000,0017,ff01,000a,000b,0023,0010,0005,0022,0033,002b,000d,002d,001c,fe0d",
                FIREFOX_SIGNATURES,
            ),
            (
                "t13d1715h2_5b57614c22b0_3d5424432f57",
                modern,
                FIREFOX,
                "0000,0010,0005,000a,000b,000d,0015,0017,001c,0022,0023,002b,002d,0033,ff01",
                FIREFOX_SIGNATURES,
            ),
            (
                "t12d4605h2_85626a9a5f7f_aaf95bb78ec9",
                &[],
                OLD,
                "0000,000b,000a,000d,0010",
                OLD_SIGNATURES,
            ),
        ] {
            let offer = Offer::new(versions, ciphers, extensions, &[b"h2"], signatures);
            assert_eq!(fingerprint(&offer), published);
        }
        assert_eq!(fingerprint(&chrome()), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn grease_counts_nowhere() {
        let mut offer = chrome();
        offer.ciphers.insert(0, 0x5a5a);
        offer.extensions.insert(0, 0xfafa);
        offer.extensions.push(0x1a1a);
        offer.signatures.insert(3, 0x0a0a);
        offer.versions.insert(0, 0xeaea);
        assert_eq!(fingerprint(&offer), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        assert!(is_grease(0x0a0a) && !is_grease(0x0a1a) && !is_grease(0x0b0b) && !is_grease(0x1301));
    }

    #[test]
    fn without_signatures_or_extensions_the_hash_says_so() {
        let mut offer = chrome();
        offer.signatures.clear();
        assert_eq!(fingerprint(&offer), "t13d1516h2_8daaf6152771_6d807ffa2a79");
        let bare = Offer::new(&[], "", "", &[], "");
        assert_eq!(fingerprint(&bare), "t12i000000_000000000000_000000000000");
        let plain = Offer::new(&[], "c02f", "0000,0010", &[b"imap"], "");
        let text = fingerprint(&plain);
        assert!(
            text.starts_with("t12d0102ip_") && text.ends_with("_000000000000"),
            "{text}"
        );
    }

    #[test]
    fn the_protocol_is_two_characters_whatever_its_name() {
        for (names, ends) in [
            (&[b"imap".as_slice(), b"h2"][..], "ip"),
            (&[b"http/1.1"], "h1"),
            (&[b"x"], "xx"),
            (&[b""], "00"),
            (&[], "00"),
            (&[b"\xab"], "ab"),
            (&[b"\xab\xcd"], "ad"),
            (&[b"\x30\xab"], "3b"),
            (&[b"\x30\x31\xab\xcd"], "3d"),
            (&[b"\x30\xab\xcd\x31"], "01"),
            (&[b"-a"], "21"),
        ] {
            let offer = Offer::new(&[], "c02f", "0010", names, "");
            assert_eq!(&fingerprint(&offer)[8..10], ends, "{names:?}");
        }
    }

    #[test]
    fn the_highest_version_offered_counts() {
        for (legacy, versions, name) in [
            (0x0303, &[][..], "12"),
            (0x0303, &[0x0303, 0x0304], "13"),
            (0x0303, &[0x7a7a, 0x0302], "11"),
            (0x0301, &[], "10"),
            (0x0300, &[], "s3"),
            (0x0303, &[0x0305], "00"),
        ] {
            let list = if versions.is_empty() { "" } else { "002b" };
            let mut offer = Offer::new(versions, "c02f", list, &[], "");
            offer.legacy_version = legacy;
            assert_eq!(&fingerprint(&offer)[1..3], name);
        }
    }

    #[test]
    fn counts_end_at_ninety_nine() {
        let mut offer = Offer::new(&[], "", "", &[], "");
        offer.ciphers = (0..120).collect();
        offer.extensions = (0x1000..0x1100).collect();
        assert!(fingerprint(&offer).starts_with("t12i999900_"));
    }

    #[test]
    fn resuming_changes_the_fingerprint_and_not_the_stable_one() {
        let fresh = ja4(&chrome().records(usize::MAX)).unwrap();
        let mut offer = chrome();
        offer.extensions.retain(|kind| !matches!(*kind, 0x0015 | 0x0023));
        offer.extensions.extend([0x002a, 0x0029]);
        let resumed = ja4(&offer.records(usize::MAX)).unwrap();
        assert_ne!(fresh.as_str(), resumed.as_str());
        assert_eq!(fresh.stable(), resumed.stable());
        assert!(
            fresh.stable().starts_with("t13d1514h2_8daaf6152771_"),
            "{}",
            fresh.stable()
        );
    }

    #[test]
    fn however_it_is_cut_into_records_the_fingerprint_is_one() {
        let whole = chrome().records(usize::MAX);
        let known = ja4(&whole).unwrap();
        for size in 1..whole.len() {
            assert_eq!(ja4(&chrome().records(size)).as_ref(), Some(&known), "{size}");
        }
        let mut more = whole.clone();
        more.extend([22, 3, 3, 0, 1, 9]);
        assert_eq!(ja4(&more), Some(known));
    }

    #[test]
    fn what_is_cut_off_has_none() {
        for size in [usize::MAX, 1, 7] {
            let records = chrome().records(size);
            for end in 0..records.len() {
                assert_eq!(ja4(&records[..end]), None, "{end}");
            }
        }
    }

    #[test]
    fn what_is_no_client_hello_has_none() {
        for bytes in [
            &b""[..],
            b"a LOGIN bob secret\r\n",
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0, 4, 2, 0, 0, 0],
            &[22, 3, 1, 0, 4, 1, 0, 0, 0],
            &[21, 3, 1, 0, 2, 2, 40],
            &[0x80, 0x2e, 1, 3, 1, 0, 0x15],
        ] {
            assert_eq!(ja4(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = ja4(&bytes);
            let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            let mut message = vec![22, 3, 1, length[0], length[1]];
            message.extend(&bytes);
            let _ = ja4(&message);
        }

        #[test]
        fn a_changed_byte_makes_no_panic(at in 0_usize..300, byte: u8) {
            let mut records = chrome().records(usize::MAX);
            let at = at % records.len();
            records[at] = byte;
            if let Some(found) = ja4(&records) {
                prop_assert_eq!(found.as_str().len(), 36);
            }
        }
    }
}
