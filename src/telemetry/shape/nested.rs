//! Dotted paths and their values as one JSON object, written in one go.

use std::sync::LazyLock;

use serde::Serialize;

use crate::telemetry::field::Field;

/// Where fields stand, by the number of the field.
static PLACES: LazyLock<Vec<Place>> = LazyLock::new(places);

/// Where a field stands.
#[derive(Debug)]
struct Place {
    /// How many paths come before its own: what has the same objects around it stands together.
    rank: usize,
    /// The objects around it, from the outermost; the same number is the same name.
    around: Vec<(usize, &'static str)>,
    name: &'static str,
}

fn places() -> Vec<Place> {
    let mut paths: Vec<&str> = Field::ALL.iter().map(|field| field.path()).collect();
    paths.sort_unstable();
    let mut names: Vec<&str> = paths.iter().flat_map(|path| path.split('.')).collect();
    names.sort_unstable();
    names.dedup();
    let find = |list: &[&str], text: &str| list.binary_search(&text).unwrap_or_default();
    let place = |field: &Field| {
        let (around, name) = field.path().rsplit_once('.').unwrap_or(("", field.path()));
        let around = around.split('.').filter(|name| !name.is_empty());
        Place {
            rank: find(&paths, field.path()),
            around: around.map(|name| (find(&names, name), name)).collect(),
            name,
        }
    };
    Field::ALL.iter().map(place).collect()
}

/// Writes nested objects: `a.b` and `a.c` are `{"a":{"b":…,"c":…}}`. Names hold nothing that JSON escapes, and no path leads
/// through another's value.
pub(super) fn nested<V: Serialize>(parts: impl Iterator<Item = (Field, V)>) -> String {
    let places = &**PLACES;
    let placed = parts.filter_map(|(field, value)| Some((places.get(field.number())?, value)));
    let mut parts: Vec<(&Place, V)> = placed.collect();
    parts.sort_unstable_by_key(|(place, _)| place.rank);
    let mut out = Vec::with_capacity(2048);
    let mut open: &[(usize, &str)] = &[];
    out.push(b'{');
    for (place, value) in parts {
        let pairs = open.iter().zip(&place.around);
        let shared = pairs.take_while(|(one, other)| one.0 == other.0).count();
        out.extend(open.iter().skip(shared).map(|_| b'}'));
        separate(&mut out);
        for (_, name) in place.around.iter().skip(shared) {
            key(&mut out, name);
            out.push(b'{');
        }
        open = &place.around;
        key(&mut out, place.name);
        // Our own values are always JSON: texts, numbers, lists and objects with texts as keys.
        if serde_json::to_writer(&mut out, &value).is_err() {
            out.extend_from_slice(b"null");
        }
    }
    // Those that are open, and the outermost.
    out.extend(open.iter().map(|_| b'}').chain([b'}']));
    String::from_utf8(out).unwrap_or_default()
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    fn read(parts: Vec<(Field, Value)>) -> Value {
        serde_json::from_str(&nested(parts.into_iter())).unwrap()
    }

    #[test]
    fn what_has_the_same_objects_around_it_stands_in_them() {
        let parts = vec![
            (Field::TlsJa4, json!(1)),
            (Field::Message, json!("x\"\n")),
            (Field::Code, json!([1, 2])),
            (Field::Sequence, json!({"k": null})),
            (Field::LogLevel, json!(true)),
            (Field::TlsCipher, json!(2)),
        ];
        let mut whole = json!({});
        for (field, value) in &parts {
            let names: Vec<&str> = field.path().split('.').collect();
            let mut place = &mut whole;
            for name in names {
                place = &mut place[name];
            }
            *place = value.clone();
        }
        assert_eq!(read(parts), whole);
        assert_eq!(read(Vec::new()), json!({}));
    }

    #[test]
    fn no_name_of_a_field_needs_an_escape_or_a_list() {
        for field in Field::ALL {
            let plain = |c: char| c.is_ascii_alphanumeric() || "@._".contains(c);
            assert!(field.path().chars().all(plain), "{}", field.path());
        }
    }

    #[test]
    fn no_object_is_begun_twice() {
        let text = nested(Field::ALL.iter().map(|field| (*field, json!(1))));
        let read: Value = serde_json::from_str(&text).unwrap();
        // An object that is begun twice would be read once.
        assert_eq!(read.to_string().len(), text.len());
    }
}
