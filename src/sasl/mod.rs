//! Room for `sasl`.
