//! What rules would know of a login, as far as that can be known outside the running proxy.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::app_password::id_text;
use crate::cli::error::CliError;
use crate::cli::explain::Sources;
use crate::cli::explain::arguments::ExplainLogin;
use crate::net::geo::Geo;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Record;
use crate::policy::family::Family;
use crate::policy::family::Identity;
use crate::store::AppPassword;
use crate::store::Found;
use crate::types::Group;
use crate::types::UnixTime;

/// The facts of a login that succeeds.
pub(super) fn facts(
    sources: &Sources,
    asked: &ExplainLogin,
    ip: IpAddr,
    found: &Found,
    entered: Option<&AppPassword>,
    now: UnixTime,
) -> Result<Record, CliError> {
    let mut facts = Record::new(Event::Login);
    of_address(sources, ip, &mut facts)?;
    let user = entered.map_or(&asked.user, |row| &row.user).as_str();
    put(&mut facts, Fact::UserName, user)?;
    let account = entered.map_or(&asked.user, |row| &row.account).as_str();
    put(&mut facts, Fact::UserAccount, account)?;
    if let Some((_, domain)) = user.rsplit_once('@').filter(|(_, domain)| !domain.is_empty()) {
        put(&mut facts, Fact::UserDomain, domain)?;
    }
    let known = entered.and(found.owner.as_ref()).or(found.user.as_ref());
    let groups = known.map(|user| user.groups.iter().map(Group::shared).collect());
    put_list(&mut facts, Fact::UserGroups, groups.unwrap_or_default())?;
    put(&mut facts, Fact::LoginOutcome, "success")?;
    put(&mut facts, Fact::LoginCredential, asked.with.fact())?;
    if let Some(row) = entered {
        of_app_password(row, now, &mut facts)?;
    }
    if let Some(name) = &asked.client {
        put(&mut facts, Fact::ClientName, name)?;
        let family = Family::of(&Identity {
            name: Some(name),
            vendor: None,
            os: None,
            version: None,
        });
        if family != Family::None {
            put(&mut facts, Fact::ClientFamily, family.as_str())?;
        }
    }
    Ok(facts)
}

fn of_address(sources: &Sources, ip: IpAddr, facts: &mut Record) -> Result<(), CliError> {
    put(facts, Fact::SourceIp, &ip.to_string())?;
    let sets = sources.config.networks.iter();
    let names = sets.filter(|(_, set)| set.contains(ip));
    let names = names.map(|(name, _)| Arc::from(name)).collect();
    put_list(facts, Fact::SourceNetworks, names)?;
    let geo = Geo::new(sources.config.geoip.clone()).map_err(|error| CliError::Start(error.into()))?;
    let origin = geo.origin_of(ip);
    if let Some(country) = origin.country.as_deref() {
        put(facts, Fact::SourceCountry, country)?;
    }
    if let Some(asn) = origin.as_number {
        put(facts, Fact::SourceAsn, &asn.to_string())?;
    }
    Ok(())
}

fn of_app_password(row: &AppPassword, now: UnixTime, facts: &mut Record) -> Result<(), CliError> {
    let since = |at: UnixTime| now.0.saturating_sub(at.0).max(0).to_string();
    put(facts, Fact::UserMfa, "app_password")?;
    put(facts, Fact::UserAppPasswordId, &id_text(row.id))?;
    put(facts, Fact::UserAppPasswordLabel, &row.label)?;
    put(facts, Fact::UserAppPasswordAge, &since(row.created))?;
    if let Some(last) = &row.last_use {
        put(facts, Fact::UserAppPasswordUnusedFor, &since(last.at))?;
    }
    put(facts, Fact::UserIsService, &row.restrictions.service.to_string())
}

fn put(facts: &mut Record, fact: Fact, text: &str) -> Result<(), CliError> {
    facts
        .set(fact, text)
        .map_err(|wrong| CliError::Usage(wrong.to_string()))
}

fn put_list(facts: &mut Record, fact: Fact, texts: Vec<Arc<str>>) -> Result<(), CliError> {
    facts
        .set_list(fact, texts)
        .map_err(|wrong| CliError::Usage(wrong.to_string()))
}
