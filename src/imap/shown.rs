//! What a FETCH response shows of a message: its UID, and its subject, from an envelope, a header or a whole message (RFC 3501,
//! section 7.4.2).
//!
//! It reads every response as a server may write it, cut off where it may be, and takes no text for an item: what stands in
//! strings and lists is passed over.

use std::borrow::Cow;

use memchr::memchr;
use memchr::memchr2;

use crate::imap::lexer::unescaped;
use crate::imap::subject::subject_in;

/// What a response tells of a message, as far as it is there.
#[derive(Debug, Default)]
pub(super) struct Shown<'a> {
    pub(super) uid: Option<u32>,
    /// As it is written: quoted pairs are undone, encoded words are not.
    pub(super) subject: Option<Cow<'a, [u8]>>,
}

impl<'a> Shown<'a> {
    /// Reads a FETCH response, or its beginning.
    pub(super) fn of(response: &'a [u8]) -> Self {
        let mut shown = Self::default();
        let open = memchr(b'(', response).map_or(response.len(), |at| at + 1);
        let mut rest = Cursor(response.get(open..).unwrap_or_default());
        while let Some(name) = rest.name() {
            let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
            if is("ENVELOPE") && rest.0.first() == Some(&b'(') {
                let mut inside = Cursor(rest.0.get(1..).unwrap_or_default());
                let _date = inside.value();
                shown.subject = shown.subject.or(inside.value());
            }
            let value = rest.value();
            if is("UID") {
                let digits = value.as_deref().map(std::str::from_utf8);
                shown.uid = digits.and_then(Result::ok).and_then(|digits| digits.parse().ok());
            } else if shown.subject.is_none() && has_header(name) {
                shown.subject = match value {
                    Some(Cow::Borrowed(text)) => subject_in(text).map(Cow::Borrowed),
                    Some(Cow::Owned(text)) => subject_in(&text).map(|found| Cow::Owned(found.to_vec())),
                    None => None,
                };
            }
            if shown.uid.is_some() && shown.subject.is_some() {
                break;
            }
        }
        shown
    }
}

/// True for items that begin with the message's own header: `RFC822`, `BODY[]`, `BODY[HEADER.FIELDS (SUBJECT)]<0>`.
fn has_header(name: &[u8]) -> bool {
    let Some(open) = memchr(b'[', name) else {
        let of_old = [b"RFC822".as_slice(), b"RFC822.HEADER"];
        return of_old.iter().any(|known| name.eq_ignore_ascii_case(known));
    };
    let section = name.get(open + 1..).unwrap_or_default();
    let header = section.get(..b"HEADER".len());
    section.starts_with(b"]") || header.is_some_and(|word| word.eq_ignore_ascii_case(b"HEADER"))
}

/// The items of a response, read from the front. What is cut off is as if it were empty.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(count).unwrap_or((self.0, &[]));
        self.0 = rest;
        taken
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    /// The name of the next item, a section in it included; `None` at the end.
    fn name(&mut self) -> Option<&'a [u8]> {
        self.skip_space();
        if matches!(self.0.first(), None | Some(b')')) {
            return None;
        }
        let open = memchr2(b'[', b' ', self.0)?;
        let from = match self.0.get(open) {
            Some(b'[') => memchr(b']', self.0)?,
            _ => open,
        };
        let end = memchr(b' ', self.0.get(from..)?)?;
        let name = self.take(from + end);
        self.skip_space();
        Some(name)
    }

    /// A string's text, or an atom; `None` for a list.
    fn value(&mut self) -> Option<Cow<'a, [u8]>> {
        self.skip_space();
        match self.0 {
            [b'"', ..] => Some(self.quoted()),
            [b'{', ..] | [b'~', b'{', ..] => Some(Cow::Borrowed(self.literal())),
            [b'(', ..] => {
                self.skip_list();
                None
            }
            atom => {
                let end = memchr::memchr3(b' ', b')', b'\r', atom).unwrap_or(atom.len());
                Some(Cow::Borrowed(self.take(end)))
            }
        }
    }

    fn quoted(&mut self) -> Cow<'a, [u8]> {
        self.take(1);
        let mut end = 0;
        let mut is_escaped = false;
        while let Some(at) = memchr2(b'"', b'\\', self.0.get(end..).unwrap_or_default()) {
            end += at;
            if self.0.get(end) == Some(&b'"') {
                break;
            }
            is_escaped = true;
            end += 2;
        }
        let text = self.take(end.min(self.0.len()));
        self.take(1);
        if is_escaped {
            Cow::Owned(unescaped(text))
        } else {
            Cow::Borrowed(text)
        }
    }

    fn literal(&mut self) -> &'a [u8] {
        let line = memchr(b'\n', self.0).map_or(self.0.len(), |at| at + 1);
        let announced = self.take(line);
        let digits = announced.iter().filter(|byte| byte.is_ascii_digit());
        let size = digits.fold(0_usize, |size, digit| {
            size.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
        });
        self.take(size)
    }

    fn skip_list(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.0.first() {
            match byte {
                b'"' => {
                    self.quoted();
                    continue;
                }
                b'{' => {
                    self.literal();
                    continue;
                }
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.take(1);
            if depth == 0 {
                return;
            }
        }
    }
}
