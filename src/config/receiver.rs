//! Receivers of events on the network: `events.sinks[].syslog`, `events.sinks[].webhook`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Context;
use crate::config::address::Endpoint;
use crate::config::address::endpoint_like;
use crate::config::address::host_name;
use crate::config::events::signer;
use crate::config::events::timeout;
use crate::config::events::trust;
use crate::config::files;
use crate::config::files::Files;
use crate::config::kind;
use crate::config::kind::Kind;
use crate::config::kind::Wrong;
use crate::config::kind::word_of;
use crate::config::problem::Problem;
use crate::config::problem::quoted;
use crate::config::section::Section;
use crate::telemetry::sink;
use crate::telemetry::sink::Facility;
use crate::telemetry::sink::Path;
use crate::telemetry::sink::Receiver;
use crate::telemetry::sink::Signer;
use crate::telemetry::sink::SyslogOptions;
use crate::telemetry::sink::WebhookOptions;

/// How syslog messages get to their receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream in clear.
    Tcp,
    /// A stream in TLS.
    Tls,
}

const TRANSPORTS: &[(&str, Transport)] = &[
    ("tls", Transport::Tls),
    ("tcp", Transport::Tcp),
    ("udp", Transport::Udp),
];

const FACILITIES: &[(&str, Facility)] = &[
    ("user", Facility::User),
    ("mail", Facility::Mail),
    ("daemon", Facility::Daemon),
    ("auth", Facility::Auth),
    ("authpriv", Facility::Authpriv),
    ("local0", Facility::Local0),
    ("local1", Facility::Local1),
    ("local2", Facility::Local2),
    ("local3", Facility::Local3),
    ("local4", Facility::Local4),
    ("local5", Facility::Local5),
    ("local6", Facility::Local6),
    ("local7", Facility::Local7),
];

/// A syslog receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// Where it is.
    pub address: Endpoint,
    /// How messages get there.
    pub transport: Transport,
    /// Authorities for its certificate; `None` is those of the public web.
    pub ca_file: Option<PathBuf>,
    /// The name its certificate must have; `None` is the address's host.
    pub server_name: Option<String>,
    /// Lets events go in clear to an address that is not private.
    pub danger_plaintext: bool,
    /// The facility of all messages.
    pub facility: Facility,
    /// APP-NAME of all messages.
    pub app_name: String,
    /// Longest wait for the receiver.
    pub timeout: Duration,
}

impl Syslog {
    pub(super) fn read(mut section: Section<'_>, cx: &Context<'_>) -> Option<Self> {
        let address = section.required("address", &endpoint_like("siem.internal", 6514));
        let transport = kind::word(TRANSPORTS, |transport| word_of(TRANSPORTS, transport));
        let transport = section.value("transport", &transport, Transport::Tls);
        let ca_file = read_authorities(&mut section, cx);
        let server_name = section.optional("server_name", &host_name(), "the host in the address");
        let danger_plaintext = section.value("danger_plaintext", &kind::boolean(), false);
        let facility = kind::word(FACILITIES, |facility| word_of(FACILITIES, facility));
        let facility = section.value("facility", &facility, Facility::default());
        let app_name = section.value("app_name", &app_name(), "imapwarden".to_owned());
        let timeout = timeout(&mut section);
        let read = address.map(|address| Self {
            address,
            transport,
            ca_file,
            server_name,
            danger_plaintext,
            facility,
            app_name,
            timeout,
        });
        if let Some(syslog) = &read {
            syslog.check_protection(&section);
        }
        section.finish();
        read
    }

    fn check_protection(&self, section: &Section<'_>) {
        let plain = self.transport != Transport::Tls;
        if plain && !self.danger_plaintext && !self.address.is_private() {
            let message = format!(
                "names and addresses of users would go to {} in clear",
                self.address
            );
            section.problem(
                Problem::new("plaintext_sink", section.place("transport"), message).help(
                    "write `transport: tls`; if the way there is protected otherwise, add `danger_plaintext: true`",
                ),
            );
        }
        if self.danger_plaintext && !plain {
            let message = "`danger_plaintext` has no effect on a receiver with TLS";
            let problem = Problem::new("no_effect", section.place("danger_plaintext"), message);
            section.problem(problem.help("leave it out"));
        }
        for key in ["ca_file", "server_name"] {
            if plain && section.has(key) {
                let message = format!("`{key}` has no effect without TLS");
                let problem = Problem::new("no_effect", section.place(key), message);
                section.problem(problem.help("write `transport: tls`"));
            }
        }
    }

    pub(super) fn describe(&self) -> String {
        let transport = word_of(TRANSPORTS, &self.transport).to_uppercase();
        format!("syslog to {} by {transport}", self.address)
    }

    pub(super) fn options(&self) -> SyslogOptions {
        let tls = || sink::Tls {
            client: trust(self.ca_file.as_ref(), self.timeout),
            server_name: self.server_name.clone(),
        };
        SyslogOptions {
            receiver: receiver(&self.address),
            transport: match self.transport {
                Transport::Udp => sink::Transport::Udp,
                Transport::Tcp => sink::Transport::Tcp,
                Transport::Tls => sink::Transport::Tls(tls()),
            },
            facility: self.facility,
            app_name: self.app_name.clone(),
            timeout: self.timeout,
        }
    }
}

/// APP-NAME (RFC 5424, section 6.2.5).
fn app_name() -> Kind<'static, String> {
    Kind::new("word of at most 48 characters", String::clone, |text| {
        if (1..=48).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(text.to_owned());
        }
        let wrong = Wrong::invalid(format!("{} cannot be an APP-NAME", quoted(text)));
        Err(wrong.help("letters, digits and ASCII punctuation, no spaces, at most 48"))
    })
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// The host and its port.
    pub address: Endpoint,
    /// Whether it is `https`.
    pub tls: bool,
    /// What is asked for there; it may be a secret.
    pub path: Path,
}

/// A receiver of HTTP requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where it is.
    pub url: Url,
    /// The file with the secret that requests are signed with.
    pub secret_file: PathBuf,
    /// Authorities for its certificate; `None` is those of the public web.
    pub ca_file: Option<PathBuf>,
    /// Most events in one request.
    pub batch: u16,
    /// Longest wait for the receiver.
    pub timeout: Duration,
}

impl Webhook {
    pub(super) fn read(mut section: Section<'_>, cx: &Context<'_>) -> Option<Self> {
        let url = section.required("url", &url(is_this_machine, "/"));
        let secret_file = section.required("secret_file", &kind::path(cx.base));
        if let Some(file) = &secret_file {
            check_signer(&section, file, cx);
        }
        let ca_file = read_authorities(&mut section, cx);
        let batch = section.value("batch", &kind::number(1..=1000), 100);
        let timeout = timeout(&mut section);
        if ca_file.is_some() && url.as_ref().is_some_and(|url| !url.tls) {
            let problem = Problem::new(
                "no_effect",
                section.place("ca_file"),
                "`ca_file` has no effect without TLS",
            );
            section.problem(problem.help("write `https://` in `url`"));
        }
        section.finish();
        let (url, secret_file) = url.zip(secret_file)?;
        Some(Self {
            url,
            secret_file,
            ca_file,
            batch,
            timeout,
        })
    }

    pub(super) fn describe(&self) -> String {
        let scheme = if self.url.tls { "HTTPS" } else { "HTTP" };
        format!("{scheme} to {}", self.url.address)
    }

    pub(super) fn options(&self, signer: Signer) -> WebhookOptions {
        let tls = sink::Tls {
            client: trust(self.ca_file.as_ref(), self.timeout),
            server_name: None,
        };
        WebhookOptions {
            receiver: receiver(&self.url.address),
            tls: self.url.tls.then_some(tls),
            path: self.url.path.clone(),
            signer,
            batch: usize::from(self.batch),
            timeout: self.timeout,
        }
    }
}

fn check_signer(section: &Section<'_>, file: &std::path::Path, cx: &Context<'_>) {
    files::check_secret(section, "secret_file", file, cx);
    // What cannot be read has been told.
    if cx.files != Files::Ignore
        && files::read_secret(file).is_ok()
        && let Err(error) = signer(file)
    {
        let message = format!("{error}: {}", error.source);
        let problem = Problem::new("file_unusable", section.place("secret_file"), message);
        section.problem(problem.help("make one with `openssl rand -base64 32`"));
    }
}

pub(super) fn read_authorities(section: &mut Section<'_>, cx: &Context<'_>) -> Option<PathBuf> {
    let ca_file = section.optional("ca_file", &kind::path(cx.base), "public authorities");
    if let Some(file) = &ca_file {
        files::check_authorities(section, section.place("ca_file"), file, cx);
    }
    ca_file
}

pub(super) fn receiver(address: &Endpoint) -> Receiver {
    Receiver {
        host: address.host.clone(),
        port: address.port,
    }
}

/// A URL, which no message repeats: people put tokens into them. `is_safe` says where it may go in clear; without a path it asks for
/// `usual`.
pub(super) fn url(is_safe: fn(&Endpoint) -> bool, usual: &'static str) -> Kind<'static, Url> {
    Kind::new(
        "https:// URL",
        |url: &Url| url.address.to_string(),
        move |text| {
            let wrong = || Wrong::invalid("this is no URL of a receiver");
            let example = "write `https://siem.example.org/imapwarden`";
            let uri: hyper::Uri = text.parse().map_err(|_| wrong().help(example))?;
            let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
                return Err(wrong().help(example));
            };
            if authority.as_str().contains('@') {
                let wrong = Wrong::invalid("a URL here has no user and no password in it");
                return Err(wrong
                    .help("the receiver knows us by the signature, made with the secret in `secret_file`"));
            }
            let tls = match scheme {
                "https" => true,
                "http" => false,
                _ => return Err(wrong().help(example)),
            };
            let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
            let address = Endpoint::parse(&format!("{}:{port}", authority.host()))
                .map_err(|_| wrong().help(example))?;
            if !tls && !is_safe(&address) {
                let wrong = Wrong::new(
                    "plaintext_sink",
                    format!("names and addresses of users would go to {address} in clear"),
                );
                return Err(wrong.help("write `https://…`; `http://` is for a collector on this machine"));
            }
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            let path = if path == "/" { usual } else { path };
            Ok(Url {
                address,
                tls,
                path: Path::new(path),
            })
        },
    )
}

fn is_this_machine(address: &Endpoint) -> bool {
    let host = &address.host;
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_host_and_a_scheme_that_protects() {
        let read = url(is_this_machine, "/")
            .read("https://siem.example.org/in?x=1")
            .unwrap();
        assert_eq!(
            (read.address.to_string().as_str(), read.tls),
            ("siem.example.org:443", true)
        );
        assert_eq!(read.path, Path::new("/in?x=1"));
        let read = url(is_this_machine, "/").read("http://[::1]:8080").unwrap();
        assert_eq!(
            (read.address.to_string().as_str(), read.tls),
            ("[::1]:8080", false)
        );
        assert_eq!(read.path, Path::new("/"));
        for wrong in [
            "",
            "siem",
            "siem:443",
            "/x",
            "ftp://a/b",
            "https://",
            "https://a b/",
            "https://1.2.3/",
        ] {
            assert_eq!(
                url(is_this_machine, "/").read(wrong).unwrap_err().code,
                "invalid_value",
                "{wrong}"
            );
        }
        let wrong = url(is_this_machine, "/")
            .read("https://user:hunter2@siem/")
            .unwrap_err();
        assert!(!wrong.message.contains("hunter2"), "{}", wrong.message);
        for wrong in ["http://siem.example.org/", "http://10.0.0.1/", "http://siem/"] {
            assert_eq!(
                url(is_this_machine, "/").read(wrong).unwrap_err().code,
                "plaintext_sink",
                "{wrong}"
            );
        }
    }
}
