//! Room for `config`.
