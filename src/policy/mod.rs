//! Facts in, verdict out: who may connect from where, and which second factor a login needs.
//!
//! Pure: no clock, no store, no network. Whoever asks brings the facts and the time.

pub mod access;
pub mod factor;
pub mod family;
