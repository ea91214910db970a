//! Words that every floor shares. Plain values: no I/O, no clock, no randomness.

mod client;
pub mod control;
mod credentials;
mod end;
mod networks;
mod proof;
mod refusal;
mod restrictions;
mod secret;
mod session;
mod time;
mod user;

pub use client::ClientAddr;
pub use client::Prefix;
pub use credentials::Credentials;
pub use credentials::Mechanism;
pub use end::EndReason;
pub use end::Side;
pub use networks::Networks;
pub use proof::Authenticated;
pub use proof::BackendCredentials;
pub use proof::LoggedIn;
pub use proof::SecondFactor;
pub use refusal::Refusal;
pub use restrictions::Allowance;
pub use restrictions::Commands;
pub use restrictions::MailboxPattern;
pub use restrictions::RestrictionError;
pub use restrictions::Restrictions;
pub use secret::Secret;
pub use session::SessionId;
pub use time::UnixTime;
pub use user::UserName;
pub use user::UserNameError;
