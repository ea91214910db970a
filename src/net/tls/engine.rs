//! The TLS engine without a buffer of its own: the caller's bytes in, the caller's bytes out, no I/O.
//!
//! rustls remembers how far into an incomplete hand-shake message it has got, so that it must be shown those bytes at every
//! call, also when it is to seal: a call with fewer bytes panics. After a failure it is not called again.

use std::io;

use rustls::CommonState;
use rustls::client::ClientConnectionData;
use rustls::client::UnbufferedClientConnection;
use rustls::server::ServerConnectionData;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::ConnectionState;
use rustls::unbuffered::EncodeError;
use rustls::unbuffered::EncodeTlsData;
use rustls::unbuffered::ReadTraffic;
use rustls::unbuffered::UnbufferedConnectionCommon;
use rustls::unbuffered::UnbufferedStatus;

/// What TLS adds to one record at most, with room for a key update before it (RFC 5246, section 6.2.3.3: 8 bytes of nonce
/// and 16 of tag around the 5 of the header; RFC 8446, section 5.2: 17 and 5).
pub(super) const RECORD_OVERHEAD: usize = 64;

/// The longest plaintext in one record (RFC 8446, section 5.1).
pub(super) const RECORD: usize = 1 << 14;

/// A goodbye with all that is around it.
const GOODBYE: usize = 256;

/// One end of a TLS session.
pub(super) enum Engine {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What came of a peer's bytes.
pub(super) struct Taken {
    /// How many are done with; those after them are of a record or message that is not complete, and come again with more.
    pub(super) used: usize,
    /// The peer has said that nothing follows.
    pub(super) closed: bool,
    /// What is wrong with the first byte that was not used. The alert is in the reply.
    pub(super) failure: Option<rustls::Error>,
}

type Process<Data> =
    for<'c, 'i> fn(&'c mut UnbufferedConnectionCommon<Data>, &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Data>;

const SERVER: Process<ServerConnectionData> =
    UnbufferedConnectionCommon::<ServerConnectionData>::process_tls_records;
const CLIENT: Process<ClientConnectionData> =
    UnbufferedConnectionCommon::<ClientConnectionData>::process_tls_records;

impl Engine {
    /// What was agreed on so far.
    pub(super) fn state(&self) -> &CommonState {
        match self {
            Self::Server(engine) => engine,
            Self::Client(engine) => engine,
        }
    }

    /// Takes a peer's bytes as far as they are complete: hands out what they say, record by record, and adds what the engine
    /// answers to `reply`. Without bytes it says what it has to say first.
    pub(super) fn take(
        &mut self,
        input: &mut [u8],
        plain: &mut dyn FnMut(&[u8]),
        reply: &mut Vec<u8>,
    ) -> Taken {
        match self {
            Self::Server(engine) => take(engine, SERVER, input, plain, reply),
            Self::Client(engine) => take(engine, CLIENT, input, plain, reply),
        }
    }

    /// Seals data into as many records as it needs and says how many bytes they have. `incomplete` is what the last
    /// [`take`](Self::take) left.
    ///
    /// # Errors
    /// The hand-shake is not over, the session has failed, or `out` has no room: nothing is sealed then.
    pub(super) fn seal(&mut self, data: &[u8], incomplete: &mut [u8], out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Server(engine) => seal(engine, SERVER, data, incomplete, out),
            Self::Client(engine) => seal(engine, CLIENT, data, incomplete, out),
        }
    }

    /// Adds the goodbye (RFC 8446, section 6.1) to `reply`, if one may be said.
    pub(super) fn say_goodbye(&mut self, incomplete: &mut [u8], reply: &mut Vec<u8>) {
        match self {
            Self::Server(engine) => say_goodbye(engine, SERVER, incomplete, reply),
            Self::Client(engine) => say_goodbye(engine, CLIENT, incomplete, reply),
        }
    }
}

fn take<Data>(
    engine: &mut UnbufferedConnectionCommon<Data>,
    process: Process<Data>,
    input: &mut [u8],
    plain: &mut dyn FnMut(&[u8]),
    reply: &mut Vec<u8>,
) -> Taken {
    let mut taken = Taken {
        used: 0,
        closed: false,
        failure: None,
    };
    let all = input.len();
    let mut spoke = false;
    loop {
        let mut was_data = false;
        let rest = input.get_mut(taken.used..).unwrap_or_default();
        let UnbufferedStatus { mut discard, state } = process(engine, rest);
        let goes_on = match state {
            Ok(ConnectionState::ReadTraffic(traffic)) => {
                was_data = true;
                let (used, failure) = hand_out(traffic, plain);
                discard = discard.saturating_add(used);
                taken.failure = failure;
                taken.failure.is_none()
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                spoke = true;
                encode(&mut data, reply)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It is in the reply, which is sent in order.
                data.done();
                true
            }
            Ok(ConnectionState::PeerClosed) => {
                taken.closed = true;
                true
            }
            Ok(ConnectionState::Closed) => {
                taken.closed = true;
                false
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => false,
            // Early data, which is not offered.
            Ok(_) => {
                taken.failure = Some(rustls::Error::General("an unexpected state".to_owned()));
                false
            }
            Err(error) => {
                taken.failure = Some(error);
                false
            }
        };
        taken.used = taken.used.saturating_add(discard);
        // Data in its last bytes, and nothing to answer: asked again, the engine could only say that it waits.
        let is_over = was_data && taken.used >= all && !spoke && !engine.wants_write();
        if !goes_on || is_over {
            let rest = input.get_mut(taken.used..).unwrap_or_default();
            if taken.failure.is_some() {
                say_last_words(engine, process, rest, reply);
            }
            return taken;
        }
    }
}

/// Hands out what records of data say; how many more bytes are done with, and what is wrong behind them.
fn hand_out<Data>(
    mut traffic: ReadTraffic<'_, '_, Data>,
    plain: &mut dyn FnMut(&[u8]),
) -> (usize, Option<rustls::Error>) {
    let mut used: usize = 0;
    while let Some(record) = traffic.next_record() {
        match record {
            Ok(record) => {
                used = used.saturating_add(record.discard);
                plain(record.payload);
            }
            Err(error) => return (used, Some(error)),
        }
    }
    (used, None)
}

/// The engine says its alert when it is asked again after its failure. Where it has nothing to say it would look at the bytes
/// again.
fn say_last_words<Data>(
    engine: &mut UnbufferedConnectionCommon<Data>,
    process: Process<Data>,
    rest: &mut [u8],
    reply: &mut Vec<u8>,
) {
    while engine.wants_write() {
        match process(engine, rest).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(&mut data, reply);
            }
            _ => return,
        }
    }
}

/// Adds a message to what is to be sent; false where there was none.
fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, reply: &mut Vec<u8>) -> bool {
    let size = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Ok(_) => return true,
        Err(EncodeError::AlreadyEncoded) => return false,
    };
    let before = reply.len();
    reply.resize(before.saturating_add(size), 0);
    data.encode(reply.get_mut(before..).unwrap_or_default()).is_ok()
}

fn seal<Data>(
    engine: &mut UnbufferedConnectionCommon<Data>,
    process: Process<Data>,
    data: &[u8],
    incomplete: &mut [u8],
    out: &mut [u8],
) -> io::Result<usize> {
    match process(engine, incomplete).state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            traffic.encrypt(data, out).map_err(io::Error::other)
        }
        Ok(_) => Err(io::ErrorKind::NotConnected.into()),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

fn say_goodbye<Data>(
    engine: &mut UnbufferedConnectionCommon<Data>,
    process: Process<Data>,
    incomplete: &mut [u8],
    reply: &mut Vec<u8>,
) {
    if let Ok(ConnectionState::WriteTraffic(mut traffic)) = process(engine, incomplete).state {
        let mut goodbye = [0; GOODBYE];
        let size = traffic.queue_close_notify(&mut goodbye).unwrap_or(0);
        reply.extend_from_slice(goodbye.get(..size).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests;
