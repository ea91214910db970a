//! What the configuration says of backends, in the words of `backend`.

use std::fmt::Write as _;
use std::fs;
use std::str::FromStr;

use crate::backend::BackendOptions;
use crate::backend::Options;
use crate::backend::Routes;
use crate::backend::Tls;
use crate::backend::TlsOptions;
use crate::config::Config;
use crate::config::backend;
use crate::config::backend::BackendTls;
use crate::config::backend::LoginMethod;
use crate::config::backend::ProxyHeader;
use crate::config::backend::RouteFor;
use crate::net::proxy_header::Version;
use crate::net::tls::ClientOptions;
use crate::net::tls::Pin;
use crate::net::tls::Trust;
use crate::server::StartError;
use crate::session::backend_login::Master;
use crate::session::backend_login::MasterStyle;
use crate::session::backend_login::Method;
use crate::types::Secret;

pub(super) fn backend_options(config: &Config) -> Result<Options, StartError> {
    let backends = config.backends.iter().map(options_of).collect::<Result<_, _>>()?;
    Ok(Options {
        backends,
        routes: routes(config),
    })
}

fn routes(config: &Config) -> Routes {
    let mut routes = Routes::default();
    for route in &config.routes {
        let backend = route.backend.clone();
        match &route.who {
            RouteFor::User(user) => routes.users.push((user.clone(), backend)),
            RouteFor::Domain(domain) => routes.domains.push((domain.clone(), backend)),
            RouteFor::Everyone => routes.default = Some(backend),
            RouteFor::Sni(name) => routes.server_names.push((name.clone(), backend)),
        }
    }
    routes
}

fn options_of(backend: &backend::Backend) -> Result<BackendOptions, StartError> {
    let tls = TlsOptions {
        client: ClientOptions {
            trust: trust(backend),
            ..ClientOptions::default()
        },
        server_name: backend.server_name.clone(),
    };
    Ok(BackendOptions {
        name: backend.name.clone(),
        address: backend.address.to_string(),
        tls: match backend.tls {
            BackendTls::None => Tls::None,
            BackendTls::StartTls => Tls::StartTls(tls),
            BackendTls::Implicit => Tls::Implicit(tls),
        },
        // The configuration has refused it unless it was asked for by its own dangerous name.
        danger_plaintext: backend.tls == BackendTls::None,
        method: match backend.login {
            LoginMethod::Auto => Method::Auto,
            LoginMethod::Login => Method::Login,
            LoginMethod::Plain => Method::Plain,
        },
        master: backend.master.as_ref().map(master).transpose()?,
        forward_id: backend.forward_id,
        proxy_header: match backend.proxy_protocol {
            ProxyHeader::Off => None,
            ProxyHeader::V1 => Some(Version::V1),
            ProxyHeader::V2 => Some(Version::V2),
        },
        timeout: backend.timeout,
        ..BackendOptions::default()
    })
}

fn trust(backend: &backend::Backend) -> Trust {
    match (backend.pin, &backend.ca_file) {
        (Some(pin), _) => {
            let mut hex = String::new();
            for byte in pin {
                // Writing to a String cannot fail.
                let _ = write!(hex, "{byte:02x}");
            }
            Trust::Pins(Pin::from_str(&hex).into_iter().collect())
        }
        (None, Some(file)) => Trust::CaFiles(vec![file.clone()]),
        (None, None) => Trust::PublicAuthorities,
    }
}

fn master(master: &backend::Master) -> Result<Master, StartError> {
    let mut password = fs::read(&master.password_file).map_err(|source| StartError::MasterPassword {
        path: master.password_file.clone(),
        source,
    })?;
    while password.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
        password.pop();
    }
    Ok(Master {
        user: master.user.clone(),
        password: Secret::new(password),
        style: match master.style {
            backend::MasterStyle::Authzid => MasterStyle::Authzid,
            backend::MasterStyle::Separator => MasterStyle::Separator(master.separator),
        },
    })
}
