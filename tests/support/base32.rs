//! Reads one-time secrets in the form in which people type them (RFC 4648, section 6, without padding).

use imapwarden::types::Secret;

/// The bytes behind the text.
pub fn decode(text: &str) -> Secret {
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for c in text.bytes() {
        let five = match c {
            b'A'..=b'Z' => c - b'A',
            b'2'..=b'7' => c - b'2' + 26,
            _ => panic!("{text} is not base 32"),
        };
        bits = (bits << 5 | u32::from(five)) & 0xffff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    Secret::new(bytes)
}
