//! Where an address is: `geoip`.

use crate::config::Context;
use crate::config::files;
use crate::config::kind;
use crate::config::section::Section;
use crate::net::geo;

/// Reads `geoip`: the net module's own options, since a file can say all of them.
pub(super) fn read(mut section: Section<'_>, cx: &Context<'_>) -> geo::Options {
    let path = kind::path(cx.base);
    let options = geo::Options {
        country_file: section.optional("country_file", &path, "none"),
        asn_file: section.optional("asn_file", &path, "none"),
    };
    files::check_databases(&section, &options, cx);
    section.finish();
    options
}
