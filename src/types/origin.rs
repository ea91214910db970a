//! Where an address is, as far as a database of networks knows.

/// The country and the network operator that an address belongs to. A database is right about most addresses and wrong about
/// some: nothing that must be certain may rest on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The country's two letters (ISO 3166-1), in upper case.
    pub country: Option<Box<str>>,
    /// The number of the autonomous system.
    pub as_number: Option<u32>,
    /// Who runs it.
    pub as_organization: Option<Box<str>>,
}
