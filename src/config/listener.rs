//! Where clients connect: `listeners`, `tls`, `access` and `networks`.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::Context;
use crate::config::address::NetworkSets;
use crate::config::address::cidr;
use crate::config::address::listen_address;
use crate::config::files;
use crate::config::kind;
use crate::config::kind::word_of;
use crate::config::notes::At;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::net::certificate::CertificateFiles;
use crate::net::tls::ClientCertificateMode;
use crate::policy::access::Lists;
use crate::policy::access::NamedNetworks;
use crate::types::Networks;

/// How a listener starts TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListenerTls {
    /// With the first byte (RFC 8314).
    #[default]
    Implicit,
    /// After STARTTLS; before it nothing that matters may be said.
    StartTls,
}

const LISTENER_TLS: &[(&str, ListenerTls)] = &[
    ("implicit", ListenerTls::Implicit),
    ("starttls", ListenerTls::StartTls),
];

/// One address that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    /// How TLS starts.
    pub tls: ListenerTls,
    /// Peers that must send a PROXY header; nobody else may.
    pub proxy_protocol_from: Vec<NamedNetworks>,
    /// Who may connect to this listener, besides what `access` says.
    pub access: Lists,
}

/// `[::]:993` with implicit TLS, open to everyone.
impl Default for Listener {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([0; 8], 993)),
            tls: ListenerTls::Implicit,
            proxy_protocol_from: Vec::new(),
            access: Lists::default(),
        }
    }
}

/// Reads `networks`, which the lists of all other sections may name.
pub(super) fn read_networks(section: Section<'_>) -> NetworkSets {
    let mut sets = NetworkSets::default();
    section.named_lists(&cidr(), |section, name, nets| {
        let At { value: name, span } = name;
        let networks = Networks::new(nets.into_iter().map(|net| net.value).collect());
        if let Err(wrong) = sets.insert(name, networks) {
            section.problem(Problem::new(wrong.code, span, wrong.message).maybe_help(wrong.help));
        }
    });
    sets
}

/// Reads `listeners`; without the key there is one with all defaults.
pub(super) fn read_listeners(root: &mut Section<'_>, cx: &Context<'_>) -> Vec<At<Listener>> {
    let Some(sections) = root.sections("listeners") else {
        let span = 0..0;
        return vec![At {
            value: Listener::default(),
            span,
        }];
    };
    if sections.is_empty() {
        let problem = Problem::new(
            "empty_value",
            root.place("listeners"),
            "`listeners` is empty: nobody could connect",
        );
        root.problem(problem.help("leave the key out to listen at `[::]:993`"));
    }
    sections
        .into_iter()
        .filter_map(|section| read_listener(section, cx))
        .collect()
}

fn read_listener(mut section: Section<'_>, cx: &Context<'_>) -> Option<At<Listener>> {
    let show = |tls: &ListenerTls| word_of(LISTENER_TLS, tls);
    let address = section.required("address", &listen_address());
    let tls = section.value("tls", &kind::word(LISTENER_TLS, show), ListenerTls::default());
    let proxies = section.list("proxy_protocol_from", &cx.sets.entry(), "none");
    let access = read_lists(&mut section, cx);
    let span = section.place("address");
    let proxy_protocol_from = trusted_proxies(&section, proxies);
    section.finish();
    let value = Listener {
        address: address?,
        tls,
        proxy_protocol_from,
        access,
    };
    Some(At { value, span })
}

/// Whoever may send a PROXY header may claim to be any client: everybody must not.
fn trusted_proxies(section: &Section<'_>, proxies: Option<Vec<At<NamedNetworks>>>) -> Vec<NamedNetworks> {
    let proxies = proxies.unwrap_or_default();
    for proxy in &proxies {
        if proxy.value.networks.iter().any(|net| net.prefix_len() == 0) {
            let message = "a PROXY header from everywhere would let anyone claim any address";
            section.problem(
                Problem::new("untrusted_proxy", proxy.span.clone(), message)
                    .help("list the load balancers' own addresses"),
            );
        }
    }
    proxies.into_iter().map(|proxy| proxy.value).collect()
}

/// Reads `allow` and `deny`.
pub(super) fn read_lists(section: &mut Section<'_>, cx: &Context<'_>) -> Lists {
    let allow = section.list("allow", &cx.sets.entry(), "everyone");
    let deny = section.list("deny", &cx.sets.entry(), "nobody");
    if section.has_empty_list("allow") {
        let message = "an empty `allow` list looks as if it let nobody in";
        section.problem(
            Problem::new("empty_value", section.place("allow"), message)
                .help("leave the key out to let everyone in, or name the networks"),
        );
    }
    let values = |list: Option<Vec<At<NamedNetworks>>>| {
        list.unwrap_or_default()
            .into_iter()
            .map(|entry| entry.value)
            .collect()
    };
    Lists {
        allow: values(allow),
        deny: values(deny),
    }
}

const CLIENT_CERTIFICATES: &[(&str, ClientCertificateMode)] = &[
    ("off", ClientCertificateMode::Off),
    ("optional", ClientCertificateMode::Optional),
    ("required", ClientCertificateMode::Required),
];

/// TLS with clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Chosen by the name that the client asks for; none means one that we make ourselves.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificateMode,
    /// The authorities that client certificates must come from.
    pub ca_files: Vec<PathBuf>,
    /// Revocation lists for client certificates.
    pub crl_files: Vec<PathBuf>,
}

impl Tls {
    pub(super) fn read(mut section: Section<'_>, cx: &Context<'_>) -> Self {
        let show = |mode: &ClientCertificateMode| word_of(CLIENT_CERTIFICATES, mode);
        let certificates = section.sections("certificates").unwrap_or_default();
        let certificates = certificates
            .into_iter()
            .filter_map(|each| read_certificate(each, cx))
            .collect();
        let client_certificates = section.value(
            "client_certificates",
            &kind::word(CLIENT_CERTIFICATES, show),
            ClientCertificateMode::default(),
        );
        let ca_files = read_files(&mut section, "ca_files", cx);
        let crl_files = read_files(&mut section, "crl_files", cx);
        if client_certificates != ClientCertificateMode::Off && ca_files.is_empty() {
            let message = "client certificates need authorities to be checked against";
            section.problem(
                Problem::new("missing_key", section.place("client_certificates"), message)
                    .help("add `ca_files: [PATH]` beside it"),
            );
        }
        for key in ["ca_files", "crl_files"] {
            if client_certificates == ClientCertificateMode::Off && section.has(key) {
                let message = format!("`tls.{key}` has no effect while `tls.client_certificates` is off");
                section.problem(
                    Problem::new("no_effect", section.place(key), message)
                        .help("set `client_certificates: optional` or `required`, or leave the key out"),
                );
            }
        }
        section.finish();
        Self {
            certificates,
            client_certificates,
            ca_files,
            crl_files,
        }
    }
}

fn read_certificate(mut section: Section<'_>, cx: &Context<'_>) -> Option<CertificateFiles> {
    let certificate = section.required("certificate_file", &kind::path(cx.base));
    let key = section.required("key_file", &kind::path(cx.base));
    let pair = certificate
        .zip(key)
        .map(|(certificate, key)| CertificateFiles { certificate, key });
    if let Some(pair) = &pair {
        files::check_pair(&section, pair, cx);
    }
    section.finish();
    pair
}

/// Files with authorities or revocation lists.
fn read_files(section: &mut Section<'_>, key: &'static str, cx: &Context<'_>) -> Vec<PathBuf> {
    let found = section
        .list(key, &kind::path(cx.base), "none")
        .unwrap_or_default();
    for file in &found {
        if key == "ca_files" {
            files::check_authorities(section, file.span.clone(), &file.value, cx);
        } else {
            files::check_readable(section, file.span.clone(), &file.value, cx);
        }
    }
    found.into_iter().map(|file| file.value).collect()
}
