//! A session's name in logs, events and the control socket.

use std::fmt;

/// 64 random bits, printed as 16 hexadecimal digits. Unique enough to find a session, worthless as a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    /// Names a session by the bits given; the caller draws them at random.
    #[must_use]
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits that it was named by.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Reads what `Display` wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        valid.then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Sessions that a user has at other replicas, as far as the store has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Elsewhere {
    /// All that count.
    pub of_user: u32,
    /// Of those, the ones from the same network.
    pub of_network: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_printed_and_nothing_else() {
        let id = SessionId::new(0x00ab);
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        for wrong in ["", "ab", "+00000000000000a", "00000000000000abc"] {
            assert_eq!(SessionId::parse(wrong), None, "{wrong}");
        }
    }
}
