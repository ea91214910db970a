//! Room for `server`.
