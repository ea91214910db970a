//! May this connection come in? Asked once, before TLS, with the client's address.
//!
//! In this order, cheapest and firmest first: bans, allow and deny lists, connection rates, connections at once. What an
//! earlier step refuses is not counted by a later one, so a banned address costs one look-up.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::limits::bans::Ban;
use crate::limits::bans::Bans;
use crate::limits::connections::ConnectionPermit;
use crate::limits::connections::Connections;
use crate::policy::access;
use crate::policy::access::Denial;
use crate::policy::access::Lists;
use crate::policy::access::Scope;
use crate::types::EndReason;
use crate::types::UnixTime;

/// Why a connection may not come in, with what the event should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A ban holds.
    Banned(Arc<Ban>),
    /// A list objects.
    Denied(Denial),
    /// Too fast, or too many.
    Limited(EndReason),
}

impl Refused {
    /// How the connection ends.
    #[must_use]
    pub fn reason(&self) -> EndReason {
        match self {
            Self::Banned(_) => EndReason::AddressBanned,
            Self::Denied(_) => EndReason::AddressDenied,
            Self::Limited(reason) => *reason,
        }
    }
}

/// For events, never for the client.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Banned(ban) => write!(f, "{} is banned: {}", ban.network, ban.reason),
            Self::Denied(denial) => denial.fmt(f),
            Self::Limited(reason) => reason.fmt(f),
        }
    }
}

/// Decides and, if yes, takes a place among the source's connections.
///
/// # Errors
/// Says which step refused.
pub fn admit(
    ip: IpAddr,
    bans: &Bans,
    lists: &[(Scope, &Lists)],
    connections: &Arc<Connections>,
    clock: Clock,
) -> Result<ConnectionPermit, Refused> {
    if let Some(ban) = bans.find(ip, clock.wall) {
        return Err(Refused::Banned(ban));
    }
    access::judge(ip, lists).into_result().map_err(Refused::Denied)?;
    connections.admit(ip, clock.now).map_err(Refused::Limited)
}

/// The time, once for limits and once for bans that outlive the process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// For counting.
    pub now: Instant,
    /// For what the store keeps.
    pub wall: UnixTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::limits::bans;
    use crate::limits::connections;
    use crate::policy::access::NamedNetworks;
    use crate::types::Networks;

    #[test]
    fn bans_come_before_lists_and_lists_before_limits() {
        let clock = Clock {
            now: Instant::now(),
            wall: UnixTime(1_000),
        };
        let net = |cidr: &str| Networks::new(vec![cidr.parse().unwrap()]);
        let bans = Bans::new(bans::Options::default());
        bans.insert(Ban {
            network: "192.0.2.1/32".parse().unwrap(),
            reason: "guessing".into(),
            by: "limits".into(),
            since: UnixTime(0),
            until: Some(UnixTime(2_000)),
        })
        .unwrap();
        let lists = Lists {
            allow: Vec::new(),
            deny: vec![NamedNetworks::new("bad", net("192.0.2.0/31"))],
        };
        let mut options = connections::Options::default();
        options.prefix.open = 1;
        let connections = Connections::new(options, clock.now);
        let admit = |ip: &str, clock| {
            let lists = [(Scope::Global, &lists)];
            admit(ip.parse().unwrap(), &bans, &lists, &connections, clock)
        };
        let held = admit("192.0.2.9", clock);
        assert!(held.is_ok());
        let later = Clock {
            wall: UnixTime(2_000),
            ..clock
        };
        for (ip, clock, reason, text) in [
            (
                "192.0.2.1",
                clock,
                EndReason::AddressBanned,
                "192.0.2.1/32 is banned: guessing",
            ),
            (
                "192.0.2.1",
                later,
                EndReason::AddressDenied,
                "denied by global list \"bad\"",
            ),
            ("192.0.2.9", clock, EndReason::ConnectionLimit, "connection_limit"),
        ] {
            let refused = admit(ip, clock).unwrap_err();
            assert_eq!((refused.reason(), refused.to_string().as_str()), (reason, text));
        }
        assert_eq!(connections.usage().sources, 1);
    }
}
