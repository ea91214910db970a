//! Syslog (RFC 5424) over UDP (RFC 5426), over TCP with octet counting (RFC 6587) and over TLS (RFC 5425).
//!
//! None of them has an acknowledgement: what a connection takes along when it breaks is lost unseen, but for the events whose
//! write failed; those are sent again, so that a receiver may see some of them twice.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::net::ToSocketAddrs;
use std::net::UdpSocket;
use std::process;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::net::stream::Stream;
use crate::telemetry::kind::Level;
use crate::telemetry::shape::Shape;
use crate::telemetry::sink::Renewal;
use crate::telemetry::sink::SinkError;
use crate::telemetry::sink::network::OwnRuntime;
use crate::telemetry::sink::network::Receiver;
use crate::telemetry::sink::network::Remote;
use crate::telemetry::sink::network::Tls;
use crate::telemetry::sink::queue::Numbered;
use crate::telemetry::sink::worker::Failure;
use crate::telemetry::sink::worker::Output;

/// Most events that one write takes along.
const BATCH: usize = 64;
/// Longest wait for the receiver to close its side at the end.
const GOODBYE: Duration = Duration::from_secs(1);
/// Long enough for what has arrived to be seen.
const GLANCE: Duration = Duration::from_millis(1);
/// `meta sequenceId` counts from 1 to this (RFC 5424, section 7.3.1).
const LAST_ID: u64 = 2_147_483_647;

/// A syslog receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogOptions {
    /// Where it is.
    pub receiver: Receiver,
    /// How messages get there.
    pub transport: Transport,
    /// The facility of every message.
    pub facility: Facility,
    /// APP-NAME of every message: printable ASCII, at most 48 characters.
    pub app_name: String,
    /// Longest wait for a connection and for a write.
    pub timeout: Duration,
}

/// How messages get to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// One datagram each; nobody says whether it arrives.
    Udp,
    /// A stream, in clear.
    Tcp,
    /// A stream in TLS.
    Tls(Tls),
}

/// Whose messages they are, as syslog sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "syslog's own words")]
pub enum Facility {
    User,
    Mail,
    Daemon,
    Auth,
    #[default]
    Authpriv,
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

impl Facility {
    /// Its number (RFC 5424, section 6.2.1).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::User => 1,
            Self::Mail => 2,
            Self::Daemon => 3,
            Self::Auth => 4,
            Self::Authpriv => 10,
            Self::Local0 => 16,
            Self::Local1 => 17,
            Self::Local2 => 18,
            Self::Local3 => 19,
            Self::Local4 => 20,
            Self::Local5 => 21,
            Self::Local6 => 22,
            Self::Local7 => 23,
        }
    }
}

/// What every message of this process has in common.
struct Header {
    facility: Facility,
    host: String,
    app: String,
    shape: Shape,
}

impl Header {
    /// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`
    fn message(&self, Numbered { number, event }: &Numbered) -> String {
        let severity = match event.kind().level() {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
        };
        let id = number.saturating_sub(1) % LAST_ID + 1;
        let mut text = format!(
            "<{}>1 {} {} {} {} {} [meta sequenceId=\"{id}\"][origin software=\"imapwarden\" swVersion=\"{}\"] ",
            u32::from(self.facility.number()) * 8 + severity,
            event.timestamp(),
            self.host,
            self.app,
            process::id(),
            event.kind().code(),
            parameter(env!("CARGO_PKG_VERSION")),
        );
        text.push_str(&self.shape.render(event, *number));
        text
    }
}

/// The value of a parameter of structured data (RFC 5424, section 6.3.3).
fn parameter(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if matches!(c, '"' | '\\' | ']') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// A header's field: printable ASCII without spaces, `-` where there is nothing (RFC 5424, section 6).
fn header_field(text: &str, most: usize) -> String {
    let printable = text.chars().filter(char::is_ascii_graphic).take(most);
    let field: String = printable.collect();
    if field.is_empty() { "-".to_owned() } else { field }
}

/// A syslog receiver that is written to.
pub(super) struct Syslog {
    header: Header,
    way: Way,
}

enum Way {
    Datagrams {
        receiver: Receiver,
        socket: Option<UdpSocket>,
    },
    Stream {
        runtime: OwnRuntime,
        remote: Remote,
        stream: Option<Stream>,
    },
}

impl Syslog {
    pub(super) fn new(options: SyslogOptions, shape: Shape) -> Result<Self, SinkError> {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let stream = |tls| {
            Ok::<_, SinkError>(Way::Stream {
                runtime: OwnRuntime::default(),
                remote: Remote::new(options.receiver.clone(), tls, options.timeout)?,
                stream: None,
            })
        };
        let way = match options.transport {
            Transport::Tls(tls) => stream(Some(tls))?,
            Transport::Tcp => stream(None)?,
            Transport::Udp => Way::Datagrams {
                receiver: options.receiver,
                socket: None,
            },
        };
        Ok(Self {
            header: Header {
                facility: options.facility,
                host: header_field(&host, 255),
                app: header_field(&options.app_name, 48),
                shape,
            },
            way,
        })
    }
}

impl Output for Syslog {
    fn batch(&self) -> usize {
        BATCH
    }

    fn write(&mut self, events: &[Numbered]) -> Result<(), Failure> {
        let header = &self.header;
        match &mut self.way {
            Way::Datagrams { receiver, socket } => {
                let messages = events.iter().map(|event| header.message(event));
                send(receiver, socket, messages)
            }
            Way::Stream {
                runtime,
                remote,
                stream,
            } => {
                let mut bytes = String::new();
                for event in events {
                    let message = header.message(event);
                    // Writing to a String cannot fail.
                    let _ = write!(bytes, "{} {message}", message.len());
                }
                runtime.run(write(remote, stream, bytes.as_bytes()))
            }
        }
    }

    /// An open connection stays: what it was trusted for has been looked at.
    fn renew(&mut self, renewal: Renewal) {
        if let Way::Stream { remote, .. } = &mut self.way {
            remote.renew(renewal.client);
        }
    }

    fn finish(&mut self) {
        if let Way::Stream { runtime, stream, .. } = &mut self.way
            && let Some(stream) = stream.take()
        {
            let goodbye = async {
                stream.close(GOODBYE).await;
                Ok(())
            };
            // There is a runtime, since there is a stream.
            let _ = runtime.run(goodbye);
        }
    }
}

fn send(
    receiver: &Receiver,
    socket: &mut Option<UdpSocket>,
    messages: impl Iterator<Item = String>,
) -> Result<(), Failure> {
    for (sent, message) in messages.enumerate() {
        let done = datagrams_to(receiver, socket).and_then(|socket| socket.send(message.as_bytes()));
        if let Err(error) = done {
            // The name may mean another address by now.
            *socket = None;
            return Err(Failure::again(format!("cannot send to {receiver}: {error}")).after(sent));
        }
    }
    Ok(())
}

fn datagrams_to<'s>(
    receiver: &Receiver,
    socket: &'s mut Option<UdpSocket>,
) -> std::io::Result<&'s UdpSocket> {
    if socket.is_none() {
        let mut addresses = (receiver.host.as_str(), receiver.port).to_socket_addrs()?;
        let unknown = || std::io::Error::other("the name has no address");
        let address = addresses.next().ok_or_else(unknown)?;
        let ours = match address {
            SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
            SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
        };
        let bound = UdpSocket::bind(ours)?;
        bound.connect(address)?;
        *socket = Some(bound);
    }
    socket.as_ref().ok_or_else(|| std::io::Error::other("no socket"))
}

async fn write(remote: &Remote, kept: &mut Option<Stream>, bytes: &[u8]) -> Result<(), Failure> {
    if let Some(stream) = kept
        && !is_open(stream).await
    {
        *kept = None;
    }
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => remote.connect().await?,
    };
    let write = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    let failed = |what: &str| Failure::again(format!("cannot write to {}: {what}", remote.receiver()));
    match timeout(remote.timeout(), write).await {
        Ok(Ok(())) => {
            *kept = Some(stream);
            Ok(())
        }
        Ok(Err(error)) => Err(failed(&error.to_string())),
        Err(_) => Err(failed("it takes nothing")),
    }
}

/// Whether the receiver has not closed the connection meanwhile: a write into one that is closed would be lost unseen. What
/// a receiver says has no meaning and is thrown away.
async fn is_open(stream: &mut Stream) -> bool {
    let mut waste = [0; 512];
    match timeout(GLANCE, stream.read(&mut waste)).await {
        // A receiver that talks is looked at again at the next write.
        Ok(Ok(count)) => count > 0,
        Ok(Err(_)) => false,
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::telemetry::event::Event;
    use crate::telemetry::kind::Kind;

    fn header() -> Header {
        Header {
            facility: Facility::Authpriv,
            host: header_field("mx 1\n", 255),
            app: "imapwarden".to_owned(),
            shape: Shape::Cef,
        }
    }

    fn message(kind: Kind, number: u64) -> String {
        header().message(&Numbered {
            number,
            event: Arc::new(Event::new(kind, SystemTime::UNIX_EPOCH)),
        })
    }

    #[test]
    fn a_message_has_every_part_of_rfc_5424() {
        let text = message(Kind::StoreUnavailable, 7);
        let start = format!(
            "<83>1 1970-01-01T00:00:00.000Z mx1 imapwarden {} IW6003 [meta sequenceId=\"7\"][origin software=\"imapwarden\" swVersion=\"{}\"] CEF:0|",
            process::id(),
            env!("CARGO_PKG_VERSION"),
        );
        assert!(text.starts_with(&start), "{text}");
        assert!(message(Kind::BackendUnavailable, 1).starts_with("<84>1 "));
        assert!(message(Kind::LoginFailed, 1).starts_with("<86>1 "));
    }

    #[test]
    fn numbers_of_messages_stay_in_their_range() {
        assert!(message(Kind::Started, LAST_ID).contains("sequenceId=\"2147483647\""));
        assert!(message(Kind::Started, LAST_ID + 1).contains("sequenceId=\"1\""));
    }

    #[test]
    fn structured_data_and_header_fields_cannot_be_broken_out_of() {
        assert_eq!(parameter("a\"b\\c]d"), "a\\\"b\\\\c\\]d");
        assert_eq!(header_field("a b\u{e9}\n", 255), "ab");
        assert_eq!(header_field(" \n", 255), "-");
        assert_eq!(header_field("abc", 2), "ab");
    }
}
