//! Room for `imap`.
