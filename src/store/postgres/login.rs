//! What a login attempt and live sessions need to know, in SQL.

use std::collections::HashMap;
use std::sync::LazyLock;

use tokio_postgres::types::ToSql;

use crate::store::AppPassword;
use crate::store::Before;
use crate::store::Found;
use crate::store::Habits;
use crate::store::Heard;
use crate::store::Lookup;
use crate::store::Standing;
use crate::store::Subject;
use crate::store::User;
use crate::store::postgres::error::Trouble;
use crate::store::postgres::failures;
use crate::store::postgres::habits;
use crate::store::postgres::keys;
use crate::store::postgres::pool::Reader;
use crate::store::postgres::replicas;
use crate::store::postgres::rows;
use crate::store::postgres::rows::APP_PASSWORD;
use crate::store::postgres::rows::From;
use crate::store::postgres::rows::TOTP;
use crate::store::postgres::rows::USER;
use crate::store::postgres::rows::WINDOW;
use crate::types::Elsewhere;

/// One statement, which joins whatever there is: an unknown user costs what a known one does, and all is of one moment.
static LOOK_UP: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {user}, {owner}, {account}, {app_password}, {totp}, {window},
             EXISTS (SELECT 1 FROM app_passwords AS live
                     WHERE live.username = $1 AND live.revoked IS NULL AND (live.expires IS NULL OR live.expires > $4)),
             e.of_user, e.of_network, ({key}),
             ARRAY (SELECT n.name FROM users AS n WHERE lower(n.name) = $7 LIMIT 2)
         FROM (SELECT 1) AS one
         LEFT JOIN users AS u ON u.name = $1
         LEFT JOIN app_passwords AS p ON p.id = $2
         LEFT JOIN users AS o ON o.name = p.username
         LEFT JOIN users AS a ON a.name = p.account
         LEFT JOIN totp AS t ON t.username = $1
         LEFT JOIN trusted_windows AS w ON w.key = $3
         LEFT JOIN LATERAL ({elsewhere}) AS e ON true",
        user = rows::columns("u", &USER),
        owner = rows::columns("o", &USER),
        account = rows::columns("a", &USER),
        app_password = rows::columns("p", &APP_PASSWORD),
        totp = rows::columns("t", &TOTP),
        window = rows::columns("w", &WINDOW),
        elsewhere = replicas::elsewhere(),
        key = keys::IN_FORCE,
    )
});

pub(super) async fn look_up(db: &Reader<'_>, lookup: &Lookup) -> Result<Found, Trouble> {
    // All statements are on their way at once.
    let (found, heard, habits) = tokio::join!(find(db, lookup), hear(db, lookup), recall(db, lookup));
    Ok(Found {
        heard: heard?,
        habits: habits?,
        ..found?
    })
}

async fn recall(db: &Reader<'_>, lookup: &Lookup) -> Result<Option<Habits>, Trouble> {
    match &lookup.visit {
        Some(visit) => habits::of_visit(db, visit).await.map(Some),
        None => Ok(None),
    }
}

async fn hear(db: &Reader<'_>, lookup: &Lookup) -> Result<Heard, Trouble> {
    match &lookup.before {
        Before::Nothing => Ok(Heard::default()),
        Before::Source { names, since } => Ok(Heard {
            knows_source: habits::knows_source(db, &lookup.user, names, *since).await?,
            ..Heard::default()
        }),
        Before::Replicas(asked) => failures::hear(db, &lookup.user, asked).await,
    }
}

async fn find(db: &Reader<'_>, lookup: &Lookup) -> Result<Found, Trouble> {
    // Ids have 30 bits: the one asked for where there is none cannot exist.
    let id = i64::from(lookup.app_password.unwrap_or(u32::MAX));
    let window = lookup.window.unwrap_or_default();
    let counted = lookup.counted;
    let but_of = counted.map_or(0, |counted| counted.but_of.0.cast_signed());
    let from = counted.map_or_else(String::new, |counted| counted.from.to_string());
    let row = db
        .row(
            &LOOK_UP,
            &[
                &lookup.user.as_str(),
                &id,
                &window.as_slice(),
                &lookup.now.0,
                &but_of,
                &from,
                &lookup.user.folded(),
            ],
        )
        .await?;
    let Some(row) = row else {
        return Ok(Found::default());
    };
    let user = From::start(&row);
    let owner = user.behind(USER.len());
    let account = owner.behind(USER.len());
    let app_password = account.behind(USER.len());
    let totp = app_password.behind(APP_PASSWORD.len());
    let window = totp.behind(TOTP.len());
    Ok(Found {
        key: window.maybe_hash(WINDOW.len() + 3)?,
        user: rows::maybe_user(user)?,
        namesakes: window.names(WINDOW.len() + 4)?,
        owner: rows::maybe_user(owner)?,
        account: rows::maybe_user(account)?,
        app_password: rows::maybe_app_password(app_password)?,
        totp: rows::maybe_totp(totp)?,
        window: rows::maybe_window(window)?.filter(|_| lookup.window.is_some()),
        has_app_passwords: window.get(WINDOW.len())?,
        elsewhere: match counted {
            Some(_) => replicas::counted(window.behind(WINDOW.len() + 1))?,
            None => Elsewhere::default(),
        },
        heard: Heard::default(),
        habits: None,
    })
}

static USERS: LazyLock<String> = LazyLock::new(|| {
    let columns = rows::columns("users", &USER);
    format!("SELECT {columns} FROM users WHERE name = ANY ($1)")
});

static APP_PASSWORDS: LazyLock<String> = LazyLock::new(|| {
    let columns = rows::columns("app_passwords", &APP_PASSWORD);
    format!("SELECT {columns} FROM app_passwords WHERE id = ANY ($1)")
});

/// What live sessions stand on now: two statements, however many there are.
pub(super) async fn standing(db: &Reader<'_>, subjects: &[Subject]) -> Result<Vec<Standing>, Trouble> {
    let mut names: Vec<&str> = subjects
        .iter()
        .flat_map(|subject| [subject.user.as_str(), subject.account.as_str()])
        .collect();
    names.sort_unstable();
    names.dedup();
    let ids: Vec<i64> = subjects
        .iter()
        .filter_map(|subject| subject.app_password.map(i64::from))
        .collect();
    let (by_names, by_ids): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) = ([&names], [&ids]);
    let (users, app_passwords) =
        tokio::try_join!(db.rows(&USERS, &by_names), db.rows(&APP_PASSWORDS, &by_ids))?;
    let mut by_name: HashMap<String, User> = HashMap::new();
    for row in &users {
        let user = rows::user(From::start(row))?;
        by_name.insert(user.name.as_str().to_owned(), user);
    }
    let mut by_id: HashMap<u32, AppPassword> = HashMap::new();
    for row in &app_passwords {
        let found = rows::app_password(From::start(row))?;
        by_id.insert(found.id, found);
    }
    let standing = |subject: &Subject| Standing {
        user: by_name.get(subject.user.as_str()).cloned(),
        account: by_name.get(subject.account.as_str()).cloned(),
        app_password: subject.app_password.and_then(|id| by_id.get(&id).cloned()),
    };
    Ok(subjects.iter().map(standing).collect())
}
