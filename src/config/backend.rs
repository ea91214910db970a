//! Where mail lives: `backends`.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Context;
use crate::config::address::Endpoint;
use crate::config::address::endpoint;
use crate::config::address::host_name;
use crate::config::files;
use crate::config::kind;
use crate::config::kind::Kind;
use crate::config::kind::Wrong;
use crate::config::kind::secs;
use crate::config::kind::word_of;
use crate::config::notes::At;
use crate::config::problem::Problem;
use crate::config::problem::quoted;
use crate::config::section::Section;
use crate::net::proxy_header::Version;
use crate::net::tls::Pin;
use crate::session::backend_login::Method;
use crate::types::UserName;

/// How the connection to a backend is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendTls {
    /// Not at all.
    None,
    /// By STARTTLS, which must succeed before anything is said.
    StartTls,
    /// By TLS from the first byte.
    Implicit,
}

const BACKEND_TLS: &[(&str, BackendTls)] = &[
    ("none", BackendTls::None),
    ("starttls", BackendTls::StartTls),
    ("implicit", BackendTls::Implicit),
];

impl BackendTls {
    /// What holds where nothing is said: TLS, unless the backend is in a network of ours.
    #[must_use]
    pub fn usual(address: &Endpoint) -> Self {
        if address.port == 993 {
            Self::Implicit
        } else if address.is_private() {
            Self::None
        } else {
            Self::StartTls
        }
    }

    /// The word in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
        }
    }
}

const LOGIN_METHODS: &[(&str, Method)] = &[
    ("auto", Method::Auto),
    ("login", Method::Login),
    ("plain", Method::Plain),
];

const PROXY_HEADERS: &[(&str, Option<Version>)] = &[
    ("off", None),
    ("v1", Some(Version::V1)),
    ("v2", Some(Version::V2)),
];

/// How a master user names the account that it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MasterStyle {
    /// As PLAIN's authorization identity.
    #[default]
    Authzid,
    /// As `account*master`.
    Separator,
}

const MASTER_STYLES: &[(&str, MasterStyle)] = &[
    ("authzid", MasterStyle::Authzid),
    ("separator", MasterStyle::Separator),
];

/// A user of the backend's that may open every account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master {
    /// Its name.
    pub user: UserName,
    /// The file with its password.
    pub password_file: PathBuf,
    /// How the account is named.
    pub style: MasterStyle,
    /// What stands between account and master user, with `style: separator`.
    pub separator: char,
}

/// One IMAP server that mail is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its name in routes, events and metrics.
    pub name: String,
    /// Where it is.
    pub address: Endpoint,
    /// How the connection is protected.
    pub tls: BackendTls,
    /// Lets passwords go in clear to an address that is not private.
    pub danger_plaintext: bool,
    /// Authorities for its certificate; `None` is those of the public web.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of its public key (SPKI); replaces every other check of the certificate.
    pub pin: Option<Pin>,
    /// The name its certificate must have; `None` is the address's host.
    pub server_name: Option<String>,
    /// Which command logs in.
    pub login: Method,
    /// Opens all accounts, where there is one.
    pub master: Option<Master>,
    /// Whether the client's address and session are told by ID.
    pub forward_id: bool,
    /// Which PROXY header it gets.
    pub proxy_protocol: Option<Version>,
    /// Time for connecting, greeting and login together.
    pub timeout: Duration,
}

impl Backend {
    /// A backend with all defaults at an address.
    #[must_use]
    pub fn at(address: Endpoint) -> Self {
        Self {
            name: "default".to_owned(),
            tls: BackendTls::usual(&address),
            danger_plaintext: false,
            address,
            ca_file: None,
            pin: None,
            server_name: None,
            login: Method::default(),
            master: None,
            forward_id: false,
            proxy_protocol: None,
            timeout: secs(30),
        }
    }

    fn read(mut section: Section<'_>, cx: &Context<'_>) -> Option<Self> {
        let name = section.value("name", &name(), "default".to_owned());
        let address = section.required("address", &endpoint());
        let tls = section.optional(
            "tls",
            &kind::word(BACKEND_TLS, |tls| word_of(BACKEND_TLS, tls)),
            "by address",
        );
        let danger = section.value("danger_plaintext", &kind::boolean(), false);
        let ca_file = section.optional("ca_file", &kind::path(cx.base), "public authorities");
        if let Some(file) = &ca_file {
            files::check_authorities(&section, section.place("ca_file"), file, cx);
        }
        let pin = section.optional("pin", &pin(), "none");
        let server_name = section.optional("server_name", &host_name(), "the host in the address");
        let login = section.value(
            "login",
            &kind::word(LOGIN_METHODS, |m| word_of(LOGIN_METHODS, m)),
            Method::default(),
        );
        let master = read_master(&mut section, login, cx);
        let forward_id = section.value("forward_id", &kind::boolean(), false);
        let show = |header: &Option<Version>| word_of(PROXY_HEADERS, header);
        let proxy_protocol = section.value("proxy_protocol", &kind::word(PROXY_HEADERS, show), None);
        let timeout = section.value("timeout", &kind::duration(secs(1)..=secs(120)), secs(30));
        let tls = tls.or_else(|| address.as_ref().map(BackendTls::usual));
        let read = address.zip(tls).map(|(address, tls)| Self {
            name,
            address,
            tls,
            danger_plaintext: danger,
            ca_file,
            pin,
            server_name,
            login,
            master,
            forward_id,
            proxy_protocol,
            timeout,
        });
        if let Some(backend) = &read {
            backend.check_protection(&section);
        }
        section.finish();
        read
    }

    fn check_protection(&self, section: &Section<'_>) {
        let danger = self.danger_plaintext;
        let plain = self.tls == BackendTls::None;
        if plain && !danger && !self.address.is_private() {
            let place = if section.has("tls") { "tls" } else { "address" };
            let message = format!("passwords and mail would go to {} in clear", self.address);
            section.problem(
                Problem::new("plaintext_backend", section.place(place), message).help(
                    "write `tls: starttls` or `tls: implicit`; if the way there is protected otherwise, \
                         add `danger_plaintext: true`",
                ),
            );
        }
        if danger && !plain {
            let message = "`danger_plaintext` has no effect on a backend with TLS";
            let problem = Problem::new("no_effect", section.place("danger_plaintext"), message);
            section.problem(problem.help("leave it out"));
        }
        for key in ["ca_file", "pin", "server_name"] {
            if plain && section.has(key) {
                let message = format!("`{key}` has no effect on a backend without TLS");
                let problem = Problem::new("no_effect", section.place(key), message);
                section.problem(problem.help("write `tls: starttls` or `tls: implicit`"));
            }
        }
        if self.pin.is_some() && self.ca_file.is_some() {
            let message = "a pinned key is the whole check, so `ca_file` has no effect";
            let problem = Problem::new("no_effect", section.place("ca_file"), message);
            section.problem(problem.help("keep one of `pin` and `ca_file`"));
        }
    }
}

fn read_master(section: &mut Section<'_>, login: Method, cx: &Context<'_>) -> Option<Master> {
    let place = section.place("login");
    let mut section = section.optional_section("master")?;
    let user = section.required("user", &user_name());
    let password_file = section.required("password_file", &kind::path(cx.base));
    if let Some(file) = &password_file {
        files::check_secret(&section, "password_file", file, cx);
    }
    let show = |style: &MasterStyle| word_of(MASTER_STYLES, style);
    let style = section.value("style", &kind::word(MASTER_STYLES, show), MasterStyle::default());
    let separator = section.value("separator", &separator(), '*');
    if style == MasterStyle::Authzid {
        if section.has("separator") {
            let message = "`separator` has no effect with `style: authzid`";
            let problem = Problem::new("no_effect", section.place("separator"), message);
            section.problem(problem.help("write `style: separator`, or leave it out"));
        }
        if login == Method::Login {
            let message = "the LOGIN command has no authorization identity for the master user";
            let problem = Problem::new("invalid_value", place, message);
            section.problem(
                problem.help("write `login: plain` or `auto`, or `style: separator` under `master`"),
            );
        }
    }
    section.finish();
    let (user, password_file) = user.zip(password_file)?;
    Some(Master {
        user,
        password_file,
        style,
        separator,
    })
}

fn separator() -> Kind<'static, char> {
    Kind::new("one of * + / : % # ! &", char::to_string, |text| {
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) if "*+/:%#!&".contains(c) => Ok(c),
            _ => Err(
                Wrong::invalid(format!("{} cannot separate two names", quoted(text)))
                    .help("write what the backend has, like `\"*\"` for Dovecot"),
            ),
        }
    })
}

pub(super) fn name() -> Kind<'static, String> {
    Kind::new("name", String::clone, |text| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.';
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(text.to_owned())
        } else {
            let wrong = Wrong::invalid(format!("{} cannot be a name", quoted(text)));
            Err(wrong.help("letters, digits, `_`, `-` and `.`, at most 64: it is a label in metrics"))
        }
    })
}

pub(super) fn user_name() -> Kind<'static, UserName> {
    Kind::new("user name", UserName::to_string, |text| {
        UserName::parse(text.as_bytes()).map_err(|error| Wrong::invalid(format!("{}: {error}", quoted(text))))
    })
}

/// As `openssl dgst -sha256` prints it, or as curl's `--pinnedpubkey` takes it.
fn pin() -> Kind<'static, Pin> {
    let name = "SHA-256 of the public key, as 64 hexadecimal digits or `sha256//BASE64`";
    Kind::new(
        name,
        |_| String::new(),
        |text| {
            text.parse().map_err(|_| {
                Wrong::invalid(format!("{} is not the SHA-256 of a key", quoted(text)))
                    .help("64 hexadecimal digits, or `sha256//` and base64, as for curl's --pinnedpubkey")
            })
        },
    )
}

/// Reads `backends`.
pub(super) fn read(root: &mut Section<'_>, cx: &Context<'_>) -> Vec<Backend> {
    let sections = root.sections("backends").unwrap_or_default();
    if sections.is_empty() {
        let problem = Problem::new("missing_key", root.place("backends"), "there is no backend");
        root.problem(problem.help("add `backends:` with `- address: HOST:143` below it"));
    }
    let mut backends: Vec<At<Backend>> = Vec::new();
    for section in sections {
        let span = section.place("name");
        let Some(value) = Backend::read(section, cx) else {
            continue;
        };
        if let Some(first) = backends.iter().find(|known| known.value.name == value.name) {
            let message = format!("two backends are called {}", quoted(&value.name));
            let problem = Problem::new("duplicate_name", span.clone(), message);
            let problem = problem.beside(first.span.clone(), "first here");
            root.problem(problem.help("give each its own `name`"));
        }
        backends.push(At { value, span });
    }
    backends.into_iter().map(|backend| backend.value).collect()
}
