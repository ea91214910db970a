//! Literal announcements: the `{n}` at the end of a line (RFC 3501, section 4.3; RFC 7888; RFC 3516).
//!
//! One reader for both directions. It sees only the end of a line: whether a literal may stand there is for the caller, who
//! knows the command, or that a status response never opens one.

use crate::imap::line::FrameError;

/// Whether the sender waits for a go-ahead before it sends the literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiteralMode {
    /// `{n}`: it waits for `+`.
    Sync,
    /// `{n+}`: it does not (RFC 7888).
    NonSync,
}

/// A literal that the end of a line announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// Its length in bytes.
    pub size: u32,
    /// Whether the sender waits.
    pub mode: LiteralMode,
    /// A `~{n}` literal8, which may hold NUL (RFC 3516).
    pub binary: bool,
}

/// The literal that a line announces: `{digits}`, `{digits+}`, either with `~` before it, then CRLF. Any other form is
/// none, and is refused later as a brace where no brace may stand.
///
/// # Errors
/// [`FrameError::LiteralTooLarge`] for a size beyond 2^31 - 1: backends wrap such numbers, each in its own way.
pub fn announcement_of(line: &[u8]) -> Result<Option<Announcement>, FrameError> {
    let Some(head) = line.strip_suffix(b"}\r\n") else {
        return Ok(None);
    };
    let (head, mode) = match head.strip_suffix(b"+") {
        Some(head) => (head, LiteralMode::NonSync),
        None => (head, LiteralMode::Sync),
    };
    let digits = head.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, digits) = head.split_at(head.len() - digits);
    let Some(before) = before.strip_suffix(b"{").filter(|_| !digits.is_empty()) else {
        return Ok(None);
    };
    let size = digits.iter().try_fold(0_u32, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u32::from(digit - b'0'))
    });
    match size.filter(|size| *size <= MAX_SIZE) {
        Some(size) => Ok(Some(Announcement {
            size,
            mode,
            binary: before.ends_with(b"~"),
        })),
        None => Err(FrameError::LiteralTooLarge),
    }
}

/// How much of a line's end has to be known to see what it announces: `~{2147483647+}` and CRLF.
pub const TAIL: usize = 16;

/// As [`announcement_of`], where only the last [`TAIL`] bytes of a line are known, or all of a shorter one. Zeros can make a
/// number as long as a line: of one that begins before the tail nobody can tell whether a brace stands before it.
///
/// # Errors
/// [`FrameError::LiteralTooLarge`], also for a number that fills the tail.
pub fn announcement_in_tail(tail: &[u8]) -> Result<Option<Announcement>, FrameError> {
    let number = tail
        .strip_suffix(b"}\r\n")
        .map(|tail| tail.strip_suffix(b"+").unwrap_or(tail));
    if tail.len() >= TAIL && number.is_some_and(|number| number.iter().all(u8::is_ascii_digit)) {
        return Err(FrameError::LiteralTooLarge);
    }
    announcement_of(tail)
}

/// Largest size that every backend reads as the same number.
const MAX_SIZE: u32 = 0x7fff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    fn size_and_mode(line: &[u8]) -> Option<(u32, LiteralMode, bool)> {
        announcement_of(line).unwrap().map(|a| (a.size, a.mode, a.binary))
    }

    #[test]
    fn only_the_exact_forms_announce_a_literal() {
        assert_eq!(size_and_mode(b"a X {3}\r\n"), Some((3, LiteralMode::Sync, false)));
        assert_eq!(
            size_and_mode(b"a X {3+}\r\n"),
            Some((3, LiteralMode::NonSync, false))
        );
        assert_eq!(
            size_and_mode(b"a X ~{3+}\r\n"),
            Some((3, LiteralMode::NonSync, true))
        );
        for line in [
            &b"a X { 3}\r\n"[..],
            b"{3 }\r\n",
            b"{3-}\r\n",
            b"{}\r\n",
            b"{+}\r\n",
            b"{3++}\r\n",
            b"{-3}\r\n",
            b"3}\r\n",
            b"{3} \r\n",
            b"{3}\n",
            b"{0x3}\r\n",
        ] {
            assert_eq!(size_and_mode(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_number_that_fills_the_tail_of_a_line_is_no_size() {
        let tail = |line: &[u8]| announcement_in_tail(&line[line.len().saturating_sub(TAIL)..]);
        assert_eq!(
            tail(b"a X ~{2147483647+}\r\n"),
            announcement_of(b"~{2147483647+}\r\n")
        );
        assert_eq!(tail(b"a X {5}\r\n"), announcement_of(b"{5}\r\n"));
        let zeros = "0".repeat(TAIL);
        for line in [format!("a X {{{zeros}5}}\r\n"), format!("a X {{{zeros}+}}\r\n")] {
            assert_eq!(tail(line.as_bytes()), Err(FrameError::LiteralTooLarge));
        }
    }

    #[test]
    fn sizes_that_wrap_somewhere_are_refused() {
        for line in [
            &b"{2147483648}\r\n"[..],
            b"{4294967301+}\r\n",
            b"{99999999999999999999}\r\n",
        ] {
            assert_eq!(announcement_of(line), Err(FrameError::LiteralTooLarge));
        }
        assert_eq!(
            size_and_mode(b"{2147483647}\r\n"),
            Some((2_147_483_647, LiteralMode::Sync, false))
        );
    }
}
