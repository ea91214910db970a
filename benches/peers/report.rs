//! What was found, as one line of JSON.

use std::fmt;

use serde_json::Map;
use serde_json::Value;

#[derive(Debug, Default)]
pub struct Report(Map<String, Value>);

impl Report {
    pub fn say(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// An amount for each of some units, with three digits behind the point; nothing where there are no units.
    pub fn per(&mut self, name: &str, amount: f64, units: f64) {
        if units > 0.0 {
            self.say(name, (amount / units * 1e3).round() / 1e3);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(map) = self;
        write!(f, "{}", Value::Object(map.clone()))
    }
}
