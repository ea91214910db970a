//! Facts in, verdict out: who may connect from where, which second factor a login needs, and what is a first sync.
//!
//! Pure: no clock, no store, no network. Whoever asks brings the facts and the time.

pub mod access;
pub mod factor;
pub mod first_sync;
