//! What people see: events for the security team, metrics for the operator, a log for whoever looks for a fault.
//!
//! Nothing here may ever block or fail a session, and no event can hold a [`Secret`](crate::types::Secret).

mod about;
pub mod event;
pub mod field;
pub mod kind;
mod line;
pub mod log;
pub mod metrics;
mod recorded;
pub mod shape;
pub mod sink;
pub mod text;

pub use event::Connection;
pub use event::Event;
pub use kind::Kind;
pub use metrics::Metrics;
pub use sink::Events;
