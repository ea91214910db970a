//! How much one network, one user and everybody together may have: `limits`.

use std::time::Duration;

use crate::config::Context;
use crate::config::kind;
use crate::config::kind::Kind;
use crate::config::kind::secs;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::types::Networks;

/// Limits. A network is an IPv4 address or an IPv6 /64; an IPv6 /48 may have four times as much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections: u32,
    /// Connections of one network.
    pub connections_per_network: u32,
    /// Of those, connections that have not logged in.
    pub waiting_per_network: u32,
    /// New connections of one network in a second, in the long run; twenty times as many may come at once.
    pub rate_per_network: u32,
    /// Sessions of one user.
    pub sessions_per_user: u32,
    /// Sessions of one user from one network.
    pub sessions_per_user_and_network: u32,
    /// Wrong secrets of one user from one network in 15 minutes.
    pub failures_per_user_and_network: u32,
    /// Wrong secrets from one network in 30 minutes.
    pub failures_per_network: u32,
    /// How long a guess waits at most; each wrong one doubles the wait.
    pub longest_delay: Duration,
    /// Failures without any success after which a network is banned; `None` is never.
    pub ban_after: Option<u32>,
    /// Probes and webmail: never counted as a network, never banned.
    pub exempt: Networks,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_network: 500,
            waiting_per_network: 100,
            rate_per_network: 10,
            sessions_per_user: 100,
            sessions_per_user_and_network: 50,
            failures_per_user_and_network: 5,
            failures_per_network: 50,
            longest_delay: secs(30),
            ban_after: None,
            exempt: Networks::default(),
        }
    }
}

impl Limits {
    pub(super) fn read(mut section: Section<'_>, cx: &Context<'_>) -> Self {
        let d = Self::default();
        let many = || kind::number(1..=1_000_000);
        let few = || kind::number(1..=1_000);
        let read = Self {
            connections: section.value("connections", &many(), d.connections),
            connections_per_network: section.value(
                "connections_per_network",
                &many(),
                d.connections_per_network,
            ),
            waiting_per_network: section.value("waiting_per_network", &many(), d.waiting_per_network),
            rate_per_network: section.value("rate_per_network", &few(), d.rate_per_network),
            sessions_per_user: section.value("sessions_per_user", &many(), d.sessions_per_user),
            sessions_per_user_and_network: section.value(
                "sessions_per_user_and_network",
                &many(),
                d.sessions_per_user_and_network,
            ),
            failures_per_user_and_network: section.value(
                "failures_per_user_and_network",
                &kind::number(1..=100),
                d.failures_per_user_and_network,
            ),
            failures_per_network: section.value("failures_per_network", &few(), d.failures_per_network),
            longest_delay: section.value(
                "longest_delay",
                &kind::duration(secs(1)..=secs(300)),
                d.longest_delay,
            ),
            ban_after: section.value("ban_after", &number_or_off(), d.ban_after),
            exempt: read_exempt(&mut section, cx),
        };
        section.finish();
        read
    }
}

fn read_exempt(section: &mut Section<'_>, cx: &Context<'_>) -> Networks {
    let sets = section
        .list("exempt", &cx.sets.entry(), "none")
        .unwrap_or_default();
    for set in &sets {
        if set.value.networks.iter().any(|net| net.prefix_len() == 0) {
            let message = "limits that nobody is counted by are no limits";
            section.problem(
                Problem::new("invalid_value", set.span.clone(), message)
                    .help("list the probes' and the webmail's own addresses"),
            );
        }
    }
    let nets = sets.iter().flat_map(|set| set.value.networks.iter().copied());
    Networks::new(nets.collect())
}

fn number_or_off() -> Kind<'static, Option<u32>> {
    let number = kind::number(10..=1_000_000);
    let name = format!("{}, or `off`", number.name);
    let show = |value: &Option<u32>| value.map_or_else(|| "off".to_owned(), |n| n.to_string());
    Kind::new(name, show, move |text| match text {
        "off" => Ok(None),
        _ => number.read(text).map(Some),
    })
}
