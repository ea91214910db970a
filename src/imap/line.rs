//! What a line of a command may be made of.

use memchr::memchr3;
use thiserror::Error;

/// Why a command cannot be framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// LF without CR before it.
    #[error("a line ends in a bare LF")]
    BareLf,
    /// CR without LF behind it.
    #[error("a bare CR in a line")]
    BareCr,
    /// NUL outside a literal8.
    #[error("a NUL byte")]
    Nul,
    /// The lines of the command are too long.
    #[error("the command line is too long")]
    LineTooLong,
    /// One literal is too large.
    #[error("a literal is too large")]
    LiteralTooLarge,
    /// The literals of the command are too large together.
    #[error("the literals are too large together")]
    LiteralsTooLarge,
    /// The command has too many literals.
    #[error("too many literals")]
    TooManyLiterals,
    /// The command is too large.
    #[error("the command is too large")]
    CommandTooLong,
}

/// CR and LF come only together, at the end of a line; NUL comes nowhere. `part` has at most one LF, as its last byte;
/// `after_cr` says that the part before it ended in CR.
pub(super) fn check_line_ends(after_cr: bool, part: &[u8]) -> Result<(), FrameError> {
    if after_cr && !part.is_empty() {
        return if part == b"\n" {
            Ok(())
        } else {
            Err(FrameError::BareCr)
        };
    }
    // The first offence counts, so that it is the same one wherever the input was cut.
    let Some(at) = memchr3(b'\r', b'\n', 0, part) else {
        return Ok(());
    };
    match part.get(at..).unwrap_or_default() {
        b"\r" | b"\r\n" => Ok(()),
        [b'\r', ..] => Err(FrameError::BareCr),
        [b'\n', ..] => Err(FrameError::BareLf),
        _ => Err(FrameError::Nul),
    }
}
