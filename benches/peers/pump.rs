//! One end of a TLS connection on rustls' unbuffered API: records are opened where they were read, and nothing is kept.

use std::io;

use rustls::client::ClientConnectionData;
use rustls::client::UnbufferedClientConnection;
use rustls::server::ServerConnectionData;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::ConnectionState;
use rustls::unbuffered::EncodeError;
use rustls::unbuffered::EncodeTlsData;
use rustls::unbuffered::UnbufferedStatus;

use crate::socket::other;

/// What a record takes besides its content, at most; and how much one holds.
const OVERHEAD: usize = 64;
const RECORD: usize = 16_384;

/// Either end.
pub trait Connection {
    type Data;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Connection for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Connection for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// A connection and where it stands.
pub struct Pump<C> {
    pub connection: C,
    /// What the hand-shake has to send.
    pub output: Vec<u8>,
    /// The hand-shake is over.
    pub ready: bool,
    /// The other end has closed.
    pub closed: bool,
    /// Records of application data so far.
    pub records: u64,
}

impl<C: Connection> Pump<C> {
    pub fn new(connection: C) -> Self {
        Self {
            connection,
            output: Vec::new(),
            ready: false,
            closed: false,
            records: 0,
        }
    }

    /// Opens records, hands what they hold to `sink`, and says how many bytes are used up.
    pub fn receive(
        &mut self,
        bytes: &mut [u8],
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let UnbufferedStatus {
                mut discard, state, ..
            } = self.connection.process(&mut bytes[used..]);
            let mut goes_on = true;
            match state.map_err(other)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(other)?;
                        discard += record.discard;
                        self.records += 1;
                        sink(record.payload)?;
                    }
                }
                ConnectionState::EncodeTlsData(data) => encode(data, &mut self.output)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::BlockedHandshake => goes_on = false,
                ConnectionState::WriteTraffic(_) => (self.ready, goes_on) = (true, false),
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    (self.closed, goes_on) = (true, false);
                }
                state => return Err(other(format!("unexpected state of TLS: {state:?}"))),
            }
            used += discard;
            if !goes_on {
                return Ok(used);
            }
        }
    }

    /// Appends records with these bytes to `sealed`.
    pub fn seal(&mut self, bytes: &[u8], sealed: &mut Vec<u8>) -> io::Result<()> {
        let status = self.connection.process(&mut []);
        let ConnectionState::WriteTraffic(mut traffic) = status.state.map_err(other)? else {
            return Err(other("TLS cannot send now"));
        };
        let before = sealed.len();
        sealed.resize(before + bytes.len() + (bytes.len() / RECORD + 2) * OVERHEAD, 0);
        let written = traffic.encrypt(bytes, &mut sealed[before..]).map_err(other)?;
        sealed.truncate(before + written);
        Ok(())
    }
}

fn encode<D>(mut data: EncodeTlsData<'_, D>, output: &mut Vec<u8>) -> io::Result<()> {
    let before = output.len();
    let needed = match data.encode(&mut []) {
        Ok(written) => written,
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Err(error) => return Err(other(error)),
    };
    output.resize(before + needed, 0);
    let written = data.encode(&mut output[before..]).map_err(other)?;
    output.truncate(before + written);
    Ok(())
}
