//! Who logs in.

use std::fs;
use std::io;
use std::path::Path;

use crate::socket::other;

/// Names and passwords, which sessions take in turn.
#[derive(Debug)]
pub struct Accounts(Vec<(String, String)>);

impl Accounts {
    /// For servers that let everybody in.
    pub fn any() -> Self {
        let all = (0..64).map(|number| (format!("user{number}"), "secret".to_owned()));
        Self(all.collect())
    }

    /// A name and a password on each line of a file.
    pub fn read(file: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(file)?;
        let pair = |line: &str| {
            let (name, password) = line
                .split_once(' ')
                .ok_or_else(|| other("a name and a password"))?;
            Ok((name.to_owned(), password.to_owned()))
        };
        let all: Vec<_> = text.lines().map(pair).collect::<io::Result<_>>()?;
        if all.is_empty() {
            return Err(other(format!("{} is empty", file.display())));
        }
        Ok(Self(all))
    }

    /// The name and the password for one session.
    pub fn of(&self, session: usize) -> (&str, &str) {
        let (name, password) = &self.0[session % self.0.len()];
        (name, password)
    }
}
