//! The gate, asked every way that people and attackers ask.

mod app_passwords;
mod at_rest;
mod away;
mod codes;
mod policy;
