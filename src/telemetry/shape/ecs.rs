//! The Elastic Common Schema: nested objects in JSON. Field names are ECS's already.

use crate::telemetry::event::Event;
use crate::telemetry::shape::implied;
use crate::telemetry::shape::implied::Said;
use crate::telemetry::shape::nested::nested;

/// The version of the Elastic Common Schema that the field names come from.
pub const ECS_VERSION: &str = "8.17.0";

pub(super) fn render(event: &Event, number: u64) -> String {
    let own = event
        .fields
        .iter()
        .map(|(field, value)| (*field, Said::Own(value)));
    nested(implied::of(event, number).into_iter().chain(own))
}
