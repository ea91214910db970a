//! FETCH: which items were asked for, and what they look like.

use super::mailbox::Message;
use super::mailbox::flag_list;
use super::mime;
use super::mime::Part;
use super::wire::Arg;

/// One thing to tell of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Flags,
    Uid,
    Size,
    InternalDate,
    Envelope,
    Structure {
        name: &'static str,
        extended: bool,
    },
    Section {
        label: String,
        section: String,
        partial: Option<(usize, usize)>,
        peek: bool,
    },
}

/// The items of a FETCH command; nothing where one is unknown.
pub fn items(arg: &Arg) -> Option<Vec<Item>> {
    let mut found = Vec::new();
    for member in arg.members() {
        let Arg::Atom(word) = member else { return None };
        match word.to_ascii_uppercase().as_str() {
            "ALL" => found.extend([Item::Flags, Item::InternalDate, Item::Size, Item::Envelope]),
            "FAST" => found.extend([Item::Flags, Item::InternalDate, Item::Size]),
            "FULL" => {
                found.extend([Item::Flags, Item::InternalDate, Item::Size, Item::Envelope]);
                found.push(Item::Structure {
                    name: "BODY",
                    extended: false,
                });
            }
            "FLAGS" => found.push(Item::Flags),
            "UID" => found.push(Item::Uid),
            "RFC822.SIZE" => found.push(Item::Size),
            "INTERNALDATE" => found.push(Item::InternalDate),
            "ENVELOPE" => found.push(Item::Envelope),
            "BODY" => found.push(Item::Structure {
                name: "BODY",
                extended: false,
            }),
            "BODYSTRUCTURE" => found.push(Item::Structure {
                name: "BODYSTRUCTURE",
                extended: true,
            }),
            "RFC822" => found.push(whole("RFC822", "", false)),
            "RFC822.HEADER" => found.push(whole("RFC822.HEADER", "HEADER", true)),
            "RFC822.TEXT" => found.push(whole("RFC822.TEXT", "TEXT", false)),
            _ => found.push(section(word)?),
        }
    }
    (!found.is_empty()).then_some(found)
}

fn whole(label: &str, section: &str, peek: bool) -> Item {
    Item::Section {
        label: label.into(),
        section: section.into(),
        partial: None,
        peek,
    }
}

/// `BODY.PEEK[1.2.HEADER.FIELDS (From)]<0.100>`
fn section(word: &str) -> Option<Item> {
    let (name, rest) = word.split_once('[')?;
    let (inside, partial) = rest.rsplit_once(']')?;
    let peek = match name.to_ascii_uppercase().as_str() {
        "BODY" => false,
        "BODY.PEEK" => true,
        _ => return None,
    };
    let partial = match partial.strip_prefix('<').and_then(|text| text.strip_suffix('>')) {
        Some(text) => {
            let (from, length) = text.split_once('.')?;
            Some((from.parse().ok()?, length.parse().ok()?))
        }
        None if partial.is_empty() => None,
        None => return None,
    };
    let origin = partial.map_or_else(String::new, |(from, _)| format!("<{from}>"));
    Some(Item::Section {
        label: format!("BODY[{inside}]{origin}"),
        section: inside.to_owned(),
        partial,
        peek,
    })
}

/// True where telling the item sets `\Seen`.
pub fn marks_seen(item: &Item) -> bool {
    matches!(item, Item::Section { peek: false, .. })
}

/// `* 3 FETCH (…)`
pub fn response(number: usize, message: &Message, items: &[Item], output: &mut Vec<u8>) {
    output.extend_from_slice(format!("* {number} FETCH (").as_bytes());
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            output.push(b' ');
        }
        one(message, item, output);
    }
    output.extend_from_slice(b")\r\n");
}

fn one(message: &Message, item: &Item, output: &mut Vec<u8>) {
    let text = match item {
        Item::Flags => format!("FLAGS {}", flag_list(&message.flags)),
        Item::Uid => format!("UID {}", message.uid),
        Item::Size => format!("RFC822.SIZE {}", message.raw.len()),
        Item::InternalDate => format!("INTERNALDATE \"{}\"", message.received.0),
        Item::Envelope => format!("ENVELOPE {}", mime::envelope(mime::split(&message.raw).0)),
        Item::Structure { name, extended } => {
            format!("{name} {}", Part::read(&message.raw).structure(*extended))
        }
        Item::Section {
            label,
            section,
            partial,
            ..
        } => {
            let bytes = section_bytes(&message.raw, section);
            let shown = match (&bytes, partial) {
                (Some(bytes), Some((from, length))) => {
                    let from = (*from).min(bytes.len());
                    Some(&bytes[from..from.saturating_add(*length).min(bytes.len())])
                }
                (Some(bytes), None) => Some(bytes.as_slice()),
                (None, _) => None,
            };
            let Some(shown) = shown else {
                output.extend_from_slice(format!("{label} NIL").as_bytes());
                return;
            };
            output.extend_from_slice(format!("{label} {{{}}}\r\n", shown.len()).as_bytes());
            output.extend_from_slice(shown);
            return;
        }
    };
    output.extend_from_slice(text.as_bytes());
}

/// The bytes of a section; nothing where the message has no such part.
fn section_bytes(raw: &[u8], section: &str) -> Option<Vec<u8>> {
    let message = Part::read(raw);
    let mut part = &message;
    let mut rest = section;
    let mut numbered = false;
    while rest.starts_with(|c: char| c.is_ascii_digit()) {
        let (digits, behind) = rest.split_once('.').unwrap_or((rest, ""));
        part = part.part(digits.parse().ok()?)?;
        numbered = true;
        rest = behind;
    }
    // Behind a number, HEADER and TEXT are those of an embedded message.
    let of_message = || if numbered { part.embedded() } else { Some(part) };
    let (word, names) = rest.split_once(' ').unwrap_or((rest, ""));
    match word.to_ascii_uppercase().as_str() {
        "" if numbered => Some(part.body.to_vec()),
        "" => Some(raw.to_vec()),
        "MIME" if numbered => Some(part.header.to_vec()),
        "HEADER" => Some(of_message()?.header.to_vec()),
        "TEXT" => Some(of_message()?.body.to_vec()),
        "HEADER.FIELDS" => Some(mime::selected_fields(
            of_message()?.header,
            &field_names(names),
            true,
        )),
        "HEADER.FIELDS.NOT" => Some(mime::selected_fields(
            of_message()?.header,
            &field_names(names),
            false,
        )),
        _ => None,
    }
}

fn field_names(list: &str) -> Vec<&str> {
    list.trim_matches(['(', ')'])
        .split(' ')
        .map(|name| name.trim_matches('"'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &[u8] = b"Subject: x\r\nFrom: a@b\r\n\r\nhello\r\n";

    #[test]
    fn sections_and_parts_of_sections() {
        for (section, expected) in [
            ("", Some(RAW)),
            ("HEADER", Some(b"Subject: x\r\nFrom: a@b\r\n\r\n".as_slice())),
            ("TEXT", Some(b"hello\r\n")),
            ("1", Some(b"hello\r\n")),
            ("2", None),
            ("HEADER.FIELDS (\"FROM\" Date)", Some(b"From: a@b\r\n\r\n")),
        ] {
            assert_eq!(section_bytes(RAW, section).as_deref(), expected, "{section}");
        }
    }

    #[test]
    fn partial_fetches_name_their_origin_only() {
        let Some(Item::Section {
            label, partial, peek, ..
        }) = section("BODY.PEEK[TEXT]<2.100>")
        else {
            panic!("not a section");
        };
        assert_eq!(
            (label.as_str(), partial, peek),
            ("BODY[TEXT]<2>", Some((2, 100)), true)
        );
        assert_eq!(section("BODY[TEXT]<2>"), None);
        assert_eq!(section("NONSENSE"), None);
    }
}
