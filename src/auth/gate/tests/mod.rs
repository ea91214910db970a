//! The gate, asked every way that people and attackers ask.

mod app_passwords;
mod at_rest;
mod codes;
mod policy;
