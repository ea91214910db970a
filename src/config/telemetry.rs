//! Traces: `telemetry.otlp`. Its keys are read whether or not the program can use them, so that it can say so.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Context;
use crate::config::address::Endpoint;
use crate::config::events::QUEUE;
use crate::config::events::timeout;
use crate::config::kind;
use crate::config::problem::Problem;
use crate::config::receiver::Url;
use crate::config::receiver::read_authorities;
use crate::config::receiver::url;
use crate::config::section::Section;

/// What a URL without a path asks for.
const TRACES: &str = "/v1/traces";

/// A collector of traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    /// Where spans are posted to.
    pub url: Url,
    /// Authorities for its certificate; `None` is those of the public web.
    pub ca_file: Option<PathBuf>,
    /// How many events may wait to become spans.
    pub queue: u32,
    /// Longest wait for the collector.
    pub timeout: Duration,
}

impl Otlp {
    pub(super) fn read(mut telemetry: Section<'_>, cx: &Context<'_>) -> Option<Self> {
        let mut section = telemetry.section("otlp");
        let url = section.optional("url", &url(Endpoint::is_private, TRACES), "off");
        let ca_file = read_authorities(&mut section, cx);
        let queue = section.value("queue", &kind::number(64..=262_144), QUEUE);
        let timeout = timeout(&mut section);
        if section.has("url") && !cfg!(feature = "otlp") {
            let message = "this imapwarden was built without traces";
            let problem = Problem::new("not_built", section.place("url"), message);
            section.problem(
                problem.help("build it with `cargo build --features otlp`, or leave `telemetry.otlp` out"),
            );
        }
        let has_tls = url.as_ref().is_none_or(|url| url.tls);
        for key in ["ca_file", "queue", "timeout"] {
            if section.has(key) && !section.has("url") {
                let problem = Problem::new(
                    "no_effect",
                    section.place(key),
                    format!("`{key}` has no effect without `url`"),
                );
                section.problem(problem.help("add `url: https://…`, or leave it out"));
            } else if key == "ca_file" && section.has(key) && !has_tls {
                let problem = Problem::new(
                    "no_effect",
                    section.place(key),
                    "`ca_file` has no effect without TLS",
                );
                section.problem(problem.help("write `https://` in `url`"));
            }
        }
        section.finish();
        telemetry.finish();
        Some(Self {
            url: url?,
            ca_file,
            queue,
            timeout,
        })
    }
}

#[cfg(feature = "otlp")]
mod sink {
    use crate::config::events::trust;
    use crate::config::receiver::receiver;
    use crate::config::telemetry::Otlp;
    use crate::telemetry::shape::Shape;
    use crate::telemetry::sink::Options;
    use crate::telemetry::sink::OtlpOptions;
    use crate::telemetry::sink::QUEUE;
    use crate::telemetry::sink::Target;
    use crate::telemetry::sink::Tls;

    impl Otlp {
        /// The sink as the telemetry has it.
        pub(in crate::config) fn options(&self) -> Options {
            let tls = Tls {
                client: trust(self.ca_file.as_ref(), self.timeout),
                server_name: None,
            };
            Options {
                name: "telemetry.otlp".to_owned(),
                target: Target::Otlp(OtlpOptions {
                    receiver: receiver(&self.url.address),
                    tls: self.url.tls.then_some(tls),
                    path: self.url.path.clone(),
                    timeout: self.timeout,
                }),
                shape: Shape::Ecs,
                queue: usize::try_from(self.queue).unwrap_or(QUEUE),
            }
        }
    }
}
