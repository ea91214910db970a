//! Facts in, verdict out: who may connect from where, which second factor a login needs, and what the rules say about what
//! a session does.
//!
//! Pure: no clock, no store, no network. Whoever asks brings the facts and the time.

pub mod access;
pub mod accounts;
mod counters;
pub mod decision;
pub mod engine;
pub mod expression;
pub mod factor;
pub mod facts;
pub mod family;
pub mod first_sync;
mod index;
mod keyed;
pub mod moved;
pub mod noticed;
pub mod rules;
pub mod sets;
pub mod shared;
pub mod table;
mod units;
mod window;
mod words;

pub use counters::Counters;
