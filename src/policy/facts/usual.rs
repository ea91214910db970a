//! What a fact is where there is nothing to say: false, zero, an empty list. What is written down leaves these out, and
//! whoever reads it puts them back.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::LazyLock;

use crate::policy::facts::Client;
use crate::policy::facts::Command;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Facts;
use crate::policy::facts::Kind;
use crate::policy::facts::Login;
use crate::policy::facts::Session;
use crate::policy::facts::Source;
use crate::policy::facts::User;
use crate::policy::facts::Value;

/// Moments about which there is nothing to say.
struct Usual {
    source: Source,
    client: Client,
    user: User,
    login: Login<'static>,
    session: Session<'static>,
    command: Command<'static>,
}

static USUAL: LazyLock<Usual> = LazyLock::new(|| Usual {
    source: Source::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    client: Client::default(),
    user: User::default(),
    login: Login::default(),
    session: Session::default(),
    command: Command::default(),
});

impl Fact {
    /// False, zero or an empty list, where the fact is always known at such moments; `None` for every other fact.
    #[must_use]
    pub fn usual(self) -> Option<Value<'static>> {
        if !matches!(
            self.kind(),
            Kind::Truth | Kind::Number | Kind::Duration | Kind::Texts
        ) {
            return None;
        }
        let usual: &'static Usual = &USUAL;
        let mut facts = Facts::at(Event::Command, &usual.source);
        facts.client = Some(&usual.client);
        facts.user = Some(&usual.user);
        facts.login = Some(&usual.login);
        facts.session = Some(&usual.session);
        facts.command = Some(&usual.command);
        self.of(&facts)
    }
}
