//! Trusted windows, in SQL.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::store::NewWindow;
use crate::store::Window;
use crate::store::postgres::error::Trouble;
use crate::store::postgres::pool::Reader;
use crate::store::postgres::pool::Writer;
use crate::store::postgres::rows;
use crate::store::postgres::rows::From;
use crate::types::UnixTime;
use crate::types::UserName;

/// Adds a pending window, and makes room: dead windows of the user go, then the least recently used. The user's row is
/// held, and that of the one-time secret locked.
pub(super) async fn insert(db: &Writer<'_>, user: &UserName, window: &NewWindow) -> Result<(), Trouble> {
    let (user, key) = (user.as_str(), window.key.as_slice());
    db.execute(
        "DELETE FROM trusted_windows WHERE username = $1 AND (expires <= $2 OR last_used < $3)",
        &[&user, &window.opened.0, &window.idle_since.0],
    )
    .await?;
    db.execute(
        "INSERT INTO trusted_windows (key, username, open, opened, expires, last_used)
         VALUES ($1, $2, false, $3, $4, $3)
         ON CONFLICT (key) DO UPDATE SET username = excluded.username, open = false, opened = excluded.opened,
             expires = excluded.expires, last_used = excluded.last_used",
        &[&key, &user, &window.opened.0, &window.expires.0],
    )
    .await?;
    db.execute(
        "DELETE FROM trusted_windows WHERE username = $1 AND key NOT IN
         (SELECT key FROM trusted_windows WHERE username = $1 ORDER BY key = $2 DESC, last_used DESC LIMIT $3)",
        &[&user, &key, &i64::from(window.keep)],
    )
    .await?;
    Ok(())
}

/// Those asked for, in that order.
pub(super) async fn by_keys(db: &Reader<'_>, keys: &[[u8; 32]]) -> Result<Vec<Option<Window>>, Trouble> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let columns = rows::columns("trusted_windows", &rows::WINDOW);
        format!("SELECT key, {columns} FROM trusted_windows WHERE key = ANY ($1)")
    });
    let asked: Vec<&[u8]> = keys.iter().map(<[u8; 32]>::as_slice).collect();
    let found = db.rows(&SQL, &[&asked]).await?;
    let mut by_key: HashMap<[u8; 32], Window> = HashMap::new();
    for row in &found {
        let row = From::start(row);
        if let Some(window) = rows::maybe_window(row.behind(1))? {
            by_key.insert(row.hash(0)?, window);
        }
    }
    Ok(keys.iter().map(|key| by_key.get(key).cloned()).collect())
}

/// Only a pending window opens, and only one that is still there: what a reset removed stays removed.
pub(super) async fn open(
    db: &Writer<'_>,
    key: &[u8; 32],
    now: UnixTime,
    expires: UnixTime,
) -> Result<bool, Trouble> {
    let sql = "UPDATE trusted_windows SET open = true, expires = $3, last_used = greatest(last_used, $2)
               WHERE key = $1 AND NOT open";
    let opened = db.execute(sql, &[&key.as_slice(), &now.0, &expires.0]).await?;
    Ok(opened == 1)
}

pub(super) async fn close(db: &Writer<'_>, key: &[u8; 32]) -> Result<bool, Trouble> {
    let sql = "DELETE FROM trusted_windows WHERE key = $1";
    Ok(db.execute(sql, &[&key.as_slice()]).await? == 1)
}

pub(super) async fn close_all(db: &Writer<'_>, user: &UserName) -> Result<u32, Trouble> {
    let sql = "DELETE FROM trusted_windows WHERE username = $1";
    let closed = db.execute(sql, &[&user.as_str()]).await?;
    Ok(u32::try_from(closed).unwrap_or(u32::MAX))
}
