use proptest::prelude::*;

use super::*;
use crate::policy::facts::Record;

fn facts(event: Event, values: &[(&str, &str)]) -> Record {
    let mut record = Record::new(event);
    for (name, text) in values {
        let fact = Fact::find(name).unwrap();
        match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(items) => {
                let items = items.split(',').filter(|item| !item.is_empty());
                record.set_list(fact, items.map(Arc::from).collect()).unwrap();
            }
            None => record.set(fact, text).unwrap(),
        }
    }
    record
}

fn fetch() -> Record {
    facts(
        Event::Command,
        &[
            ("command.verb", "FETCH"),
            ("command.uid", "true"),
            ("command.set_size", "500"),
            ("command.mailbox", "Entwürfe/ALT"),
            ("command.search_keys", "[TEXT,SINCE]"),
            ("source.ip", "192.0.2.7"),
            ("source.networks", "[]"),
            ("session.age", "120"),
            ("user.name", "Alice@Example.org"),
        ],
    )
}

#[track_caller]
fn holds(text: &str) -> bool {
    Expression::compile(text, Event::Command)
        .unwrap_or_else(|error| panic!("{text}: {error} at {:?}", error.at))
        .holds(&fetch())
}

#[test]
fn expressions_mean_what_they_say() {
    for text in [
        "command.uid",
        "command.verb == \"FETCH\"",
        "command.verb == 'FETCH' && command.set_size > 100",
        "command.verb in [\"STORE\", \"FETCH\"]",
        "!(command.verb == \"STORE\") && command.verb != \"STORE\"",
        "command.set_size >= 500 && command.set_size <= 500 && command.set_size in [1, 500]",
        "command.set_size * 2 - 1 + -1 == 998",
        "-command.set_size < 0",
        "session.age < duration(\"3m\") && session.age >= duration(\"2m\")",
        "command.mailbox.startsWith(\"Entw\") && command.mailbox.endsWith(\"ALT\")",
        "command.mailbox.lower() == \"entwürfe/alt\"",
        "lower(command.mailbox).startsWith(\"entwü\") && command.mailbox.lower().endsWith(\"/alt\")",
        "command.mailbox.lower().contains(\"fe/a\") && !command.mailbox.contains(\"fe/a\")",
        "command.mailbox.lower() in [\"x\", \"entwürfe/alt\"]",
        "command.mailbox.matches(\"^Entw.rfe\") && command.mailbox.lower().matches(\"^entwürfe/alt$\")",
        "user.name.lower().endsWith(\"@example.org\")",
        "size(command.mailbox) == 12 && size(command.search_keys) == 2",
        "\"TEXT\" in command.search_keys && !(\"BODY\" in command.search_keys)",
        "command.verb.lower() in [\"fetch\"]",
        "source.ip == \"192.0.2.7\" && source.ip != \"192.0.2.8\"",
        "source.ip in [\"10.0.0.0/8\", \"192.0.2.0/24\"] && source.ip in [\"::ffff:192.0.2.7\"]",
        "(command.uid ? command.set_size : 0) == 500",
        "(command.uid ? command.verb : \"x\") == \"FETCH\"",
        "command.uid ? true : false",
        "command.uid == true && command.uid != false",
        "has(command.set_size) && !has(source.country)",
        "command.verb == (\"FETCH\")",
        "command.verb\n  == \"FETCH\" // with a comment",
    ] {
        assert!(holds(text), "{text}");
    }
    for text in [
        "command.verb == \"fetch\"",
        "command.set_size < 500",
        "command.mailbox.matches(\"^entw\")",
        "source.ip in [\"192.0.2.0/29\", \"2001:db8::/32\"] && source.ip == \"192.0.2.1\"",
        "\"office\" in source.networks",
    ] {
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn what_is_not_known_makes_nothing_true() {
    for text in [
        "source.country == \"AT\"",
        "source.country != \"AT\"",
        "!(source.country == \"AT\")",
        "source.country in [\"AT\"]",
        "!(source.country in [\"AT\"])",
        "source.is_new_for_user",
        "!source.is_new_for_user",
        "source.asn > 0 || source.asn <= 0",
        "source.country == \"AT\" && command.uid",
        "source.is_new_for_user ? true : true",
        "!source.country.startsWith(\"A\")",
    ] {
        assert!(!holds(text), "{text}");
    }
    for text in [
        "source.country == \"AT\" || command.uid",
        "!(source.country == \"AT\" && !command.uid)",
        "!has(source.country) || source.country != \"AT\"",
    ] {
        assert!(holds(text), "{text}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn mistakes_are_found_when_a_rule_is_read_and_say_where() {
    let table = [
        ("command.verb = \"X\"", "not an expression", "="),
        ("command.verb == \"ééé\" = 1", "not an expression", "="),
        ("comand.verb == \"X\"", "no fact `comand.verb`", "comand.verb"),
        ("command.verb == \"é\" && foo", "no fact `foo`", "foo"),
        ("command", "no fact `command`", "command"),
        (
            "login.outcome == \"x\"",
            "never known on command",
            "login.outcome",
        ),
        ("has(login.outcome)", "never known on command", "login.outcome"),
        (
            "command.set_size == \"5\"",
            "wants a number, and this is text",
            "\"5\"",
        ),
        (
            "command.verb > 5",
            "wants a number, and this is text",
            "command.verb",
        ),
        (
            "command.verb && command.uid",
            "wants true or false, and this is text",
            "command.verb",
        ),
        ("command.verb", "a condition wants true or false", ""),
        (
            "command.uid == 1",
            "wants true or false, and this is a number",
            "1",
        ),
        ("command.verb in command.verb", "a list on its right", ""),
        ("command.verb in [1]", "wants text, and this is a number", "1"),
        ("command.verb in [command.mailbox]", "written out", ""),
        ("command.search_keys == \"x\"", "a text, number, address", ""),
        ("command.search_keys.exists(k, k == \"X\")", "loops", ""),
        ("[1, 2].all(x, x > 0)", "loops", ""),
        ("command.verb.upper() == \"X\"", "no function `upper`", ""),
        ("foo(command.verb)", "no function `foo`", ""),
        ("command.verb.startsWith(\"a\", \"b\")", "no function", ""),
        ("command.set_size / 2 > 1", "not supported", "/"),
        ("command.search_keys[0] == \"X\"", "not supported", "["),
        ("command.set_size > 1.5", "fractions are not supported", "1.5"),
        ("command.set_size > 5u", "unsigned numbers", "5u"),
        ("command.set_size == null", "null values", "null"),
        ("{\"a\": 1} == 5", "maps", ""),
        (
            "command.mailbox.matches(\"(\")",
            "no regular expression: unclosed group",
            "\"(\"",
        ),
        (
            "command.mailbox.matches(\"\\\\w{1000}{1000}\")",
            "regular expression",
            "",
        ),
        ("command.mailbox.matches(command.verb)", "written out", ""),
        (
            "source.ip == \"10.0.0.0/8\"",
            "this is no address",
            "\"10.0.0.0/8\"",
        ),
        (
            "source.ip in [\"10.0.0.0/8x\"]",
            "no address or network",
            "\"10.0.0.0/8x\"",
        ),
        ("source.ip == 5", "wants", ""),
        (
            "session.age > duration(\"5 minutes\")",
            "no duration",
            "\"5 minutes\"",
        ),
        ("true", "does not depend on any fact", "true"),
        ("", "not an expression", ""),
        ("command.uid &&", "not an expression", ""),
        ("command.uid )", "not an expression", ""),
        ("command.verb == \"x", "not an expression", ""),
    ];
    let mut wrong = Vec::new();
    for (text, message, place) in table {
        let error = Expression::compile(text, Event::Command).unwrap_err();
        let found = text.get(error.at.clone());
        let right = error.to_string().contains(message) && found.is_some();
        if !right || (!place.is_empty() && found != Some(place)) {
            wrong.push(format!("{text}: {error} at {:?} {found:?}", error.at));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_password_hash_is_only_for_counting() {
    let error = Expression::compile("login.password_hash == 5", Event::Login).unwrap_err();
    assert!(
        error.to_string().contains("only for `per` and `distinct`"),
        "{error}"
    );
}

#[test]
fn long_and_deep_expressions_are_refused_in_time_and_without_a_crash() {
    let too_long = format!("command.verb == \"{}\"", "x".repeat(MAX_LENGTH));
    let deep = |open: &str, close: &str, times: usize| {
        format!("{}command.uid{}", open.repeat(times), close.repeat(times))
    };
    for text in [
        too_long,
        deep("(", ")", 500),
        deep("[", "]", 500),
        format!("command.set_size > {}1", "1+".repeat(1_000)),
        format!("{}command.uid", "command.uid?true:".repeat(100)),
        format!("command.mailbox{} == \"\"", ".lower()".repeat(200)),
        format!("command{} == \"\"", ".x".repeat(900)),
    ] {
        assert!(Expression::compile(&text, Event::Command).is_err(), "{text}");
    }
    // The parser itself makes one of them, or none.
    assert!(holds(&deep("!", "", 2_000)));
    assert!(holds(&deep("(", ")", MAX_NESTING)));
    assert!(holds(&deep("(command.uid ? ", " : false)", MAX_NESTING / 2)));
    assert!(!holds(&deep("!has(", ")", 1)));
    assert!(holds(&vec!["command.uid"; 130].join(" && ")));
    assert!(holds(&format!("command.set_size in [{}500]", "1,".repeat(500))));
}

#[test]
fn the_verbs_outside_of_which_a_rule_cannot_match_are_known() {
    let verbs = |text: &str| {
        let expression = Expression::compile(text, Event::Command).unwrap();
        let verbs = expression.texts_that(Fact::CommandVerb);
        verbs.map(|list| list.join(" "))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(verbs("command.verb == \"A\" && command.uid"), some("A"));
    assert_eq!(verbs("command.uid && \"A\" == command.verb"), some("A"));
    assert_eq!(verbs("command.verb in [\"A\", \"B\"]"), some("A B"));
    assert_eq!(
        verbs("(command.verb == \"A\" && command.uid) || command.verb == \"B\""),
        some("B A")
    );
    assert_eq!(verbs("command.verb == \"A\" || command.uid"), None);
    assert_eq!(verbs("command.verb != \"A\""), None);
    assert_eq!(verbs("command.verb.lower() == \"a\""), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_the_compiler_panic(text in "\\PC{0,60}") {
        let _ = Expression::compile(&text, Event::Command);
    }

    #[test]
    fn no_string_of_words_makes_the_compiler_panic_and_places_lie_in_the_text(
        words in proptest::collection::vec(
            prop::sample::select(vec![
                "command.verb", "command.uid", "command.set_size", "source.ip", "user.groups", "==", "!=", "<", "&&", "||",
                "!", "-", "+", "*", "/", "%", "in", "[", "]", "(", ")", "{", "}", "?", ":", ",", ".", "\"a\"", "'é'", "1", "2u",
                "1.5", "true", "null", "has(", "size(", ".lower()", ".matches(\"a\")", "duration(\"1s\")", ".exists(x, x)",
                "\n", "`", "\\", "r\"", "b'x'", "9999999999999999999999", "//",
            ]),
            0..12,
        ),
    ) {
        let text = words.join(" ");
        match Expression::compile(&text, Event::Command) {
            Ok(expression) => { let _ = expression.holds(&fetch()); }
            Err(error) => prop_assert!(text.get(error.at.clone()).is_some(), "{text}: {error} at {:?}", error.at),
        }
    }
}
