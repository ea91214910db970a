//! Room for `auth`.
