//! The conversation: state machines that take bytes and facts and say what to do next. Pure: no I/O, no clock, no chance.

pub mod backend_login;
pub mod inspect;
pub mod preauth;
pub mod recorder;
pub mod relay;
