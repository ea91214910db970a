//! Catches the events of an imapwarden that runs inside the test.

use std::io;
use std::io::Write;
use std::time::Duration;

use imapwarden::telemetry::sink::Target;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

/// Longest wait for an event.
const PATIENCE: Duration = Duration::from_secs(10);

/// Every event so far, in order.
#[derive(Debug, Clone)]
pub struct Recorder(watch::Sender<Vec<Value>>);

impl Default for Recorder {
    fn default() -> Self {
        Self(watch::channel(Vec::new()).0)
    }
}

impl Recorder {
    /// Where the proxy's events must go, as JSON.
    pub fn target(&self) -> Target {
        Target::Writer(self.writer())
    }

    /// Takes events as lines of JSON, wherever they come from.
    pub fn writer(&self) -> Box<dyn Write + Send> {
        Box::new(Lines {
            recorder: self.clone(),
            begun: Vec::new(),
        })
    }

    /// The events so far.
    pub fn all(&self) -> Vec<Value> {
        self.0.borrow().clone()
    }

    /// Waits for the first event from number `from` on that has the action; says its number and the event.
    pub async fn wait(&self, from: usize, action: &str) -> Option<(usize, Value)> {
        let mut events = self.0.subscribe();
        let find = |events: &Vec<Value>| {
            let found = events
                .iter()
                .skip(from)
                .position(|event| text(event, "event.action") == action);
            found.map(|at| at + from)
        };
        let found = timeout(PATIENCE, events.wait_for(|events| find(events).is_some())).await;
        let events = found.ok()?.ok()?;
        let at = find(&events)?;
        Some((at, events[at].clone()))
    }
}

/// A field by its dotted path, as text; empty where it is absent.
pub fn text(event: &Value, path: &str) -> String {
    let value = path.split('.').try_fold(event, |value, name| value.get(name));
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

struct Lines {
    recorder: Recorder,
    begun: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            let event = serde_json::from_slice(&line).expect("an event is a line of JSON");
            self.recorder.0.send_modify(|events| events.push(event));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
