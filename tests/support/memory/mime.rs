//! The structure of a message: header fields, parts, ENVELOPE and BODYSTRUCTURE (RFC 3501, section 7.4.2).

/// One part: the message itself, or a part inside a part.
#[derive(Debug)]
pub struct Part<'a> {
    /// Header lines with the empty line behind them.
    pub header: &'a [u8],
    /// What follows.
    pub body: &'a [u8],
    kind: String,
    subtype: String,
    parameters: Vec<(String, String)>,
    /// Parts of a multipart, or the one message of a message/rfc822.
    children: Vec<Self>,
}

impl<'a> Part<'a> {
    /// Reads a message, or a part with its header.
    pub fn read(raw: &'a [u8]) -> Self {
        Self::read_at(raw, 0)
    }

    fn read_at(raw: &'a [u8], depth: u8) -> Self {
        let (header, body) = split(raw);
        let content_type =
            field(header, "Content-Type").unwrap_or_else(|| "text/plain; charset=us-ascii".into());
        let (media, parameters) = with_parameters(&content_type);
        let (kind, subtype) = media.split_once('/').unwrap_or(("text", "plain"));
        let (kind, subtype) = (
            kind.trim().to_ascii_lowercase(),
            subtype.trim().to_ascii_lowercase(),
        );
        let boundary = parameters.iter().find(|(name, _)| name == "boundary");
        let children = match (kind.as_str(), boundary) {
            ("multipart", Some((_, boundary))) if depth < 8 => sections(body, boundary)
                .into_iter()
                .map(|raw| Self::read_at(raw, depth + 1))
                .collect(),
            ("message", _) if subtype == "rfc822" && depth < 8 => vec![Self::read_at(body, depth + 1)],
            _ => Vec::new(),
        };
        Self {
            header,
            body,
            kind,
            subtype,
            parameters,
            children,
        }
    }

    /// A part by its number; 1 of a message that is not multipart is the message's body.
    pub fn part(&self, number: usize) -> Option<&Self> {
        match self.kind.as_str() {
            "multipart" => self.children.get(number.checked_sub(1)?),
            "message" => self.children.first()?.part(number),
            _ => (number == 1).then_some(self),
        }
    }

    /// The message inside a message/rfc822 part.
    pub fn embedded(&self) -> Option<&Self> {
        self.children.first().filter(|_| self.kind == "message")
    }

    /// BODY or, with the extension fields, BODYSTRUCTURE.
    pub fn structure(&self, extended: bool) -> String {
        if self.kind == "multipart" {
            let children: String = self
                .children
                .iter()
                .map(|part| part.structure(extended))
                .collect();
            let mut text = format!("({children} {}", string(&self.subtype));
            if extended {
                text += &format!(
                    " {} {} NIL NIL",
                    parameter_list(&self.parameters),
                    self.disposition()
                );
            }
            return text + ")";
        }
        let encoding = field(self.header, "Content-Transfer-Encoding").unwrap_or_else(|| "7bit".into());
        let mut text = format!(
            "({} {} {} {} {} {} {}",
            string(&self.kind),
            string(&self.subtype),
            parameter_list(&self.parameters),
            optional(field(self.header, "Content-ID")),
            optional(field(self.header, "Content-Description")),
            string(&encoding),
            self.body.len(),
        );
        if let Some(message) = self.embedded() {
            text += &format!(" {} {}", envelope(message.header), message.structure(extended));
        }
        if self.kind == "text" || self.embedded().is_some() {
            text += &format!(" {}", self.body.iter().filter(|byte| **byte == b'\n').count());
        }
        if extended {
            text += &format!(" NIL {} NIL NIL", self.disposition());
        }
        text + ")"
    }

    fn disposition(&self) -> String {
        let Some(text) = field(self.header, "Content-Disposition") else {
            return "NIL".into();
        };
        let (word, parameters) = with_parameters(&text);
        format!("({} {})", string(&word), parameter_list(&parameters))
    }
}

/// ENVELOPE
pub fn envelope(header: &[u8]) -> String {
    let from = field(header, "From");
    let addresses = |name: &str| field(header, name);
    format!(
        "({} {} {} {} {} {} {} {} {} {})",
        optional(field(header, "Date")),
        optional(field(header, "Subject")),
        address_list(from.as_deref()),
        address_list(addresses("Sender").as_deref().or(from.as_deref())),
        address_list(addresses("Reply-To").as_deref().or(from.as_deref())),
        address_list(addresses("To").as_deref()),
        address_list(addresses("Cc").as_deref()),
        address_list(addresses("Bcc").as_deref()),
        optional(field(header, "In-Reply-To")),
        optional(field(header, "Message-ID")),
    )
}

/// Header and body; the empty line belongs to the header.
pub fn split(raw: &[u8]) -> (&[u8], &[u8]) {
    if raw.starts_with(b"\r\n") {
        return raw.split_at(2);
    }
    match raw.windows(4).position(|four| four == b"\r\n\r\n") {
        Some(at) => raw.split_at(at + 4),
        None => (raw, &[]),
    }
}

/// The header lines whose names are listed, or are not listed, with the empty line behind them.
pub fn selected_fields(header: &[u8], names: &[&str], listed: bool) -> Vec<u8> {
    let mut selected = Vec::new();
    for (name, lines) in fields(header) {
        if names.iter().any(|known| known.eq_ignore_ascii_case(name)) == listed {
            selected.extend_from_slice(lines);
        }
    }
    selected.extend_from_slice(b"\r\n");
    selected
}

/// A header field's value, unfolded.
pub fn field(header: &[u8], name: &str) -> Option<String> {
    let (_, lines) = fields(header).find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    let value = lines.get(name.len() + 1..)?;
    let text = String::from_utf8_lossy(value).replace("\r\n", "");
    Some(text.trim().replace('\t', " "))
}

/// Each field with its lines, continuation lines included.
fn fields(header: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let mut rest = header;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let mut end = line_length(rest);
            while matches!(rest.get(end), Some(b' ' | b'\t')) {
                end += line_length(&rest[end..]);
            }
            let (lines, behind) = rest.split_at(end);
            rest = behind;
            let name = lines.split(|byte| *byte == b':').next().unwrap_or_default();
            if let (Ok(name), true) = (std::str::from_utf8(name), lines.contains(&b':')) {
                return Some((name, lines));
            }
        }
        None
    })
}

fn line_length(text: &[u8]) -> usize {
    text.iter()
        .position(|byte| *byte == b'\n')
        .map_or(text.len(), |lf| lf + 1)
}

/// The parts between boundary lines.
fn sections<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let delimiter = format!("--{boundary}");
    let mut found = Vec::new();
    let (mut at, mut start) = (0, None);
    while at < body.len() {
        let end = at + line_length(&body[at..]);
        let line = body[at..end].trim_ascii_end();
        let closing = line.strip_suffix(b"--") == Some(delimiter.as_bytes());
        if line == delimiter.as_bytes() || closing {
            if let Some(start) = start {
                // The line break before a boundary belongs to the boundary (RFC 2046, section 5.1.1).
                found.push(&body[start..at.saturating_sub(2).max(start)]);
            }
            start = Some(end);
            if closing {
                return found;
            }
        }
        at = end;
    }
    found
}

/// `text/plain; charset=utf-8` as its first word and its parameters.
fn with_parameters(value: &str) -> (String, Vec<(String, String)>) {
    let mut parts = value.split(';');
    let word = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let parameters = parts.filter_map(|part| {
        let (name, value) = part.split_once('=')?;
        Some((
            name.trim().to_ascii_lowercase(),
            value.trim().trim_matches('"').to_owned(),
        ))
    });
    (word, parameters.collect())
}

fn parameter_list(parameters: &[(String, String)]) -> String {
    if parameters.is_empty() {
        return "NIL".into();
    }
    let pairs = parameters
        .iter()
        .map(|(name, value)| format!("{} {}", string(name), string(value)));
    format!("({})", pairs.collect::<Vec<_>>().join(" "))
}

fn address_list(value: Option<&str>) -> String {
    let addresses: Vec<_> = value
        .iter()
        .flat_map(|value| split_addresses(value))
        .map(address)
        .collect();
    match addresses.is_empty() {
        true => "NIL".into(),
        false => format!("({})", addresses.concat()),
    }
}

/// Cuts at commas outside quotes.
fn split_addresses(value: &str) -> Vec<&str> {
    let mut inside = false;
    let cut = move |c: char| {
        inside ^= c == '"';
        c == ',' && !inside
    };
    value.split(cut).filter(|text| !text.trim().is_empty()).collect()
}

fn address(text: &str) -> String {
    let (name, address) = match text.rsplit_once('<') {
        Some((name, address)) => (
            name.trim().trim_matches('"'),
            address.trim_end().trim_end_matches('>'),
        ),
        None => ("", text.trim()),
    };
    let (local, host) = address.split_once('@').unwrap_or((address, ""));
    let name = (!name.is_empty()).then(|| name.to_owned());
    format!("({} NIL {} {})", optional(name), string(local), string(host))
}

fn optional(text: Option<String>) -> String {
    text.map_or_else(|| "NIL".into(), |text| string(&text))
}

/// A quoted string, or a literal where the text cannot be quoted.
pub fn string(text: &str) -> String {
    if text.chars().any(|c| !c.is_ascii() || c.is_ascii_control()) {
        return format!("{{{}}}\r\n{text}", text.len());
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Text with its encoded words (RFC 2047) decoded, for searching; UTF-8 only.
pub fn decoded_words(text: &str) -> String {
    let mut decoded = String::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("=?") {
        let word = encoded_word(from);
        let (text, behind) = word.unwrap_or_else(|| ("=?".to_owned(), from));
        // White space between two encoded words is not shown.
        if !before.trim().is_empty() || decoded.is_empty() {
            decoded.push_str(before);
        }
        decoded.push_str(&text);
        rest = behind;
    }
    decoded + rest
}

/// `utf-8?q?Gr=C3=BC=C3=9Fe?=…` as its text and what follows.
fn encoded_word(from: &str) -> Option<(String, &str)> {
    let (_, rest) = from.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (text, behind) = rest.split_once("?=")?;
    let bytes = match encoding {
        "b" | "B" => base64(text)?,
        _ => quoted_printable(&text.replace('_', " ")),
    };
    Some((String::from_utf8_lossy(&bytes).into_owned(), behind))
}

fn base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

fn quoted_printable(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let hex = behind.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'=' => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "From: \"Doe, Jane\" <jane@example.org>\r\nTo: a@b.c, d@e.f\r\nSubject: two\r\n parts\r\n\
        Content-Type: multipart/mixed; boundary=\"x\"\r\n\r\npreamble\r\n--x\r\n\r\none\r\n--x\r\nContent-Type: image/png\r\n\
        Content-Disposition: attachment; filename=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--x--\r\nend\r\n";

    #[test]
    fn parts_are_found_by_number() {
        let message = Part::read(MESSAGE.as_bytes());
        assert_eq!(message.part(1).unwrap().body, b"one");
        assert_eq!(message.part(2).unwrap().body, b"AAAA");
        assert!(message.part(3).is_none() && message.part(0).is_none());
        let plain = Part::read(b"Subject: x\r\n\r\nbody\r\n");
        assert_eq!(plain.part(1).unwrap().body, b"body\r\n");
    }

    #[test]
    fn structure_and_envelope_are_what_the_rfc_shows() {
        let message = Part::read(MESSAGE.as_bytes());
        assert_eq!(
            message.structure(true),
            "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0 NIL NIL NIL NIL)\
             (\"image\" \"png\" NIL NIL NIL \"base64\" 4 NIL (\"attachment\" (\"filename\" \"a.png\")) NIL NIL) \
             \"mixed\" (\"boundary\" \"x\") NIL NIL NIL)"
        );
        let from = "((\"Doe, Jane\" NIL \"jane\" \"example.org\"))";
        assert_eq!(
            envelope(message.header),
            format!(
                "(NIL \"two parts\" {from} {from} {from} ((NIL NIL \"a\" \"b.c\")(NIL NIL \"d\" \"e.f\")) NIL NIL NIL NIL)"
            )
        );
    }

    #[test]
    fn header_fields_are_selected_with_their_continuations() {
        let (header, _) = split(MESSAGE.as_bytes());
        assert_eq!(
            selected_fields(header, &["SUBJECT"], true),
            b"Subject: two\r\n parts\r\n\r\n"
        );
        assert_eq!(
            selected_fields(b"A: 1\r\nB: 2\r\n\r\n", &["a"], false),
            b"B: 2\r\n\r\n"
        );
    }

    #[test]
    fn encoded_words_are_decoded() {
        assert_eq!(
            decoded_words("=?UTF-8?Q?Gr=C3=BC=C3=9Fe_aus?= =?utf-8?B?S8O2bG4=?= x"),
            "Grüße ausKöln x"
        );
        assert_eq!(decoded_words("a =? b"), "a =? b");
    }
}
