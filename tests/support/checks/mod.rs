//! What must hold whatever bytes come: checked by the property tests (`tests/properties.rs`) with bytes that they make up,
//! and by the fuzz targets (`fuzz/`) with bytes that a fuzzer finds. Nothing here reads a socket.

pub mod backend_login;
pub mod framer;
pub mod judged;
pub mod legacy;
pub mod model;
pub mod preauth;
pub mod relay;
pub mod repeated;
pub mod watched;

/// Panics where something does not hold.
pub type Check = fn(&[u8]);

/// The checks of each fuzz target, by its name.
pub const TARGETS: [(&str, Check); 5] = [
    ("framer", framer),
    ("preauth", preauth),
    ("backend_login", backend_login),
    ("relay", relay),
    ("judged", judged),
];

/// Framing, both ways.
pub fn framer(data: &[u8]) {
    framer::commands(data, seed_of(data));
    framer::responses(data, seed_of(data));
}

/// A conversation before login.
pub fn preauth(data: &[u8]) {
    preauth::cut_anywhere(data, seed_of(data));
}

/// A login at a backend.
pub fn backend_login(data: &[u8]) {
    backend_login::cut_anywhere(data, seed_of(data));
}

/// A relayed session: the turns of two sides that say anything; and the client's bytes, with the backend's as choices.
pub fn relay(data: &[u8]) {
    relay::cut_anywhere(data, seed_of(data));
    let (client, choices) = sides(data);
    relay::backends_run_what_was_judged(&client, &choices, seed_of(data));
}

/// A session that is judged by rules, with an old server behind it: the client's bytes, with the server's as choices.
pub fn judged(data: &[u8]) {
    let (client, choices) = sides(data);
    judged::servers_run_what_was_judged(&client, &choices, seed_of(data));
}

/// What either side has of an input of turns.
fn sides(data: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let turns = turns(data, relay::TURN);
    let of = |side| {
        turns
            .iter()
            .skip(side)
            .step_by(2)
            .copied()
            .collect::<Vec<_>>()
            .concat()
    };
    (of(0), of(1))
}

/// Other cuts for other data.
fn seed_of(data: &[u8]) -> u64 {
    data.iter().fold(data.len() as u64, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(*byte))
    })
}

/// Lengths of pieces to cut an input into, always the same for the same seed: mostly short, now and then long.
#[derive(Debug, Clone)]
pub struct Cuts(u64);

impl Cuts {
    /// One sequence of lengths for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The pieces of an input.
    pub fn pieces<'a>(&mut self, input: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        let mut rest = input;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(self.next_length().min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces
    }

    fn next_length(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        match self.0 % 8 {
            0 => 1 + (self.0 >> 8) as usize % 200,
            1..=4 => 1 + (self.0 >> 8) as usize % 9,
            _ => 1,
        }
    }
}

/// Splits an input at every byte `mark`, so that a fuzzer can find where turns end.
pub fn turns(input: &[u8], mark: u8) -> Vec<&[u8]> {
    input.split(|byte| *byte == mark).collect()
}
