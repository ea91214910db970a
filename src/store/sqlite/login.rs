//! What a login attempt and a live session need to know, in SQL.

use rusqlite::Connection;

use crate::store::Before;
use crate::store::Found;
use crate::store::Heard;
use crate::store::Lookup;
use crate::store::Standing;
use crate::store::Subject;
use crate::store::sqlite::app_passwords;
use crate::store::sqlite::failures;
use crate::store::sqlite::habits;
use crate::store::sqlite::keys;
use crate::store::sqlite::replicas;
use crate::store::sqlite::users;
use crate::store::sqlite::windows;
use crate::types::Elsewhere;

/// Every statement runs, whatever the ones before it found: an unknown user costs what a known one does.
pub(super) fn look_up(db: &Connection, lookup: &Lookup) -> rusqlite::Result<Found> {
    let user = users::one(db, &lookup.user)?;
    let namesakes = users::namesakes(db, &lookup.user)?;
    let totp = users::totp(db, &lookup.user)?;
    let live = app_passwords::live(db, &lookup.user, lookup.now)?;
    // Ids have 30 bits: the one asked for where there is none cannot exist.
    let app_password = app_passwords::one(db, lookup.app_password.unwrap_or(u32::MAX))?;
    let owner = app_password.as_ref().map_or(&lookup.user, |found| &found.user);
    let owner = users::one(db, owner)?;
    let account = app_password.as_ref().map_or(&lookup.user, |found| &found.account);
    let account = users::one(db, account)?;
    let window = windows::one(db, &lookup.window.unwrap_or_default())?;
    let counted = app_password.as_ref().map_or(&lookup.user, |found| &found.user);
    let elsewhere = match lookup.counted {
        Some(what) => replicas::elsewhere(db, counted, what)?,
        None => Elsewhere::default(),
    };
    let heard = match &lookup.before {
        Before::Nothing => Heard::default(),
        Before::Source { names, since } => Heard {
            knows_source: habits::knows_source(db, &lookup.user, names, *since)?,
            ..Heard::default()
        },
        Before::Replicas(asked) => failures::hear(db, &lookup.user, asked)?,
    };
    let visit = lookup.visit.as_deref();
    let habits = visit.map(|visit| habits::of_visit(db, visit)).transpose()?;
    Ok(Found {
        key: keys::in_force(db)?,
        user,
        namesakes,
        totp,
        has_app_passwords: live > 0,
        owner: owner.filter(|_| app_password.is_some()),
        account: account.filter(|_| app_password.is_some()),
        app_password,
        window: window.filter(|_| lookup.window.is_some()),
        elsewhere,
        heard,
        habits,
    })
}

/// What a live session stands on now.
pub(super) fn standing(db: &Connection, subject: &Subject) -> rusqlite::Result<Standing> {
    Ok(Standing {
        user: users::one(db, &subject.user)?,
        account: users::one(db, &subject.account)?,
        app_password: match subject.app_password {
            Some(id) => app_passwords::one(db, id)?,
            None => None,
        },
    })
}
