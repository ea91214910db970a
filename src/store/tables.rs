//! What the tables are made of, for copying a store from one engine to the other. A test holds it against both schemas.

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bytes,
    Number,
    /// BOOLEAN in PostgreSQL, 0 or 1 in SQLite.
    Truth,
}

use Kind::Bytes;
use Kind::Number;
use Kind::Text;
use Kind::Truth;

/// A table by its name, which is the same in both.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// Columns by their names in SQLite.
    pub(super) columns: &'static [(&'static str, Kind)],
}

/// A column's name in PostgreSQL, where `user` is a word of SQL's.
pub(super) fn in_postgres(column: &'static str) -> &'static str {
    if column == "user" { "username" } else { column }
}

/// All tables; what refers to another one stands behind it.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "meta",
        columns: &[("name", Text), ("value", Bytes)],
    },
    Table {
        name: "users",
        columns: &[
            ("name", Text),
            ("display", Text),
            ("disabled", Truth),
            ("mfa", Text),
            ("enrol_by", Number),
            ("networks", Text),
            ("created", Number),
            ("epoch", Number),
            ("member_of", Text),
        ],
    },
    Table {
        name: "totp",
        columns: &[
            ("user", Text),
            ("sealed", Bytes),
            ("confirmed", Number),
            ("last_step", Number),
        ],
    },
    Table {
        name: "totp_enrolment",
        columns: &[("user", Text), ("sealed", Bytes), ("created", Number)],
    },
    Table {
        name: "app_passwords",
        columns: &[
            ("id", Number),
            ("user", Text),
            ("account", Text),
            ("label", Text),
            ("hash", Bytes),
            ("public_key", Bytes),
            ("public_key_mac", Bytes),
            ("sealed", Bytes),
            ("created", Number),
            ("expires", Number),
            ("networks", Text),
            ("revoked", Number),
            ("last_used", Number),
            ("last_from", Text),
            ("last_client", Text),
            ("read_only", Truth),
            ("mailboxes", Text),
            ("commands", Text),
            ("budget_bytes", Number),
            ("budget_messages", Number),
            ("service", Truth),
        ],
    },
    Table {
        name: "trusted_windows",
        columns: &[
            ("key", Bytes),
            ("user", Text),
            ("open", Truth),
            ("opened", Number),
            ("expires", Number),
            ("last_used", Number),
        ],
    },
    Table {
        name: "bans",
        columns: &[
            ("network", Text),
            ("reason", Text),
            ("by_whom", Text),
            ("created", Number),
            ("until", Number),
        ],
    },
    Table {
        name: "habits",
        columns: &[
            ("user", Text),
            ("kind", Text),
            ("value", Bytes),
            ("first_seen", Number),
            ("last_seen", Number),
        ],
    },
    Table {
        name: "logins",
        columns: &[("user", Text), ("last", Number)],
    },
    Table {
        name: "networks",
        columns: &[("network", Bytes), ("last_seen", Number)],
    },
    Table {
        name: "usage",
        columns: &[
            ("user", Text),
            ("day", Number),
            ("fetched_bytes", Number),
            ("fetched_messages", Number),
            ("appended_bytes", Number),
            ("appended_messages", Number),
            ("commands", Number),
            ("logins", Number),
        ],
    },
    Table {
        name: "allowances",
        columns: &[
            ("app_password", Number),
            ("opened", Number),
            ("bytes_left", Number),
            ("network", Bytes),
            ("family", Text),
            ("ended", Number),
        ],
    },
];

/// Tables of what lasts no longer than processes do: not copied.
#[cfg(test)]
pub(super) const PASSING: &[&str] = &["replicas", "sessions", "kills", "failures", "counting", "counts"];

/// A value on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    Number(Option<i64>),
    Truth(Option<bool>),
}

/// Rows on their way.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) table: &'static Table,
    pub(super) rows: Vec<Vec<Cell>>,
}
