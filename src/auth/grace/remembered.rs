//! What rules may be told of a user while the store cannot be asked.

use std::sync::Arc;

use crate::auth::memory::Visitor;
use crate::store::Habits;
use crate::types::UnixTime;

/// What rules were told of a user at a login that was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    habits: Habits,
    country: Option<Arc<str>>,
    asn: Option<u32>,
    family: Option<Arc<str>>,
    tls_client: Option<Arc<str>>,
}

impl Remembered {
    /// Of somebody who was let in: what they came with is new no more.
    #[must_use]
    pub fn of(visitor: &Visitor, habits: &Habits, now: UnixTime) -> Self {
        let known = |is_new: Option<bool>| is_new.map(|_| false);
        Self {
            habits: Habits {
                is_known_network: true,
                is_new_network: known(habits.is_new_network),
                is_new_country: known(habits.is_new_country),
                is_new_asn: known(habits.is_new_asn),
                is_new_family: known(habits.is_new_family),
                is_new_tls_client: known(habits.is_new_tls_client),
                last_login: Some(now),
                app_password: None,
                averages: habits.averages.clone(),
            },
            country: visitor.country.clone(),
            asn: visitor.asn,
            family: visitor.family.clone(),
            tls_client: visitor.tls_client.clone(),
        }
    }

    /// What rules may be told of a visitor; `None` where nothing was learnt of somebody who came like this. Another TLS client
    /// counts as new: a user has several.
    #[must_use]
    pub fn of_visitor(&self, visitor: &Visitor) -> Option<Habits> {
        let is_same =
            self.country == visitor.country && self.asn == visitor.asn && self.family == visitor.family;
        let is_other = self.tls_client != visitor.tls_client;
        is_same.then(|| Habits {
            is_new_tls_client: self.habits.is_new_tls_client.map(|_| is_other),
            ..self.habits.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::UserName;

    #[test]
    fn who_came_once_is_new_no_more_and_whoever_comes_otherwise_is_not_known() {
        let visitor = Visitor {
            user: UserName::parse(b"alice").unwrap(),
            ip: "192.0.2.1".parse().unwrap(),
            country: Some("DE".into()),
            asn: Some(64_500),
            family: Some("thunderbird".into()),
            tls_client: Some("t13d1516h2_8daaf6152771".into()),
            app_password: None,
        };
        let habits = Habits {
            is_new_network: Some(true),
            is_new_country: None,
            is_new_tls_client: Some(true),
            ..Habits::default()
        };
        let remembered = Remembered::of(&visitor, &habits, UnixTime(7));
        let told = remembered.of_visitor(&visitor).unwrap();
        assert!(told.is_known_network);
        assert_eq!((told.is_new_network, told.is_new_country), (Some(false), None));
        assert_eq!(told.last_login, Some(UnixTime(7)));
        assert_eq!(told.is_new_tls_client, Some(false));
        let other_device = Visitor {
            tls_client: None,
            ..visitor.clone()
        };
        let told = remembered.of_visitor(&other_device).unwrap();
        assert_eq!(told.is_new_tls_client, Some(true));
        let others = [
            Visitor {
                country: Some("FR".into()),
                ..visitor.clone()
            },
            Visitor {
                asn: None,
                ..visitor.clone()
            },
            Visitor {
                family: Some("outlook".into()),
                ..visitor.clone()
            },
        ];
        assert!(others.iter().all(|other| remembered.of_visitor(other).is_none()));
    }
}
