//! Dotted paths and their values as one JSON object, written in one go.

use serde::Serialize;

/// Writes nested objects: `a.b` and `a.c` are `{"a":{"b":…,"c":…}}`. Names hold nothing that JSON escapes, and no path leads
/// through another's value.
pub(super) fn nested<V: Serialize>(mut parts: Vec<(&'static str, V)>) -> String {
    // What has the same objects around it stands together then.
    parts.sort_unstable_by_key(|(path, _)| *path);
    let mut out = Vec::with_capacity(1024);
    let mut open: Vec<&str> = Vec::new();
    out.push(b'{');
    for (path, value) in parts {
        let (around, name) = path.rsplit_once('.').unwrap_or(("", path));
        let around = around.split('.').filter(|name| !name.is_empty());
        let shared = open
            .iter()
            .zip(around.clone())
            .take_while(|(one, other)| *one == other)
            .count();
        let closed = open.drain(shared..).map(|_| b'}');
        out.extend(closed);
        separate(&mut out);
        for name in around.skip(shared) {
            key(&mut out, name);
            out.push(b'{');
            open.push(name);
        }
        key(&mut out, name);
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
    use crate::telemetry::field::Field;

    fn read(parts: Vec<(&'static str, Value)>) -> Value {
        serde_json::from_str(&nested(parts)).unwrap()
    }

    #[test]
    fn what_has_the_same_objects_around_it_stands_in_them() {
        let parts = vec![
            ("b.c.d", json!(1)),
            ("a", json!("x\"\n")),
            ("b.c_x", json!([1, 2])),
            ("z.y", json!({"k": null})),
            ("b.c.e", json!(true)),
            ("b.a.d", json!(2)),
        ];
        let whole = json!({
            "a": "x\"\n",
            "b": {"c": {"d": 1, "e": true}, "c_x": [1, 2], "a": {"d": 2}},
            "z": {"y": {"k": null}},
        });
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
        let parts = Field::ALL.iter().map(|field| (field.path(), json!(1))).collect();
        let text = nested(parts);
        let read: Value = serde_json::from_str(&text).unwrap();
        // An object that is begun twice would be read once.
        assert_eq!(read.to_string().len(), text.len());
    }
}
