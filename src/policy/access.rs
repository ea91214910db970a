//! Allow and deny lists: may this address connect, log in as this user, use this app password?
//!
//! Every scope that has lists must agree; a deny anywhere beats every allow. This file must never turn a list that the
//! operator wrote into "everyone": a named set without networks lets nobody in.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::types::Networks;

/// Whose lists they are. Asked in this order, each as soon as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Every connection.
    Global,
    /// Connections to one listener.
    Listener,
    /// Logins of one user.
    User,
    /// Logins with one app password.
    AppPassword,
}

impl Scope {
    /// The word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Listener => "listener",
            Self::User => "user",
            Self::AppPassword => "app_password",
        }
    }
}

/// A set of networks with the name that events show: `office`, or the CIDR itself where it was written in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedNetworks {
    /// What the operator calls it.
    pub name: Arc<str>,
    /// The networks; an empty set contains nobody.
    pub networks: Networks,
}

impl NamedNetworks {
    /// Names a set.
    #[must_use]
    pub fn new(name: &str, networks: Networks) -> Self {
        Self {
            name: name.into(),
            networks,
        }
    }
}

/// The two lists of one scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// Who may come. No entry at all means everyone; an entry without networks is nobody, so that a set which became empty
    /// closes the door instead of opening it.
    pub allow: Vec<NamedNetworks>,
    /// Who may not come, whatever is allowed elsewhere.
    pub deny: Vec<NamedNetworks>,
}

impl Lists {
    /// True where nothing is restricted.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

/// Why an address is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Whose list said so.
    pub scope: Scope,
    /// The deny list's set, or `None` where an allow list exists and no set on it contains the address.
    pub denied_by: Option<Arc<str>>,
}

/// `denied by global list "scanners"` or `not on the allow list of user`: for events, never for the client.
impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.denied_by {
            Some(name) => write!(f, "denied by {} list {name:?}", self.scope.as_str()),
            None => write!(f, "not on the allow list of {}", self.scope.as_str()),
        }
    }
}

/// What the lists say.
#[must_use = "a verdict that nobody reads lets everyone in"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No list objects. Names the set of the last scope that has an allow list, for the event.
    Allowed {
        /// The scope and set that the address was found in, if any scope has an allow list.
        by: Option<(Scope, Arc<str>)>,
    },
    /// One list objects.
    Denied(Denial),
}

impl Verdict {
    /// The verdict as a result, for `?`.
    ///
    /// # Errors
    /// Gives the denial.
    pub fn into_result(self) -> Result<(), Denial> {
        match self {
            Self::Allowed { .. } => Ok(()),
            Self::Denied(denial) => Err(denial),
        }
    }
}

/// Asks the lists of all scopes given about an address. Deny lists of every scope come first, then each scope that has an
/// allow list must have the address on it.
pub fn judge(ip: IpAddr, scopes: &[(Scope, &Lists)]) -> Verdict {
    for (scope, lists) in scopes {
        if let Some(set) = find(&lists.deny, ip) {
            return Verdict::Denied(Denial {
                scope: *scope,
                denied_by: Some(Arc::clone(&set.name)),
            });
        }
    }
    let mut by = None;
    for (scope, lists) in scopes {
        if lists.allow.is_empty() {
            continue;
        }
        let Some(set) = find(&lists.allow, ip) else {
            return Verdict::Denied(Denial {
                scope: *scope,
                denied_by: None,
            });
        };
        by = Some((*scope, Arc::clone(&set.name)));
    }
    Verdict::Allowed { by }
}

/// The first set with the address in it.
fn find(sets: &[NamedNetworks], ip: IpAddr) -> Option<&NamedNetworks> {
    sets.iter().find(|set| set.networks.contains(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, cidrs: &[&str]) -> NamedNetworks {
        let nets = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
        NamedNetworks::new(name, Networks::new(nets))
    }

    fn lists(allow: &[NamedNetworks], deny: &[NamedNetworks]) -> Lists {
        Lists {
            allow: allow.to_vec(),
            deny: deny.to_vec(),
        }
    }

    fn verdict(ip: &str, scopes: &[(Scope, &Lists)]) -> Result<(), String> {
        judge(ip.parse().unwrap(), scopes)
            .into_result()
            .map_err(|denial| denial.to_string())
    }

    #[test]
    fn no_lists_allow_everyone() {
        assert_eq!(
            judge("192.0.2.1".parse().unwrap(), &[]),
            Verdict::Allowed { by: None }
        );
        let none = Lists::default();
        assert!(none.is_unrestricted());
        assert_eq!(verdict("2001:db8::1", &[(Scope::Global, &none)]), Ok(()));
    }

    #[test]
    fn every_scope_must_agree_and_deny_beats_allow() {
        let office = set("office", &["192.0.2.0/24", "2001:db8::/32"]);
        let printer = set("printer", &["192.0.2.9/32"]);
        let scanners = set("scanners", &["198.51.100.0/24"]);
        let global = lists(&[], std::slice::from_ref(&scanners));
        let user = lists(std::slice::from_ref(&office), std::slice::from_ref(&printer));
        let app_password = lists(&[printer.clone(), scanners, office], &[]);
        let scopes = [
            (Scope::Global, &global),
            (Scope::User, &user),
            (Scope::AppPassword, &app_password),
        ];
        let table = [
            ("192.0.2.1", Ok(())),
            ("::ffff:192.0.2.1", Ok(())),
            ("2001:db8::5", Ok(())),
            ("198.51.100.7", Err("denied by global list \"scanners\"")),
            ("192.0.2.9", Err("denied by user list \"printer\"")),
            ("203.0.113.1", Err("not on the allow list of user")),
            ("::1", Err("not on the allow list of user")),
        ];
        for (ip, expected) in table {
            assert_eq!(verdict(ip, &scopes), expected.map_err(String::from), "{ip}");
        }
    }

    #[test]
    fn a_deny_in_a_later_scope_beats_an_allow_in_an_earlier_one() {
        let allow = lists(&[set("all", &["0.0.0.0/0"])], &[]);
        let deny = lists(&[], &[set("one", &["192.0.2.1/32"])]);
        let scopes = [(Scope::Global, &allow), (Scope::AppPassword, &deny)];
        assert_eq!(
            verdict("192.0.2.1", &scopes),
            Err("denied by app_password list \"one\"".into())
        );
    }

    #[test]
    fn an_allow_list_whose_set_became_empty_lets_nobody_in() {
        let lists = lists(&[set("office", &[])], &[]);
        assert_eq!(
            verdict("192.0.2.1", &[(Scope::Listener, &lists)]),
            Err("not on the allow list of listener".into())
        );
    }

    #[test]
    fn an_allow_list_of_one_family_denies_the_other() {
        let lists = lists(&[set("all", &["0.0.0.0/0"])], &[]);
        assert!(verdict("2001:db8::1", &[(Scope::Global, &lists)]).is_err());
    }

    #[test]
    fn the_event_hears_which_set_let_the_address_in() {
        let lists = lists(&[set("a", &["10.0.0.0/8"]), set("b", &["192.0.2.0/24"])], &[]);
        assert_eq!(
            judge("192.0.2.1".parse().unwrap(), &[(Scope::User, &lists)]),
            Verdict::Allowed {
                by: Some((Scope::User, "b".into()))
            }
        );
    }
}
