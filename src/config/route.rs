//! Which user's mail is on which backend: `routes`.

use crate::config::address::host_name;
use crate::config::backend::Backend;
use crate::config::backend::user_name;
use crate::config::kind::Kind;
use crate::config::kind::Wrong;
use crate::config::problem::Problem;
use crate::config::problem::quoted;
use crate::config::section::Section;
use crate::config::suggest::nearest;
use crate::types::UserName;

/// Whom a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteFor {
    /// One user.
    User(UserName),
    /// All users of a domain, in lower case.
    Domain(String),
    /// Everyone who connects to a host name (TLS server name), in lower case.
    Sni(String),
    /// Everyone else.
    Everyone,
}

/// Which backend a user's mail is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// For whom.
    pub who: RouteFor,
    /// The backend's name.
    pub backend: String,
}

/// Reads `routes` to the backends given.
pub(super) fn read(root: &mut Section<'_>, backends: &[Backend]) -> Vec<Route> {
    let known: Vec<&str> = backends.iter().map(|backend| backend.name.as_str()).collect();
    let mut routes: Vec<Route> = Vec::new();
    for section in root.sections("routes").unwrap_or_default() {
        let place = section.span();
        let Some(route) = read_route(section, &known) else {
            continue;
        };
        if routes.iter().any(|earlier| earlier.who == route.who) {
            let message = "a route before this one is for the same users";
            root.problem(Problem::new("no_effect", place, message).help("keep one of them"));
        }
        routes.push(route);
    }
    routes
}

fn read_route(mut section: Section<'_>, backends: &[&str]) -> Option<Route> {
    let user = section.optional("user", &user_name(), "any");
    let domain = section.optional("domain", &host_name(), "any");
    let sni = section.optional("sni", &host_name(), "any");
    let backend = section.required("backend", &known_backend(backends));
    let written = ["user", "domain", "sni"]
        .iter()
        .filter(|key| section.has(key))
        .count();
    if written > 1 {
        let message = "a route is for one of `user`, `domain` and `sni`";
        let problem = Problem::new("conflicting_keys", section.span(), message);
        section.problem(problem.help("write a route for each"));
    }
    let who = match (user, domain, sni) {
        (Some(user), _, _) => RouteFor::User(user),
        (_, Some(domain), _) => RouteFor::Domain(domain),
        (_, _, Some(name)) => RouteFor::Sni(name),
        _ => RouteFor::Everyone,
    };
    section.finish();
    // A selector that could not be read must not turn the route into one for everyone.
    if written > 0 && who == RouteFor::Everyone {
        return None;
    }
    Some(Route {
        who,
        backend: backend?,
    })
}

fn known_backend<'k>(backends: &'k [&'k str]) -> Kind<'k, String> {
    Kind::new("name of a backend", String::clone, |text| {
        if backends.contains(&text) {
            return Ok(text.to_owned());
        }
        let wrong = Wrong::new("unknown_backend", format!("there is no backend {}", quoted(text)));
        Err(match nearest(text, backends.iter().copied()) {
            Some(name) => wrong.help(format!("did you mean `{name}`?")),
            None => wrong.help("add it under `backends:`"),
        })
    })
}
