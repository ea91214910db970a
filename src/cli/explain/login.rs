//! A login, step by step as it is judged: bans, lists, limits, the user, the second factor, rules.

use std::net::IpAddr;

use crate::auth::app_password::id_text;
use crate::cli::error::CliError;
use crate::cli::explain::Explanation;
use crate::cli::explain::Says;
use crate::cli::explain::Sources;
use crate::cli::explain::arguments::Credential;
use crate::cli::explain::arguments::ExplainLogin;
use crate::cli::explain::known::facts;
use crate::cli::explain::namesake::as_listed;
use crate::cli::explain::rules;
use crate::cli::output;
use crate::config::listener::Listener;
use crate::policy::access::Lists;
use crate::policy::access::NamedNetworks;
use crate::policy::factor::DecidedBy;
use crate::policy::factor::Demand;
use crate::policy::factor::Login;
use crate::policy::factor::Requirement;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::store::Before;
use crate::store::Found;
use crate::store::Lookup;
use crate::store::MfaSetting;
use crate::store::User;
use crate::types::Prefix;
use crate::types::UnixTime;

/// What is known of the user where there is no store.
const NO_STORE: &str = "there is no store yet";

pub(super) async fn explain(
    now: UnixTime,
    sources: &Sources,
    asked: &ExplainLogin,
) -> Result<Explanation, CliError> {
    let now = asked.at.unwrap_or(now);
    let ip = asked.from.to_canonical();
    let listener = listener(sources, asked)?;
    let subject = format!(
        "login of {} from {ip} at {} with {}",
        asked.user,
        output::time(now),
        asked.with.describe()
    );
    let mut explanation = Explanation::new(subject);
    bans(sources, ip, now, &mut explanation).await?;
    let global = &sources.config.access;
    lists(
        sources,
        ip,
        ("access list", "access".to_owned(), global),
        &mut explanation,
    );
    let key = format!("listeners[{}]", listener.0);
    lists(
        sources,
        ip,
        ("listener's list", key, &listener.1.access),
        &mut explanation,
    );
    limits(sources, ip, &mut explanation);
    let mut found = look_up(sources, asked, now).await?;
    let listed = as_listed(sources, asked, &found, &mut explanation);
    let asked = listed.as_ref().unwrap_or(asked);
    if listed.is_some() {
        found = look_up(sources, asked, now).await?;
    }
    let entered = match &asked.with {
        Credential::AppPassword(id) => {
            app_password(*id, asked, &found, now, &mut explanation);
            found.app_password.as_ref()
        }
        _ => {
            password(sources, asked, &found, now, &mut explanation);
            None
        }
    };
    let mut facts = facts(sources, asked, ip, &found, entered, now)?;
    rules::stated(&mut facts, &asked.fact)?;
    let has_app_password = entered.is_some();
    let is_absent = |fact: Fact| {
        let of_app_password = fact.name().starts_with("user.app_password.");
        fact == Fact::LoginReason || (of_app_password && !has_app_password)
    };
    for event in [Event::Connect, Event::Login] {
        rules::explain(sources, event, (&facts, &is_absent), &mut explanation);
    }
    let why = "whether the mail server knows the password is not asked";
    explanation.says(Says::Unknown, "mail server", why, sources.places.of("backends"));
    Ok(explanation)
}

fn listener<'s>(sources: &'s Sources, asked: &ExplainLogin) -> Result<(usize, &'s Listener), CliError> {
    let all = &sources.config.listeners;
    let wanted = |(_, listener): &(usize, &Listener)| asked.listener.is_none_or(|it| it == listener.address);
    all.iter().enumerate().find(wanted).ok_or_else(|| {
        let known: Vec<String> = all.iter().map(|listener| listener.address.to_string()).collect();
        CliError::Usage(format!(
            "there is no such listener; there are {}",
            known.join(", ")
        ))
    })
}

async fn bans(
    sources: &Sources,
    ip: IpAddr,
    now: UnixTime,
    explanation: &mut Explanation,
) -> Result<(), CliError> {
    const WHERE: &str = "store (imapwarden ban list)";
    if sources.config.ban_options().protected.contains(ip) {
        let why = format!("{ip} is never banned");
        explanation.says(Says::Ok, "bans", why, sources.places.of("limits.exempt"));
        return Ok(());
    }
    let bans = match &sources.store {
        Some(store) => store.bans(now).await?,
        None => Vec::new(),
    };
    match bans.iter().find(|ban| ban.network.contains(&ip)) {
        Some(ban) => {
            let why = format!("{} is banned by {}: {}", ban.network, ban.by, ban.reason);
            explanation.says(Says::Refuses, "bans", why, WHERE);
        }
        None => explanation.says(Says::Ok, "bans", "no ban has the address", WHERE),
    }
    if sources.config.limits.ban_after.is_some() {
        let why = "bans for guessing are known to the running proxy only";
        explanation.says(Says::Unknown, "bans", why, sources.places.of("limits.ban_after"));
    }
    Ok(())
}

fn lists(
    sources: &Sources,
    ip: IpAddr,
    (part, key, lists): (&'static str, String, &Lists),
    explanation: &mut Explanation,
) {
    let find = |sets: &[NamedNetworks]| sets.iter().position(|set| set.networks.contains(ip));
    let name =
        |sets: &[NamedNetworks], at: usize| sets.get(at).map(|set| set.name.to_string()).unwrap_or_default();
    if let Some(at) = find(&lists.deny) {
        let why = format!("{ip} is in `{}`, which is denied", name(&lists.deny, at));
        explanation.says(
            Says::Refuses,
            part,
            why,
            sources.places.of(&format!("{key}.deny[{at}]")),
        );
    } else if lists.allow.is_empty() {
        explanation.says(
            Says::Ok,
            part,
            "everybody may connect",
            sources.places.of(&format!("{key}.allow")),
        );
    } else if let Some(at) = find(&lists.allow) {
        let why = format!("{ip} is in `{}`, which is allowed", name(&lists.allow, at));
        explanation.says(
            Says::Ok,
            part,
            why,
            sources.places.of(&format!("{key}.allow[{at}]")),
        );
    } else {
        let why = format!("{ip} is on no list of those who may connect");
        explanation.says(
            Says::Refuses,
            part,
            why,
            sources.places.of(&format!("{key}.allow")),
        );
    }
}

fn limits(sources: &Sources, ip: IpAddr, explanation: &mut Explanation) {
    let limits = &sources.config.limits;
    let of = |key: &str| sources.places.of(key);
    if sources.config.connection_limits().exempt.contains(ip) {
        let why = "the address is not counted";
        explanation.says(Says::Ok, "limits", why, of("limits.exempt"));
    } else {
        let network = Prefix::of(ip);
        let why = format!(
            "{network}: at most {} connections, {} a second; how many there are is known to the running proxy only",
            limits.connections_per_network, limits.rate_per_network
        );
        explanation.says(Says::Notes, "limits", why, of("limits.connections_per_network"));
        let why = format!(
            "at most {} wrong secrets of the user from there in 15 minutes, {} from there in 30 minutes",
            limits.failures_per_user_and_network, limits.failures_per_network
        );
        explanation.says(
            Says::Notes,
            "limits",
            why,
            of("limits.failures_per_user_and_network"),
        );
    }
    let why = format!("at most {} sessions of the user", limits.sessions_per_user);
    explanation.says(Says::Notes, "limits", why, of("limits.sessions_per_user"));
}

async fn look_up(sources: &Sources, asked: &ExplainLogin, now: UnixTime) -> Result<Found, CliError> {
    let lookup = Lookup {
        user: asked.user.clone(),
        app_password: match asked.with {
            Credential::AppPassword(id) => Some(id),
            _ => None,
        },
        window: None,
        now,
        counted: None,
        before: Before::Nothing,
        visit: None,
    };
    Ok(match &sources.store {
        Some(store) => store.look_up(lookup).await?,
        None => Found::default(),
    })
}

/// Whether a user may log in at all, from there.
fn user(user: &User, ip: IpAddr, explanation: &mut Explanation) {
    let place = format!("store (imapwarden user show {})", user.name);
    if user.disabled {
        explanation.says(Says::Refuses, "user", format!("{} is disabled", user.name), place);
    } else if user
        .networks
        .as_ref()
        .is_some_and(|networks| !networks.contains(ip))
    {
        let networks = output::networks(user.networks.as_ref());
        let why = format!("{} may log in from {networks} only", user.name);
        explanation.says(Says::Refuses, "user", why, place);
    } else {
        explanation.says(
            Says::Ok,
            "user",
            format!("{} may log in from there", user.name),
            place,
        );
    }
}

fn app_password(id: u32, asked: &ExplainLogin, found: &Found, now: UnixTime, explanation: &mut Explanation) {
    const PART: &str = "app password";
    let place = format!("store (imapwarden app-password list {})", asked.user);
    let Some(row) = &found.app_password else {
        let why = format!("there is no app password {}", id_text(id));
        return explanation.says(Says::Refuses, PART, why, place);
    };
    let ip = asked.from.to_canonical();
    let refusal = if row.revoked.is_some() {
        Some("it is revoked".to_owned())
    } else if !row.is_live(now) {
        Some(format!("it expired {}", output::time_or_dash(row.expires)))
    } else if asked.user != row.user && asked.user != row.account {
        Some("it is another user's".to_owned())
    } else if row
        .networks
        .as_ref()
        .is_some_and(|networks| !networks.contains(ip))
    {
        Some(format!(
            "it works from {} only",
            output::networks(row.networks.as_ref())
        ))
    } else {
        None
    };
    match refusal {
        Some(why) => explanation.says(Says::Refuses, PART, why, place),
        None => {
            let why = format!("it opens {} and takes the second factor's place", row.account);
            explanation.says(Says::Ok, PART, why, place);
        }
    }
    let owners = found.owner.iter().chain(&found.account);
    owners.for_each(|owner| user(owner, ip, explanation));
    if !row.restrictions.is_empty() {
        let why = "it is restricted; `imapwarden explain command` says what that means for a command";
        let place = format!("store (imapwarden app-password list {})", row.user);
        explanation.says(Says::Notes, PART, why, place);
    }
}

fn password(
    sources: &Sources,
    asked: &ExplainLogin,
    found: &Found,
    now: UnixTime,
    explanation: &mut Explanation,
) {
    let ip = asked.from.to_canonical();
    match &found.user {
        Some(known) => user(known, ip, explanation),
        None => {
            let place = sources.places.of("second_factor.admit_unknown_users");
            let admits = sources.config.second_factor.admit_unknown_users;
            let why = match &sources.store {
                Some(_) => format!("nobody has added {}", asked.user),
                None => format!("nobody has added {}: {NO_STORE}", asked.user),
            };
            explanation.says(
                if admits && found.namesakes.is_empty() && asked.user.is_ascii() {
                    Says::Notes
                } else {
                    Says::Refuses
                },
                "user",
                why,
                place,
            );
        }
    }
    second_factor(sources, asked, found, now, explanation);
}

fn second_factor(
    sources: &Sources,
    asked: &ExplainLogin,
    found: &Found,
    now: UnixTime,
    explanation: &mut Explanation,
) {
    let own = found.user.as_ref();
    let decision = sources.config.second_factor.policy.decide(&Login {
        ip: asked.from.to_canonical(),
        now,
        requirement: own.and_then(|user| user.mfa).map(|setting| match setting {
            MfaSetting::Required => Requirement::Required,
            MfaSetting::Optional => Requirement::Optional,
            MfaSetting::Exempt => Requirement::Exempt,
        }),
        deadline: own.and_then(|user| user.enrol_by),
        enrolled: found.totp.is_some() || found.has_app_passwords,
    });
    let place = match &decision.by {
        DecidedBy::User => format!("store (imapwarden user show {})", asked.user),
        DecidedBy::Network(name) => {
            let networks = &sources.config.second_factor.policy.networks;
            let at = networks.iter().position(|rule| rule.name() == &**name);
            sources
                .places
                .of(&format!("second_factor.networks[{}]", at.unwrap_or(0)))
        }
        DecidedBy::Default => sources.places.of("second_factor.default"),
    };
    let word = decision.requirement.as_str();
    let takes_codes = found.totp.is_some() && sources.config.second_factor.totp.enabled;
    let (says, why) = match (decision.demand, &asked.with) {
        (_, Credential::Code) if takes_codes => (
            Says::Ok,
            format!("{word}; a right code that was not used before is a second factor"),
        ),
        (Demand::SecondFactor, Credential::Code) => (
            Says::Refuses,
            format!("{word}, and the user has no one-time codes that may be typed"),
        ),
        (Demand::SecondFactor, _) => (
            Says::Refuses,
            format!("{word}, and a password alone is none (app password, or a code behind it)"),
        ),
        (Demand::Nothing(waiver), _) => (
            Says::Ok,
            format!("{word}: none is asked for ({})", waiver.as_str()),
        ),
    };
    explanation.says(says, "second factor", why, place);
}
