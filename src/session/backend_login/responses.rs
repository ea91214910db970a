//! Cuts what a backend sends before login into whole responses. Never holds more than the bounds below, never takes the
//! bytes of a literal for a line, never lets NUL or a bare CR or LF through.

use memchr::memchr;
use memchr::memchr3;

use crate::session::backend_login::failure::LoginFailure;

/// Longest line, without its CRLF. Real greetings and capability lists stay under 2 KiB.
pub(super) const MAX_LINE: usize = 8 * 1024;
/// All that a backend may say from its greeting to the end of the login.
pub(super) const MAX_TOTAL: usize = 64 * 1024;

/// One response, line ends and literals included.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    /// The bytes as they came, the last CRLF included.
    pub(super) bytes: Vec<u8>,
    /// How many bytes the backend had sent before this response's first one.
    pub(super) start: usize,
}

/// The input that has not been judged yet. Where it is cut into packets makes no difference.
#[derive(Debug, Default)]
pub(super) struct Responses {
    buffer: Vec<u8>,
    /// Bytes handed out so far: the position of `buffer`'s first byte.
    taken: usize,
    /// Where in `buffer` the current line begins.
    line: usize,
    /// How much of `buffer` has been looked at.
    seen: usize,
    /// Bytes of the current literal that have not been looked at.
    literal: usize,
}

impl Responses {
    /// Adds what came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes have come so far, handed out or not.
    pub(super) fn received(&self) -> usize {
        self.taken + self.buffer.len()
    }

    /// True where nothing waits, not even the beginning of a line.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Drops what waits; the bounds go on counting.
    pub(super) fn forget(&mut self) {
        let waiting = self.buffer.len();
        *self = Self {
            taken: self.taken + waiting,
            ..Self::default()
        };
    }

    /// Gives away what waits.
    pub(super) fn into_rest(self) -> Vec<u8> {
        self.buffer
    }

    /// The next whole response; `None` until more comes.
    pub(super) fn next(&mut self) -> Result<Option<Response>, LoginFailure> {
        loop {
            if !self.pass_literal()? {
                return Ok(None);
            }
            let Some(end) = self.line_end()? else {
                return Ok(None);
            };
            let line = self.buffer.get(self.line..end).unwrap_or_default();
            let next = end + 2;
            match self.announced(line) {
                None => return Ok(Some(self.hand_out(next))),
                Some(size) if size > MAX_TOTAL.saturating_sub(self.taken + next) => {
                    return Err(LoginFailure::TooMuch);
                }
                Some(size) => (self.literal, self.line, self.seen) = (size, next, next),
            }
        }
    }

    /// Passes over the bytes of a literal; false while some are missing.
    fn pass_literal(&mut self) -> Result<bool, LoginFailure> {
        let rest = self.buffer.get(self.seen..).unwrap_or_default();
        let come = rest.get(..self.literal).unwrap_or(rest);
        if memchr(0, come).is_some() {
            return Err(LoginFailure::Nul);
        }
        // What follows the literal is the rest of its line, with a length of its own.
        let passed = come.len();
        self.literal -= passed;
        self.seen += passed;
        self.line += passed;
        Ok(self.literal == 0)
    }

    /// Where the current line's CRLF is.
    fn line_end(&mut self) -> Result<Option<usize>, LoginFailure> {
        let rest = self.buffer.get(self.seen..).unwrap_or_default();
        let Some(found) = memchr3(b'\r', b'\n', 0, rest).map(|at| self.seen + at) else {
            self.seen = self.buffer.len();
            self.within_bounds(self.seen)?;
            return Ok(None);
        };
        self.within_bounds(found)?;
        match (self.buffer.get(found), self.buffer.get(found + 1)) {
            (Some(b'\r'), Some(b'\n')) => Ok(Some(found)),
            (Some(b'\r'), None) => {
                self.seen = found;
                Ok(None)
            }
            (Some(0), _) => Err(LoginFailure::Nul),
            _ => Err(LoginFailure::BareLineEnd),
        }
    }

    /// Fails where a line that reaches `end` breaks a bound; the bound that was broken first is the one named, so that the
    /// packets make no difference.
    fn within_bounds(&self, end: usize) -> Result<(), LoginFailure> {
        let line = self.line + MAX_LINE;
        let total = MAX_TOTAL.saturating_sub(self.taken);
        if end <= line.min(total) {
            Ok(())
        } else if line <= total {
            Err(LoginFailure::LineTooLong)
        } else {
            Err(LoginFailure::TooMuch)
        }
    }

    /// The size of the literal that `line` announces. Only untagged data has literals: a status response, a tagged answer
    /// and `+` end with their line, and a `{5}` at their end is text.
    fn announced(&self, line: &[u8]) -> Option<usize> {
        let data = self.buffer.strip_prefix(b"* ")?;
        let word = data.split(|byte| matches!(byte, b' ' | b'\r')).next()?;
        let is_status = [&b"OK"[..], b"NO", b"BAD", b"BYE", b"PREAUTH"]
            .iter()
            .any(|status| word.eq_ignore_ascii_case(status));
        if is_status {
            return None;
        }
        let open = line.iter().rposition(|byte| *byte == b'{')?;
        let digits = line.get(open + 1..)?.strip_suffix(b"}")?;
        let digits = digits.strip_suffix(b"+").unwrap_or(digits);
        let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        // A number beyond usize is still a literal, one that is too large.
        valid.then(|| {
            std::str::from_utf8(digits)
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or(usize::MAX)
        })
    }

    fn hand_out(&mut self, end: usize) -> Response {
        let rest = self.buffer.split_off(end.min(self.buffer.len()));
        let bytes = std::mem::replace(&mut self.buffer, rest);
        let start = self.taken;
        self.taken += bytes.len();
        (self.line, self.seen) = (0, 0);
        Response { bytes, start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All responses, and the failure if any, of bytes that come cut into pieces of `size`.
    fn cut(bytes: &[u8], size: usize) -> (Vec<Vec<u8>>, Option<LoginFailure>) {
        let mut responses = Responses::default();
        let mut whole = Vec::new();
        for piece in bytes.chunks(size) {
            responses.push(piece);
            loop {
                match responses.next() {
                    Ok(Some(response)) => whole.push(response.bytes),
                    Ok(None) => break,
                    Err(failure) => return (whole, Some(failure)),
                }
            }
        }
        (whole, None)
    }

    fn same_however_cut(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<LoginFailure>) {
        let all = cut(bytes, bytes.len().max(1));
        for size in [1, 2, 3, 7, 100, 8192] {
            assert_eq!(cut(bytes, size), all, "pieces of {size}");
        }
        all
    }

    #[test]
    fn a_literal_belongs_to_its_response_and_is_never_read_as_lines() {
        let bytes = b"* ID (\"name\" {10}\r\nx\r\na OK y\n \"v\" {0+}\r\n)\r\n* OK {5}\r\na OK {7}\r\n";
        let (whole, failure) = same_however_cut(bytes);
        assert_eq!(failure, None);
        assert_eq!(whole.len(), 3);
        assert!(whole[0].ends_with(b"{0+}\r\n)\r\n"));
        assert_eq!(whole[1], b"* OK {5}\r\n");
        assert_eq!(whole[2], b"a OK {7}\r\n");
    }

    #[test]
    fn bad_bytes_are_refused() {
        let cases: [(&[u8], LoginFailure); 7] = [
            (b"* OK a\nb", LoginFailure::BareLineEnd),
            (b"* OK a\rb", LoginFailure::BareLineEnd),
            (b"\n", LoginFailure::BareLineEnd),
            (b"* OK a\0\r\n", LoginFailure::Nul),
            (b"* X {3}\r\na\0b\r\n", LoginFailure::Nul),
            (b"* X {65536}\r\n", LoginFailure::TooMuch),
            (b"* X {99999999999999999999999}\r\n", LoginFailure::TooMuch),
        ];
        for (bytes, failure) in cases {
            let (_, got) = same_however_cut(bytes);
            assert_eq!(got, Some(failure), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_bounds_are_exact() {
        let line = |length: usize| [vec![b'x'; length], b"\r\n".to_vec()].concat();
        assert_eq!(same_however_cut(&line(MAX_LINE)).1, None);
        assert_eq!(
            same_however_cut(&line(MAX_LINE + 1)).1,
            Some(LoginFailure::LineTooLong)
        );
        let endless = vec![b'x'; MAX_LINE + 1];
        assert_eq!(same_however_cut(&endless).1, Some(LoginFailure::LineTooLong));
        let many = line(1022).repeat(64);
        assert_eq!(same_however_cut(&many).1, None);
        let (whole, failure) = same_however_cut(&line(1022).repeat(65));
        assert_eq!((whole.len(), failure), (64, Some(LoginFailure::TooMuch)));
    }

    #[test]
    fn a_response_knows_where_it_began() {
        let mut responses = Responses::default();
        responses.push(b"* 1\r\n* 2");
        assert_eq!(responses.next().unwrap().unwrap().start, 0);
        assert_eq!(responses.next().unwrap(), None);
        responses.push(b"2\r\nrest");
        assert_eq!(responses.next().unwrap().unwrap().start, 5);
        assert_eq!((responses.received(), responses.is_empty()), (15, false));
        assert_eq!(responses.into_rest(), b"rest");
    }
}
