//! The facts that rules are about: what is known at each moment of a session, under one name each.
//!
//! [`Fact`] is the table: the expressions' type check, the docs and the accessors come from it. Nothing here holds a
//! password, a search term or a message's content, and nothing allocates.

mod event;
mod moments;
mod parties;
mod record;
mod table;
mod usual;
mod value;

pub use event::Event;
pub use event::Events;
pub use moments::Appended;
pub use moments::Command;
pub use moments::Fetched;
pub use moments::Login;
pub use moments::Session;
pub use parties::AppPassword;
pub use parties::Client;
pub use parties::Source;
pub use parties::Tls;
pub use parties::User;
pub use record::Record;
pub use record::WrongValue;
pub use table::Fact;
pub use value::Kind;
pub use value::Texts;
pub use value::Value;

pub use crate::types::Measure;

/// Something that rules can be judged on.
pub trait Lookup {
    /// The moment.
    fn event(&self) -> Event;

    /// A fact's value; `None` where it is not known.
    fn value(&self, fact: Fact) -> Option<Value<'_>>;

    /// What the user moves on an average day with any activity, of the last `days`; `None` where nothing is known yet.
    fn baseline(&self, measure: Measure, days: u16) -> Option<u64>;
}

/// Where baselines come from: the session asks the store once, when the user logs in.
pub trait Baselines {
    /// As `Lookup::baseline`.
    fn baseline(&self, measure: Measure, days: u16) -> Option<u64>;
}

/// Everything known at one moment, borrowed from those who know it.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The moment.
    pub event: Event,
    /// Where the connection comes from.
    pub source: &'a Source,
    /// The TLS session; `None` before STARTTLS.
    pub tls: Option<&'a Tls>,
    /// What the client says it is.
    pub client: Option<&'a Client>,
    /// Who logs in; `None` before the login.
    pub user: Option<&'a User>,
    /// The login, at `Event::Login`.
    pub login: Option<&'a Login<'a>>,
    /// The session, after the login.
    pub session: Option<&'a Session<'a>>,
    /// The command, at `Event::Command`.
    pub command: Option<&'a Command<'a>>,
    /// What was fetched, at `Event::Fetched`.
    pub fetched: Option<&'a Fetched>,
    /// What was appended, at `Event::Appended`.
    pub appended: Option<&'a Appended<'a>>,
    /// The user's baselines, if there are any.
    pub baselines: Option<&'a dyn Baselines>,
}

impl<'a> Facts<'a> {
    /// The facts of a moment at which nothing but the source is known; the caller adds what else is.
    #[must_use]
    pub const fn at(event: Event, source: &'a Source) -> Self {
        Self {
            event,
            source,
            tls: None,
            client: None,
            user: None,
            login: None,
            session: None,
            command: None,
            fetched: None,
            appended: None,
            baselines: None,
        }
    }
}

impl Lookup for Facts<'_> {
    fn event(&self) -> Event {
        self.event
    }

    fn value(&self, fact: Fact) -> Option<Value<'_>> {
        fact.of(self)
    }

    fn baseline(&self, measure: Measure, days: u16) -> Option<u64> {
        self.baselines?.baseline(measure, days)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_fact_has_a_name_of_its_own_and_is_found_by_it() {
        let names: BTreeSet<_> = Fact::ALL.iter().map(|fact| fact.name()).collect();
        assert_eq!(names.len(), Fact::ALL.len());
        for fact in Fact::ALL {
            assert_eq!(Fact::find(fact.name()), Some(*fact));
        }
        assert_eq!(Fact::find("session"), None);
    }

    #[test]
    fn a_fact_comes_from_whoever_knows_it_and_is_absent_otherwise() {
        let source = Source::new("::ffff:192.0.2.1".parse().unwrap());
        let user = User {
            name: "alice@example.org".into(),
            ..User::default()
        };
        let command = Command {
            verb: "FETCH",
            search_keys: &["TEXT"],
            ..Command::default()
        };
        let mut facts = Facts::at(Event::Command, &source);
        facts.user = Some(&user);
        facts.command = Some(&command);
        let address = "192.0.2.1".parse().unwrap();
        assert_eq!(facts.value(Fact::SourceIp), Some(Value::Address(address)));
        assert_eq!(facts.value(Fact::UserDomain), Some(Value::Text("example.org")));
        assert_eq!(facts.value(Fact::CommandVerb), Some(Value::Text("FETCH")));
        let keys = Value::Texts(Texts::Borrowed(&["TEXT"]));
        assert_eq!(facts.value(Fact::CommandSearchKeys), Some(keys));
        for absent in [
            Fact::TlsVersion,
            Fact::SessionAge,
            Fact::UserAppPasswordId,
            Fact::SourceCountry,
        ] {
            assert_eq!(facts.value(absent), None, "{}", absent.name());
        }
    }

    /// A fact outside its events would never be known, and the table would promise it.
    #[test]
    #[expect(clippy::too_many_lines, reason = "one value for each fact")]
    fn a_fact_is_known_at_the_events_that_the_table_names() {
        let text: std::sync::Arc<str> = "x".into();
        let some = || Some(std::sync::Arc::clone(&text));
        let source = Source {
            networks: vec![std::sync::Arc::clone(&text)],
            country: some(),
            asn: Some(1),
            is_known: Some(true),
            is_new_for_user: Some(true),
            is_new_country_for_user: Some(true),
            is_new_asn_for_user: Some(true),
            ..Source::new("192.0.2.1".parse().unwrap())
        };
        let tls = Tls {
            version: some(),
            cipher: some(),
            server_name: some(),
            ja4: some(),
            client_certificate: some(),
            is_new_for_user: Some(true),
        };
        let client = Client {
            name: some(),
            version: some(),
            os: some(),
            vendor: some(),
            family: some(),
            is_new_for_user: Some(true),
        };
        let user = User {
            name: "a@b".into(),
            mfa: some(),
            unseen_for: Some(1),
            sessions: Some(1),
            session_networks: Some(1),
            app_password: Some(AppPassword {
                unused_for: Some(1),
                client_family_at_creation: some(),
                ..AppPassword::default()
            }),
            ..User::default()
        };
        let login = Login {
            reason: Some("x"),
            password_hash: Some(1),
            ..Login::default()
        };
        let session = Session {
            mailbox: Some("x"),
            mailbox_role: Some("x"),
            exists: Some(1),
            gap_mean_ms: Some(1),
            gap_deviation_ms: Some(1),
            end_reason: Some("x"),
            ..Session::default()
        };
        let command = Command {
            mailbox: Some("x"),
            mailbox_role: Some("x"),
            destination: Some("x"),
            destination_role: Some("x"),
            pattern: Some("x"),
            set_size: Some(1),
            store_mode: Some("add"),
            ..Command::default()
        };
        let appended = Appended {
            mailbox_role: Some("x"),
            backdated_by: Some(1),
            ..Appended::default()
        };
        let fetched = Fetched::default();
        for event in Event::ALL {
            let mut facts = Facts::at(*event, &source);
            facts.tls = Some(&tls);
            let after = |first: Event| *event >= first;
            facts.client = after(Event::Login).then_some(&client);
            facts.user = after(Event::Login).then_some(&user);
            facts.login = (*event == Event::Login).then_some(&login);
            facts.session = after(Event::Command).then_some(&session);
            facts.command = (*event == Event::Command).then_some(&command);
            facts.fetched = (*event == Event::Fetched).then_some(&fetched);
            facts.appended = (*event == Event::Appended).then_some(&appended);
            for fact in Fact::ALL.iter().filter(|fact| fact.events().contains(*event)) {
                assert!(
                    facts.value(*fact).is_some(),
                    "{} at {}",
                    fact.name(),
                    event.as_str()
                );
            }
        }
    }
}
