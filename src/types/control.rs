//! What the command line and the running daemon say to each other over the unix socket: one JSON object a line each way.

use serde::Deserialize;
use serde::Serialize;

/// Longest line either side reads, in bytes.
pub const MAX_REQUEST: usize = 4 * 1024;

/// What is asked of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", deny_unknown_fields)]
pub enum Request {
    /// Is anybody there, and since when?
    #[serde(rename = "status")]
    Status,
    /// Read the configuration again.
    #[serde(rename = "reload")]
    Reload,
    /// Another process accepts connections on the same addresses: take no more, and drain.
    #[serde(rename = "hand_over")]
    HandOver,
    /// All open sessions.
    #[serde(rename = "session.list")]
    SessionList,
    /// End one session.
    #[serde(rename = "session.kill")]
    SessionKill {
        /// Its id, as the list shows it.
        id: String,
    },
    /// End all sessions of a user.
    #[serde(rename = "session.kill_user")]
    SessionKillUser {
        /// The user's name.
        user: String,
    },
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `session.list`.
    Sessions {
        /// Always true.
        ok: bool,
        /// Oldest first.
        sessions: Vec<SessionRow>,
        /// Why those of other replicas are missing, for a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<String>,
    },
    /// To `session.kill` and `session.kill_user`.
    Killed {
        /// Always true.
        ok: bool,
        /// How many sessions were told to end.
        killed: usize,
    },
    /// To `status`.
    Status {
        /// Always true.
        ok: bool,
        /// The program's version.
        version: String,
        /// When it started, in seconds since 1970.
        started: i64,
        /// Sessions that are open.
        open_sessions: usize,
    },
    /// To `reload`, where the new configuration is in force.
    Reloaded {
        /// Always true.
        ok: bool,
        /// Sections that differ from before.
        changed: Vec<String>,
        /// Sessions that would not be let in any more, and were told to end.
        ended: usize,
    },
    /// To `reload`, where the old configuration stays in force.
    Rejected {
        /// Always false.
        ok: bool,
        /// Why, in one line.
        error: String,
        /// Every problem, with its place, for a terminal; may be empty.
        report: String,
    },
    /// To anything that cannot be done.
    Error {
        /// Always false.
        ok: bool,
        /// Why, for a person.
        error: String,
    },
}

/// One open session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its id in events and for `session kill`.
    pub id: String,
    /// Who logged in.
    pub user: String,
    /// The account that is open; the user's own, or a shared one.
    pub account: String,
    /// The client's address and port.
    pub client: String,
    /// When it began, in seconds since 1970.
    pub since: i64,
    /// `app_password`, `totp`, `trusted_window`, `exempt` or `not_enrolled`.
    pub second_factor: String,
    /// The app password's id and label, where one was used.
    pub app_password: Option<(String, String)>,
    /// The backend's name.
    pub backend: String,
    /// What the client calls itself.
    pub program: Option<String>,
    /// The replica that it is open at, where there may be several.
    #[serde(default)]
    pub replica: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_replies_read_back_as_what_they_were() {
        for (request, text) in [
            (Request::SessionList, r#"{"do":"session.list"}"#),
            (
                Request::SessionKill { id: "ab".to_owned() },
                r#"{"do":"session.kill","id":"ab"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        }
        let replies = [
            Reply::Sessions {
                ok: true,
                sessions: Vec::new(),
                missing: None,
            },
            Reply::Killed { ok: true, killed: 2 },
            Reply::Status {
                ok: true,
                version: "1".to_owned(),
                started: 5,
                open_sessions: 0,
            },
            Reply::Reloaded {
                ok: true,
                changed: vec!["tls".to_owned()],
                ended: 1,
            },
            Reply::Rejected {
                ok: false,
                error: "no".to_owned(),
                report: "because".to_owned(),
            },
            Reply::Error {
                ok: false,
                error: "no".to_owned(),
            },
        ];
        for reply in replies {
            let text = serde_json::to_string(&reply).unwrap();
            assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
        }
    }
}
