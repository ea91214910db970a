//! Room for `policy`.
