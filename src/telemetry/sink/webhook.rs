//! Events in batches to a receiver of HTTP requests: POST, signed as Standard Webhooks has it, until it is taken.
//!
//! Each request has a connection of its own. Redirects are not followed, and of an answer only its status is looked at. What the
//! receiver says it will never take is lost; everything else is sent again under the same id.

use std::time::UNIX_EPOCH;

use aws_lc_rs::hmac;
use aws_lc_rs::rand;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::Full;
use hyper::Method;
use hyper::Request;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::time::timeout;

use crate::telemetry::shape::Shape;
use crate::telemetry::sink::Clock;
use crate::telemetry::sink::Renewal;
use crate::telemetry::sink::SinkError;
use crate::telemetry::sink::network::OwnRuntime;
use crate::telemetry::sink::network::Receiver;
use crate::telemetry::sink::network::Remote;
use crate::telemetry::sink::network::Tls;
use crate::telemetry::sink::queue::Numbered;
use crate::telemetry::sink::worker::Failure;
use crate::telemetry::sink::worker::Output;
use crate::types::Secret;

/// Most bytes of one request, but for a single event that is larger: receivers often refuse more than a megabyte.
const MAX_BODY: usize = 256 * 1024;

/// Most bytes of an answer's status and headers.
const MAX_ANSWER: usize = 16 * 1024;
/// Fewer bytes of secret can be guessed from one request.
const MIN_SECRET: usize = 24;

/// A receiver of HTTP requests.
#[derive(Debug)]
pub struct WebhookOptions {
    /// Where it is.
    pub receiver: Receiver,
    /// TLS towards it; `None` is HTTP in clear.
    pub tls: Option<Tls>,
    /// What is asked for: path and query. It may hold a secret, and is never shown.
    pub path: Path,
    /// Signs each request.
    pub signer: Signer,
    /// Most events in one request.
    pub batch: usize,
    /// The time for one request, connection and answer included.
    pub timeout: std::time::Duration,
}

/// Path and query of a URL; prints as `[path]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// Takes a path, or a query alone: an empty path is `/` (RFC 9110, section 4.2.3).
    #[must_use]
    pub fn new(text: &str) -> Self {
        let root = if text.starts_with('/') { "" } else { "/" };
        Self(format!("{root}{text}"))
    }

    #[cfg(feature = "otlp")]
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[path]")
    }
}

/// Why a secret cannot sign.
#[derive(Debug, Error)]
pub enum SignerError {
    /// It is short enough to be guessed.
    #[error("the secret is shorter than 24 bytes")]
    Short,
    /// It says that it is base64, and is not.
    #[error("behind `whsec_` there is no base64")]
    Encoding,
}

/// Signs requests: HMAC-SHA256 over id, time and body. Holds the key in a form that prints nothing of it.
#[derive(Debug, Clone)]
pub struct Signer(hmac::Key);

impl Signer {
    /// From a secret as text, or as `whsec_` and base64.
    ///
    /// # Errors
    /// The secret is too short, or no base64 where it says so.
    pub fn new(secret: &Secret) -> Result<Self, SignerError> {
        let decoded = match secret.expose().strip_prefix(b"whsec_") {
            Some(encoded) => Secret::new(
                BASE64_STANDARD
                    .decode(encoded)
                    .map_err(|_| SignerError::Encoding)?,
            ),
            None => secret.clone(),
        };
        if decoded.len() < MIN_SECRET {
            return Err(SignerError::Short);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, decoded.expose())))
    }

    fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    }
}

/// A receiver that requests are sent to.
pub(super) struct Webhook {
    runtime: OwnRuntime,
    remote: Remote,
    /// What the receiver calls itself: without the port where that is the usual one.
    host: String,
    path: Path,
    signer: Signer,
    batch: usize,
    /// How many events go into one request now: fewer after the receiver refused more.
    most: usize,
    shape: Shape,
    clock: Clock,
    /// Tells this process' batches from those of another.
    process: String,
}

impl Webhook {
    pub(super) fn new(options: WebhookOptions, shape: Shape, clock: Clock) -> Result<Self, SinkError> {
        let mut drawn = [0; 8];
        // An id that is not random is not unique, which the receiver's own check of repeats may suffer from; nothing else does.
        let _ = rand::fill(&mut drawn);
        Ok(Self {
            runtime: OwnRuntime::default(),
            host: host(&options.receiver, options.tls.is_some()),
            remote: Remote::new(options.receiver, options.tls, options.timeout)?,
            path: options.path,
            signer: options.signer,
            batch: options.batch.max(1),
            most: options.batch.max(1),
            shape,
            clock,
            process: format!("{:016x}", u64::from_ne_bytes(drawn)),
        })
    }

    fn request(&self, events: &[Numbered], body: String) -> Result<Request<Full<Bytes>>, Failure> {
        let numbers = events.first().zip(events.last());
        let (first, last) = numbers.map_or((0, 0), |(first, last)| (first.number, last.number));
        let id = format!("msg_{}_{first}_{last}", self.process);
        let now = (self.clock)().duration_since(UNIX_EPOCH);
        let timestamp = now.map_or(0, |now| now.as_secs());
        Request::builder()
            .method(Method::POST)
            .uri(&self.path.0)
            .header(header::HOST, &self.host)
            .header(header::CONNECTION, "close")
            .header(header::CONTENT_TYPE, self.shape.content_type())
            .header(
                header::USER_AGENT,
                concat!("imapwarden/", env!("CARGO_PKG_VERSION")),
            )
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp)
            .header(
                "webhook-signature",
                self.signer.sign(&id, timestamp, body.as_bytes()),
            )
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::lost(format!("the request cannot be made: {error}")))
    }

    /// As many of the first events as fit into a request, and its body: a list in JSON, or lines where the shape is none.
    fn body(&self, events: &[Numbered]) -> (usize, String) {
        let (open, between, close) = if self.shape.is_json() {
            ("[", ",\n", "]")
        } else {
            ("", "\n", "\n")
        };
        let mut body = open.to_owned();
        let mut count = 0;
        for Numbered { number, event } in events.iter().take(self.most) {
            let text = self.shape.render(event, *number);
            if count > 0 && body.len().saturating_add(text.len()) > MAX_BODY {
                break;
            }
            if count > 0 {
                body.push_str(between);
            }
            body.push_str(&text);
            count += 1;
        }
        body.push_str(close);
        (count, body)
    }

    /// Sends the first events, and says how many; fewer where the receiver takes no more at once.
    fn post(&mut self, events: &[Numbered]) -> Result<usize, Failure> {
        loop {
            let (count, body) = self.body(events);
            let request = self.request(events.get(..count).unwrap_or(events), body)?;
            let (remote, receiver) = (&self.remote, self.remote.receiver());
            let status = self.runtime.run(async {
                let answered = timeout(remote.timeout(), exchange(remote, request)).await;
                answered
                    .unwrap_or_else(|_| Err(Failure::again(format!("{receiver} does not answer in time"))))
            })?;
            if status.is_success() {
                self.most = self.most.saturating_mul(2).min(self.batch);
                return Ok(count);
            }
            let message = format!("{receiver} answers {}", status.as_u16());
            if !is_final(status) {
                return Err(Failure::again(message));
            }
            // One event that is not taken must not take others along.
            if count <= 1 {
                return Err(Failure::lost_one(message));
            }
            self.most = count / 2;
        }
    }
}

impl Output for Webhook {
    fn batch(&self) -> usize {
        self.batch
    }

    fn write(&mut self, events: &[Numbered]) -> Result<(), Failure> {
        let mut sent = 0;
        while let Some(rest) = events.get(sent..).filter(|rest| !rest.is_empty()) {
            sent += self.post(rest).map_err(|failure| failure.after(sent))?;
        }
        Ok(())
    }

    fn renew(&mut self, renewal: Renewal) {
        self.remote.renew(renewal.client);
        if let Some(signer) = renewal.signer {
            self.signer = signer;
        }
    }
}

/// The header of that name (RFC 9110, section 7.2).
pub(super) fn host(receiver: &Receiver, tls: bool) -> String {
    let whole = receiver.to_string();
    let usual = if tls { ":443" } else { ":80" };
    whole.strip_suffix(usual).unwrap_or(&whole).to_owned()
}

/// Whether the same request will never be taken. A wrong path, missing rights or a redirect are mistakes that somebody puts
/// right while we try.
fn is_final(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY
    )
}

pub(super) async fn exchange(remote: &Remote, request: Request<Full<Bytes>>) -> Result<StatusCode, Failure> {
    let failed = |error: hyper::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        let cause = cause.unwrap_or_default();
        Failure::again(format!("no answer from {}: {error}{cause}", remote.receiver()))
    };
    let stream = remote.connect().await?;
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_ANSWER);
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Moves the bytes for as long as somebody waits for the answer.
    let moving = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(failed);
    moving.abort();
    answer.map(|answer| answer.status())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, standardwebhooks.com.
    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        let secret = Secret::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signer = Signer::new(&secret).unwrap();
        assert_eq!(
            signer.sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                b"{\"test\": 2432232314}"
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_that_can_be_guessed_or_is_mistyped_does_not_sign() {
        for (secret, why) in [
            ("short", "24 bytes"),
            ("whsec_QUJD", "24 bytes"),
            ("whsec_?", "base64"),
        ] {
            let error = Signer::new(&Secret::from(secret)).unwrap_err();
            assert!(error.to_string().contains(why), "{secret}: {error}");
        }
        let plain = Signer::new(&Secret::from("a secret of enough bytes for this")).unwrap();
        assert!(!format!("{plain:?}").contains("secret of"));
        assert_eq!(format!("{:?}", Path::new("/token")), "[path]");
        assert_eq!(
            Path::new("?token=1").0,
            "/?token=1",
            "a URL without a path has one all the same"
        );
    }

    #[test]
    fn the_usual_port_is_left_out_of_the_host() {
        let receiver = |host: &str, port| Receiver {
            host: host.to_owned(),
            port,
        };
        assert_eq!(host(&receiver("siem.example.org", 443), true), "siem.example.org");
        assert_eq!(
            host(&receiver("siem.example.org", 80), true),
            "siem.example.org:80"
        );
        assert_eq!(host(&receiver("::1", 80), false), "[::1]");
        assert_eq!(host(&receiver("::1", 8443), true), "[::1]:8443");
    }

    #[test]
    fn only_what_the_receiver_will_never_take_is_given_up() {
        for (status, ends) in [
            (400, true),
            (413, true),
            (422, true),
            (401, false),
            (404, false),
            (429, false),
            (503, false),
            (302, false),
        ] {
            assert_eq!(is_final(StatusCode::from_u16(status).unwrap()), ends, "{status}");
        }
    }
}
