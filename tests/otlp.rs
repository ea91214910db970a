//! Traces: what a collector of OpenTelemetry's gets of connections and logins, in a program that was built with them; and what one
//! says that was not.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a fault must fail the test"
)]

mod support;

const MAIL_PASSWORD: &str = "right horse";

async fn backend() -> support::memory::Server {
    let mail = support::memory::Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    support::memory::Server::start(mail).await.unwrap()
}

#[cfg(not(feature = "otlp"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_traces_says_so_and_does_not_start_with_them() {
    let backend = backend().await;
    let place = support::program::Place::new(backend.addr, "");
    let more = "telemetry:\n  otlp:\n    url: http://127.0.0.1:4318\n";
    let text = format!(
        "data_directory: data\n{}{more}",
        support::proxy::yaml(backend.addr, "")
    );
    std::fs::write(place.path("imapwarden.yaml"), text).unwrap();
    for command in ["check", "serve"] {
        let said = place.run("", &[command]).await;
        assert_eq!(said.code, Some(78), "{said:?}");
        assert!(said.err.contains("built without traces"), "{said:?}");
        assert!(said.err.contains("--features otlp"), "{said:?}");
    }
}

#[cfg(feature = "otlp")]
mod otlp {
    use std::collections::BTreeMap;
    use std::fs;

    use serde_json::Value;

    use super::MAIL_PASSWORD;
    use super::backend;
    use super::support::program::Place;
    use super::support::program::until;
    use super::support::proxy::yaml;
    use super::support::receivers;
    use super::support::receivers::Certificate;
    use super::support::receivers::Request;

    fn place(backend: std::net::SocketAddr, certificate: &Certificate, url: &str) -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(certificate.file(), dir.path().join("ca.pem")).unwrap();
        let ca = if url.starts_with("https") {
            "\n    ca_file: ca.pem"
        } else {
            ""
        };
        let more = format!("telemetry:\n  otlp:\n    url: '{url}'{ca}\nlogin: {{refusal_delay: 1s}}");
        Place::in_directory(dir, &yaml(backend, &more))
    }

    fn spans(requests: &[Request]) -> Vec<Value> {
        let mut all = Vec::new();
        for request in requests {
            let body: Value = serde_json::from_str(&request.body).unwrap();
            let resource = &body["resourceSpans"][0];
            assert_eq!(
                resource["resource"]["attributes"][0]["value"]["stringValue"],
                "imapwarden"
            );
            all.extend(
                resource["scopeSpans"][0]["spans"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .cloned(),
            );
        }
        all
    }

    fn named<'a>(spans: &'a [Value], name: &str) -> Vec<&'a Value> {
        spans.iter().filter(|span| span["name"] == name).collect()
    }

    fn attributes(span: &Value) -> BTreeMap<String, Value> {
        let all = span["attributes"].as_array().unwrap().iter();
        all.map(|each| (each["key"].as_str().unwrap().to_owned(), each["value"].clone()))
            .collect()
    }

    fn nanoseconds(span: &Value, key: &str) -> u64 {
        span[key].as_str().unwrap().parse().unwrap()
    }

    #[test]
    fn the_snippet_in_the_docs_is_a_configuration() {
        let text = fs::read_to_string("docs/operations.md").unwrap();
        let (_, section) = text.split_once("\n## Traces\n").unwrap();
        let snippet = section.split("```").nth(1).unwrap();
        let whole = format!("{snippet}\nbackends: [{{address: '127.0.0.1:143'}}]\n");
        let config = imapwarden::config::Config::parse("operations.md", &whole, std::path::Path::new(""));
        let otlp = config
            .unwrap_or_else(|wrong| panic!("{}", wrong.render(100, false)))
            .otlp
            .unwrap();
        assert_eq!(otlp.url.address.to_string(), "127.0.0.1:4318");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_its_logins_and_what_the_backend_was_asked_are_one_trace() {
        let (backend, certificate) = (backend().await, Certificate::new());
        let collector = receivers::hook(None, Some(&certificate), &["503 Busy"], false).await;
        let url = format!("https://localhost:{}", collector.addr.port());
        let place = place(backend.addr, &certificate, &url);
        let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
        let program = place.start().await;
        let mut client = program.connect().await;
        let refused = client.command("l", "LOGIN alice wrong-hunter2").await.unwrap();
        assert!(refused[0].starts_with("l NO"), "{refused:?}");
        client
            .command("m", &format!("LOGIN alice {password}"))
            .await
            .unwrap();
        client.command("s", "EXAMINE INBOX").await.unwrap();
        client.command("z", "LOGOUT").await.unwrap();
        let over = |request: &Request| request.body.contains("\"name\":\"session\"");
        let requests = collector
            .arrived
            .until(|requests| requests.iter().any(over))
            .await;
        for request in &requests {
            assert_eq!(request.line, "POST /v1/traces HTTP/1.1");
            assert_eq!(request.headers["content-type"], "application/json");
            for secret in ["hunter2", MAIL_PASSWORD, password.as_str(), "INBOX"] {
                assert!(!request.body.contains(secret), "{secret}: {}", request.body);
            }
        }
        // The first request was not taken, and came again with the same ids.
        assert_eq!(requests[0].body, requests[1].body);
        let spans = spans(&requests[1..]);
        // A probe of the metrics is none, and nobody else connects.
        let [connection] = named(&spans, "connection")[..] else {
            panic!("{spans:?}");
        };
        assert!(spans.iter().all(|span| span["traceId"] == connection["traceId"]));
        let told = attributes(connection);
        let session = told["session.id"]["stringValue"].as_str().unwrap();
        assert_eq!(connection["spanId"], session);
        assert_eq!(told["event.reason"]["stringValue"], "logout");
        let logins = named(&spans, "login");
        let [failed, succeeded] = logins[..] else {
            panic!("{logins:?}");
        };
        assert_eq!(failed["status"]["code"], 2);
        assert_eq!(succeeded.get("status"), None);
        assert_eq!(attributes(succeeded)["user.name"]["stringValue"], "alice");
        assert!(
            logins
                .iter()
                .all(|login| login["parentSpanId"] == connection["spanId"])
        );
        // Without a right second factor the backend is never asked.
        let [asked] = named(&spans, "backend login")[..] else {
            panic!("{spans:?}");
        };
        assert_eq!(asked["parentSpanId"], succeeded["spanId"]);
        let [dial] = named(&spans, "backend dial")[..] else {
            panic!("{spans:?}");
        };
        assert_eq!(dial["parentSpanId"], asked["spanId"]);
        for (outer, inner) in [(connection, succeeded), (succeeded, asked), (asked, dial)] {
            assert!(nanoseconds(inner, "startTimeUnixNano") <= nanoseconds(inner, "endTimeUnixNano"));
            assert!(nanoseconds(inner, "endTimeUnixNano") <= nanoseconds(outer, "endTimeUnixNano"));
        }
        // Other sinks have it all, as without traces.
        program.events.wait(0, "session_ended").await.unwrap();
        let series = "imapwarden_events_written_total{sink=\"telemetry.otlp\"}";
        // Counted once the answer is there.
        until("all are counted", || async { program.metric(series).await == 3 }).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_collector_that_is_away_or_wants_nothing_holds_up_nobody() {
        let (backend, certificate) = (backend().await, Certificate::new());
        let closed = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let wrong = receivers::hook(None, None, &["400 Bad Request"; 64], false).await;
        let up = "imapwarden_event_sink_up{sink=\"telemetry.otlp\"}";
        let lost = "imapwarden_events_dropped_total{sink=\"telemetry.otlp\"}";
        for (addr, gives_up) in [(closed, false), (wrong.addr, true)] {
            let place = place(backend.addr, &certificate, &format!("http://{addr}/v1/traces"));
            let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
            let program = place.start().await;
            drop(program.logged_in("alice", &password).await);
            until("it is noticed", || async { program.metric(up).await == 0 }).await;
            until("spans wait, or are lost", || async {
                (program.metric(lost).await > 0) == gives_up
            })
            .await;
            drop(program.logged_in("alice", &password).await);
            assert_eq!(program.get("/readyz").await.0, 200);
        }
    }
}
