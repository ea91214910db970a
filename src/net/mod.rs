//! Sockets, TLS and the PROXY protocol: how bytes get in and out. What they mean is decided above.
//!
//! Every wait on a peer has one total deadline, and every buffer has a bound that no peer can raise. TLS types stay behind
//! this module, so that another TLS engine can take their place.

pub mod accept;
pub mod certificate;
mod direct;
pub mod geo;
pub mod proxy_header;
pub mod random;
pub mod socket;
pub mod stream;
pub mod tls;
