//! What a line of a command may be made of.

use memchr::memchr2;
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
    /// The command is too large.
    #[error("the command is too large")]
    CommandTooLong,
}

/// CR and LF come only together, at the end of a line; NUL comes nowhere. `part` has at most one LF, as its last byte;
/// `after_cr` says that the part before it ended in CR.
pub(super) fn check_line_ends(after_cr: bool, part: &[u8]) -> Result<(), FrameError> {
    if after_cr {
        return if part == b"\n" {
            Ok(())
        } else {
            Err(FrameError::BareCr)
        };
    }
    let body = part.strip_suffix(b"\n");
    let text = body.unwrap_or(part);
    let line = text.strip_suffix(b"\r");
    if body.is_some() && line.is_none() {
        return Err(FrameError::BareLf);
    }
    let line = line.unwrap_or(text);
    match memchr2(b'\r', 0, line).and_then(|at| line.get(at)) {
        None => Ok(()),
        Some(0) => Err(FrameError::Nul),
        Some(_) => Err(FrameError::BareCr),
    }
}
