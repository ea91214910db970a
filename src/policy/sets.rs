//! Named sets of networks, as rules know them.

use std::net::IpAddr;
use std::sync::Arc;

use crate::types::Networks;

/// The sets of networks that belong to a set of rules in force.
#[derive(Debug, Default)]
pub struct NetworkSets(Vec<(Arc<str>, Networks)>);

impl NetworkSets {
    /// Sets with their names.
    #[must_use]
    pub fn new(sets: Vec<(Arc<str>, Networks)>) -> Self {
        Self(sets)
    }

    /// The names of those that an address is in.
    #[must_use]
    pub fn of(&self, ip: IpAddr) -> Vec<Arc<str>> {
        let inside = self.0.iter().filter(|(_, networks)| networks.contains(ip));
        inside.map(|(name, _)| Arc::clone(name)).collect()
    }
}
