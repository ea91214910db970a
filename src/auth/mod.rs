//! Who somebody is: app passwords, one-time codes, trusted windows, and the gate that asks for them.
//!
//! The only place that makes `Authenticated`. Without a right second factor the backend is never asked, and an app password
//! never reaches it.

pub mod accounts;
pub mod app_password;
pub mod gate;
pub mod grace;
pub mod key_edit;
pub mod key_file;
pub mod key_ring;
pub mod keys;
pub mod lease;
pub mod memory;
pub mod meter;
pub mod rotation;
pub mod seal;
pub mod totp;
pub mod window;
pub mod wire_code;

mod pace;
mod random;

#[cfg(test)]
mod world;
