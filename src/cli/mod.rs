//! Room for `cli`.
