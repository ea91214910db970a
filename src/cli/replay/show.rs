//! What a replay shows: a table for people, one value for programs; and what it cannot know, in both.

use std::io;

use serde_json::Value;
use serde_json::json;

use crate::cli::Context;
use crate::cli::output;
use crate::cli::replay::Reading;
use crate::cli::replay::judge::Replay;
use crate::cli::replay::tally::Fired;
use crate::cli::replay::tally::Times;
use crate::config::rules::Loaded;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::rules::Rule;
use crate::policy::rules::Threshold;
use crate::types::UnixTime;

/// Users of one rule that are shown to people; programs get all that are told apart.
const SHOWN: usize = 5;

/// What holds for every replay.
const ALWAYS: [&str; 3] = [
    "What happened stays as it was: what follows a refusal, a ban or an ended session is still judged.",
    "A command is judged when it was over, and all that came for it at once: a rule about bytes in a short window may fire where \
     a slow download would not have made it fire.",
    "Counts begin at nothing: what happened before the recording is not counted.",
];

/// Shows what came of it.
pub(super) fn show(cx: &mut Context<'_>, loaded: &Loaded, replay: &Replay, read: &Reading) -> io::Result<()> {
    if cx.out.is_json() {
        return cx.out.json(&as_json(loaded, replay, read));
    }
    let rows: Vec<Vec<String>> = replay
        .rules()
        .filter_map(|rule| Some((rule, replay.tally.rules.get(&rule.name)?)))
        .flat_map(|(rule, fired)| rows(rule, fired, replay))
        .collect();
    for line in head(replay, read) {
        cx.out.line(&line)?;
    }
    let head = [
        "RULE", "WHO", "FIRED", "HELD", "LIVE", "FIRST", "LAST", "MODE", "THEN",
    ];
    cx.out.line("")?;
    cx.out.table(&head, &rows, "No rule fired.")?;
    for line in done(replay) {
        cx.out.line(&line)?;
    }
    cx.out.line("")?;
    cx.out.line("What a replay cannot know:")?;
    for line in limits(replay) {
        cx.out.line(&format!("- {line}"))?;
    }
    Ok(())
}

fn head(replay: &Replay, read: &Reading) -> Vec<String> {
    let tally = &replay.tally;
    let moments: Vec<String> = tally
        .moments
        .iter()
        .map(|(event, count)| format!("{count} {}", event.as_str()))
        .collect();
    let mut lines = vec![format!(
        "{} lines, {} events; judged: {}.",
        read.lines,
        read.events,
        if moments.is_empty() {
            "nothing".to_owned()
        } else {
            moments.join(", ")
        }
    )];
    if tally.span.count > 0 {
        let (from, to) = (time(tally.span.first_ms), time(tally.span.last_ms));
        lines.push(format!("From {from} to {to}."));
    }
    if read.unreadable > 0 {
        let named: Vec<String> = read
            .named
            .iter()
            .map(|(file, line, why)| format!("{}:{line} ({why})", output::shown(file)))
            .collect();
        let more = if read.unreadable > u64::try_from(named.len()).unwrap_or(u64::MAX) {
            ", …"
        } else {
            ""
        };
        lines.push(format!(
            "{} lines are no events: {}{more}",
            read.unreadable,
            named.join(", ")
        ));
    }
    lines
}

fn rows(rule: &Rule, fired: &Fired, replay: &Replay) -> Vec<Vec<String>> {
    let then: Vec<&str> = rule.then.iter().map(|action| action.as_str()).collect();
    let live = replay.tally.live.get(&*rule.name).copied().unwrap_or_default();
    let row = |name: String, who: String, times: Times, held: String, live: String| {
        vec![
            name,
            who,
            times.count.to_string(),
            held,
            live,
            time(times.first_ms),
            time(times.last_ms),
        ]
    };
    let users = fired.by.len();
    let all = row(
        rule.name.to_string(),
        format!("{users} in all"),
        fired.times,
        fired.held.to_string(),
        live.to_string(),
    );
    let ends = [replay.mode_of(rule).as_str().to_owned(), then.join(",")];
    let mut rows = vec![all.into_iter().chain(ends).collect()];
    let mut by: Vec<_> = fired.by.iter().collect();
    by.sort_by_key(|(_, times)| std::cmp::Reverse(times.count));
    for (who, times) in by.iter().take(SHOWN) {
        rows.push(row(
            String::new(),
            output::shown(who),
            **times,
            String::new(),
            String::new(),
        ));
    }
    rows
}

/// What the rules would have done, those in shadow mode left out.
fn done(replay: &Replay) -> Vec<String> {
    let effects = replay.tally.effects.iter();
    let effects =
        effects.map(|((event, effect), count)| format!("{count} {} {}", event.as_str(), effect.as_str()));
    let consequences = replay.tally.consequences.iter();
    let all: Vec<String> = effects
        .chain(consequences.map(|(word, count)| format!("{count} {word}")))
        .collect();
    if all.is_empty() {
        return vec!["Nothing would have been done.".to_owned()];
    }
    vec![format!("Would have been done: {}.", all.join(", "))]
}

/// What this replay cannot know: what holds for all, what is not in the recording, and for which rules that matters.
fn limits(replay: &Replay) -> Vec<String> {
    let mut lines: Vec<String> = ALWAYS.iter().map(|line| (*line).to_owned()).collect();
    let tally = &replay.tally;
    for (count, what) in [
        (tally.lost, "events were lost when it was recorded"),
        (tally.untold, "commands were left out when it was recorded"),
        (
            tally.out_of_order,
            "events are older than those before them: give the files in the order of time",
        ),
        (replay.forgotten(), "sessions were forgotten for want of room"),
    ] {
        if count > 0 {
            lines.push(format!("{count} {what}."));
        }
    }
    lines.extend(replay.rules().filter_map(|rule| limit_of(rule, replay)));
    lines
}

/// What is not known for one rule.
fn limit_of(rule: &Rule, replay: &Replay) -> Option<String> {
    let name = &rule.name;
    if !replay.tally.moments.contains_key(&rule.on) {
        let hint = if rule.on >= Event::Command {
            " (`events.commands: all` records it)"
        } else {
            ""
        };
        return Some(format!(
            "{name}: nothing that it looks at, {}, is recorded{hint}.",
            rule.on.as_str()
        ));
    }
    let unknown: Vec<&str> = replay.unknown(rule).into_iter().map(Fact::name).collect();
    if !unknown.is_empty() {
        return Some(format!("{name}: never known: {}.", unknown.join(", ")));
    }
    matches!(rule.over, Threshold::Baseline { .. })
        .then(|| format!("{name}: nobody's average day is recorded; it counted up to its floor."))
}

fn as_json(loaded: &Loaded, replay: &Replay, read: &Reading) -> Value {
    let tally = &replay.tally;
    let unreadable: Vec<Value> = read
        .named
        .iter()
        .map(|(file, line, why)| json!({"file": file, "line": line, "why": why}))
        .collect();
    let rules: Vec<Value> = replay.rules().map(|rule| rule_json(rule, replay)).collect();
    let moments: serde_json::Map<String, Value> = tally
        .moments
        .iter()
        .map(|(event, count)| (event.as_str().to_owned(), (*count).into()))
        .collect();
    let effects: Vec<Value> = tally
        .effects
        .iter()
        .map(|((event, effect), count)| json!({"on": event.as_str(), "effect": effect.as_str(), "count": count}))
        .collect();
    let span = (tally.span.count > 0).then(|| (time(tally.span.first_ms), time(tally.span.last_ms)));
    json!({
        "lines": read.lines, "events": read.events, "judged": moments,
        "unreadable": {"count": read.unreadable, "lines": unreadable},
        "from": span.as_ref().map(|(from, _)| from), "to": span.as_ref().map(|(_, to)| to),
        "revision": &*loaded.set.revision, "rules": rules, "effects": effects, "consequences": tally.consequences,
        "lost": tally.lost, "untold": tally.untold, "out_of_order": tally.out_of_order,
        "not_known": limits(replay),
    })
}

fn rule_json(rule: &Rule, replay: &Replay) -> Value {
    let then: Vec<&str> = rule.then.iter().map(|action| action.as_str()).collect();
    let nothing = Fired::default();
    let fired = replay.tally.rules.get(&rule.name).unwrap_or(&nothing);
    let times = |times: &Times| {
        let first = (times.count > 0).then(|| time(times.first_ms));
        let last = (times.count > 0).then(|| time(times.last_ms));
        json!({"fired": times.count, "first": first, "last": last})
    };
    let by: Vec<Value> = fired
        .by
        .iter()
        .map(|(who, each)| json!({"who": &**who, "fired": each.count, "first": time(each.first_ms), "last": time(each.last_ms)}))
        .collect();
    let mut value = times(&fired.times);
    let more = json!({
        "name": &*rule.name, "on": rule.on.as_str(), "severity": rule.severity.as_str(),
        "mode": replay.mode_of(rule).as_str(), "then": then, "held": fired.held, "by": by, "by_others": fired.others,
        "live": replay.tally.live.get(&*rule.name).copied().unwrap_or_default(),
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

/// To the second, UTC.
fn time(ms: u64) -> String {
    output::time(UnixTime(i64::try_from(ms / 1000).unwrap_or(i64::MAX)))
}
