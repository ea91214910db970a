//! Room for `session`.
