//! The groups a user belongs to: words that an operator gives, for rules to tell users apart by.

use std::sync::Arc;

use thiserror::Error;

/// Longest name of a group, in bytes.
const MAX_LEN: usize = 64;

/// Most groups of one user.
const MAX_GROUPS: usize = 32;

/// The name of a group: letters, digits, `.`, `_`, `-`, 1 to 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group(Arc<str>);

/// Why something cannot be a group, or groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GroupError {
    /// Empty or longer than 64 bytes.
    #[error("the name of a group has 1 to 64 bytes")]
    Length,
    /// Something that a list or a rule could not hold.
    #[error("the name of a group has letters, digits, `.`, `_` and `-` only")]
    Character,
    /// More than 32.
    #[error("a user is in 32 groups at most")]
    TooMany,
}

impl Group {
    /// Reads a name from a command line or the store.
    ///
    /// # Errors
    /// Says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, GroupError> {
        if text.is_empty() || text.len() > MAX_LEN {
            return Err(GroupError::Length);
        }
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !text.chars().all(fits) {
            return Err(GroupError::Character);
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as facts hold it.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

/// At most 32 groups, sorted, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups(Vec<Group>);

impl Groups {
    /// Sorts the groups given.
    ///
    /// # Errors
    /// Where there are more than 32.
    pub fn new(mut groups: Vec<Group>) -> Result<Self, GroupError> {
        groups.sort_unstable();
        groups.dedup();
        if groups.len() > MAX_GROUPS {
            return Err(GroupError::TooMany);
        }
        Ok(Self(groups))
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The groups in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(names: &[&str]) -> Result<Groups, GroupError> {
        Groups::new(names.iter().map(|name| Group::parse(name).unwrap()).collect())
    }

    #[test]
    fn a_name_is_one_short_word() {
        for name in ["staff", "Vertrieb-Süd", "a.b_c", &"x".repeat(64)] {
            assert_eq!(Group::parse(name).unwrap().as_str(), name);
        }
        for (wrong, why) in [
            ("", GroupError::Length),
            (&*"x".repeat(65), GroupError::Length),
            ("two words", GroupError::Character),
            ("a,b", GroupError::Character),
            ("a\u{202e}", GroupError::Character),
            ("a\n", GroupError::Character),
        ] {
            assert_eq!(Group::parse(wrong), Err(why), "{wrong:?}");
        }
    }

    #[test]
    fn groups_are_sorted_each_once_and_bounded() {
        let sorted: Vec<_> = groups(&["b", "a", "b"]).unwrap().0;
        assert_eq!(sorted, groups(&["a", "b"]).unwrap().0);
        let names: Vec<String> = (0..33).map(|number| format!("g{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(groups(&names), Err(GroupError::TooMany));
        assert!(groups(&names[1..]).is_ok());
    }
}
