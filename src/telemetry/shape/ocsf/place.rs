//! Where OCSF has a place for what a field says.

use crate::telemetry::field::Field;
use crate::telemetry::shape::ocsf::class::Class;

/// The path of a field in a class; `None` where OCSF has none, so that it goes below `unmapped` by its own name.
pub(super) fn of(class: Class, field: Field) -> Option<&'static str> {
    everywhere(field)
        .or_else(|| source(class, field))
        .or_else(|| match class {
            Class::Authentication => in_authentication(field),
            Class::AccountChange => (field == Field::UserName).then_some("user.name"),
            Class::EntityManagement => in_entity_management(field),
            Class::DetectionFinding => in_detection_finding(field),
            Class::NetworkActivity => in_network_activity(field),
            Class::ApplicationLifecycle | Class::ApplicationError => of_the_program(class, field),
        })
}

fn everywhere(field: Field) -> Option<&'static str> {
    Some(match field {
        Field::Code => "metadata.event_code",
        Field::Sequence => "metadata.sequence",
        Field::LogLevel => "metadata.log_level",
        Field::Provider => "metadata.log_provider",
        Field::SessionId => "metadata.correlation_uid",
        Field::Message => "message",
        Field::Duration => "duration",
        Field::Reason => "status_detail",
        _ => return None,
    })
}

/// The client, which a finding has among its evidence.
fn source(class: Class, field: Field) -> Option<&'static str> {
    macro_rules! endpoint {
        ($prefix:literal) => {
            Some(match field {
                Field::SourceIp => concat!($prefix, "src_endpoint.ip"),
                Field::SourcePort => concat!($prefix, "src_endpoint.port"),
                Field::NatIp => concat!($prefix, "src_endpoint.proxy_endpoint.ip"),
                Field::NatPort => concat!($prefix, "src_endpoint.proxy_endpoint.port"),
                Field::SourceCountry => concat!($prefix, "src_endpoint.location.country"),
                Field::SourceAsNumber => concat!($prefix, "src_endpoint.autonomous_system.number"),
                Field::SourceAsOrganization => concat!($prefix, "src_endpoint.autonomous_system.name"),
                _ => return None,
            })
        };
    }
    match class {
        Class::DetectionFinding => endpoint!("evidences[]."),
        Class::ApplicationLifecycle | Class::ApplicationError => None,
        _ => endpoint!(""),
    }
}

fn in_authentication(field: Field) -> Option<&'static str> {
    Some(match field {
        Field::UserName => "user.name",
        Field::AppPasswordId => "user.credential_uid",
        Field::NetworkProtocol => "service.name",
        Field::Listener => "dst_endpoint.svc_name",
        Field::Mechanism => "auth_protocol",
        _ => return None,
    })
}

fn in_entity_management(field: Field) -> Option<&'static str> {
    Some(match field {
        Field::UserName => "actor.user.name",
        Field::BanNetwork => "entity.name",
        Field::AppPasswordId => "entity.uid",
        Field::BanReason => "comment",
        _ => return None,
    })
}

fn in_detection_finding(field: Field) -> Option<&'static str> {
    Some(match field {
        Field::UserName => "evidences[].user.name",
        Field::Listener => "evidences[].dst_endpoint.svc_name",
        Field::TlsVersion => "evidences[].tls.version",
        Field::TlsCipher => "evidences[].tls.cipher",
        Field::TlsServerName => "evidences[].tls.sni",
        Field::TlsJa4 => "evidences[].ja4_fingerprint_list[].value",
        Field::RuleName => "finding_info.analytic.name",
        Field::RuleVersion => "finding_info.analytic.version",
        Field::DecisionId => "finding_info.uid",
        Field::TechniqueId => "finding_info.attacks[].technique.uid",
        _ => return None,
    })
}

fn in_network_activity(field: Field) -> Option<&'static str> {
    Some(match field {
        Field::UserName => "src_endpoint.owner.name",
        Field::NetworkProtocol => "app_name",
        Field::Listener => "dst_endpoint.svc_name",
        // OCSF looks from the source: out is what the client sent.
        Field::SourceBytes => "traffic.bytes_out",
        Field::DestinationBytes => "traffic.bytes_in",
        Field::TlsVersion => "tls.version",
        Field::TlsCipher => "tls.cipher",
        Field::TlsServerName => "tls.sni",
        Field::TlsJa4 => "ja4_fingerprint_list[].value",
        _ => return None,
    })
}

fn of_the_program(class: Class, field: Field) -> Option<&'static str> {
    match (class, field) {
        (Class::ApplicationLifecycle, Field::ServiceVersion) => Some("app.version"),
        _ => None,
    }
}
