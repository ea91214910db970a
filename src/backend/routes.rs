//! Which backend an account lives on: by user, by domain, by server name, else the default. The client chooses the server
//! name: where it decides, one account name must mean one person on all backends.

use std::collections::HashMap;

use crate::backend::error::BackendError;
use crate::backend::options::Routes;
use crate::types::UserName;

/// The routes, by the backend's number.
#[derive(Debug)]
pub(super) struct Table {
    users: HashMap<UserName, usize>,
    domains: HashMap<String, usize>,
    server_names: HashMap<String, usize>,
    default: Option<usize>,
}

impl Table {
    /// Reads the routes; `names` are the backends', in order.
    pub(super) fn new(routes: Routes, names: &[&str]) -> Result<Self, BackendError> {
        let number = |name: String| match names.iter().position(|known| *known == name) {
            Some(number) => Ok(number),
            None => Err(BackendError::UnknownBackend(name)),
        };
        let is_empty = routes.users.is_empty() && routes.domains.is_empty() && routes.server_names.is_empty();
        let default = match routes.default {
            Some(name) => Some(number(name)?),
            None if names.len() == 1 && is_empty => Some(0),
            None => None,
        };
        Ok(Self {
            users: first_wins(routes.users, |user| user, number)?,
            domains: first_wins(routes.domains, |domain| dns(&domain), number)?,
            server_names: first_wins(routes.server_names, |name| dns(&name), number)?,
            default,
        })
    }

    /// The backend's number.
    pub(super) fn find(&self, account: &UserName, server_name: Option<&str>) -> Option<usize> {
        let by_user = self.users.get(account);
        let by_domain = || account.domain().and_then(|domain| self.domains.get(&dns(domain)));
        let by_name = || server_name.and_then(|name| self.server_names.get(&dns(name)));
        let found = by_user.or_else(by_domain).or_else(by_name);
        found.copied().or(self.default)
    }
}

fn first_wins<T, K: std::hash::Hash + Eq>(
    list: Vec<(T, String)>,
    key: impl Fn(T) -> K,
    number: impl Fn(String) -> Result<usize, BackendError>,
) -> Result<HashMap<K, usize>, BackendError> {
    let mut map = HashMap::with_capacity(list.len());
    for (from, to) in list {
        map.entry(key(from)).or_insert(number(to)?);
    }
    Ok(map)
}

/// Names in the DNS know neither case nor a final dot.
fn dns(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> UserName {
        UserName::parse(text.as_bytes()).unwrap()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(from, to): &(&str, &str)| ((*from).to_owned(), (*to).to_owned());
        list.iter().map(owned).collect()
    }

    #[test]
    fn user_beats_domain_beats_server_name_beats_default() {
        let routes = Routes {
            users: vec![(user("bob@x.org"), "b".to_owned())],
            domains: pairs(&[("X.org", "c"), ("x.ORG", "a")]),
            server_names: pairs(&[("mail.example.", "d")]),
            default: Some("a".to_owned()),
        };
        let table = Table::new(routes, &["a", "b", "c", "d"]).unwrap();
        let cases = [
            ("bob@x.org", Some("mail.example"), 1),
            ("Bob@x.org", Some("mail.example"), 2),
            ("eve@x.org", None, 2),
            ("eve@X.ORG", None, 2),
            ("eve@y.org", Some("MAIL.example"), 3),
            ("eve", Some("mail.example."), 3),
            ("eve@y.org", Some("other"), 0),
            ("x.org", None, 0),
        ];
        for (name, server_name, number) in cases {
            assert_eq!(table.find(&user(name), server_name), Some(number), "{name}");
        }
    }

    #[test]
    fn a_single_backend_needs_no_route() {
        let table = Table::new(Routes::default(), &["a"]).unwrap();
        assert_eq!(table.find(&user("x"), None), Some(0));
        let table = Table::new(Routes::default(), &["a", "b"]).unwrap();
        assert_eq!(table.find(&user("x"), None), None);
        let only_one_domain = Routes {
            domains: pairs(&[("x.org", "a")]),
            ..Routes::default()
        };
        let table = Table::new(only_one_domain, &["a"]).unwrap();
        assert_eq!(table.find(&user("x@y.org"), None), None);
    }

    #[test]
    fn a_route_to_nowhere_is_an_error() {
        let routes = Routes {
            default: Some("z".to_owned()),
            ..Routes::default()
        };
        let error = Table::new(routes, &["a"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a route names the backend `z`, which does not exist"
        );
    }
}
