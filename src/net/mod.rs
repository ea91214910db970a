//! Room for `net`.
