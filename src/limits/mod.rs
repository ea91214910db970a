//! Room for `limits`.
