//! How users usually come and what they usually do, in SQL.

use std::sync::LazyLock;

use tokio_postgres::types::ToSql;

use crate::store::Averages;
use crate::store::Habit;
use crate::store::Habits;
use crate::store::Visit;
use crate::store::bounds;
use crate::store::day_of;
use crate::store::postgres::error::Trouble;
use crate::store::postgres::pool::Reader;
use crate::store::postgres::pool::Writer;
use crate::store::postgres::rows;
use crate::store::postgres::rows::From;
use crate::types::Amounts;
use crate::types::Measure;
use crate::types::UnixTime;
use crate::types::UserName;

/// Columns of `usage`, in the order of `Measure::ALL`.
pub(super) const USAGE: &str =
    "fetched_bytes, fetched_messages, appended_bytes, appended_messages, commands, logins";

/// Everything but the averages, in one statement that asks the same whoever comes.
static VISIT: LazyLock<String> = LazyLock::new(|| {
    let kind = |kind: &str, value: &str| {
        let of_kind = format!("SELECT 1 FROM habits WHERE username = $1 AND kind = '{kind}'");
        format!("EXISTS ({of_kind} AND value {value} AND last_seen >= $3), EXISTS ({of_kind})")
    };
    format!(
        "SELECT EXISTS (SELECT 1 FROM networks WHERE network = ANY ($2) AND last_seen >= $3),
             {network}, {country}, {asn}, {family}, {tls},
             (SELECT last FROM logins WHERE username = $1),
             p.created, p.last_used, a.opened, a.bytes_left, a.network, a.family, a.ended
         FROM (SELECT 1) AS one
         LEFT JOIN app_passwords AS p ON p.id = $9
         LEFT JOIN allowances AS a ON a.app_password = p.id",
        network = kind("network", "= ANY ($4)"),
        country = kind("country", "= $5"),
        asn = kind("asn", "= $6"),
        family = kind("family", "= $7"),
        tls = kind("tls", "= $8"),
    )
});

static DAYS: LazyLock<String> =
    LazyLock::new(|| format!("SELECT day, {USAGE} FROM usage WHERE username = $1 AND day BETWEEN $2 AND $3"));

pub(super) async fn of_visit(db: &Reader<'_>, visit: &Visit) -> Result<Habits, Trouble> {
    let user = visit.user.as_str();
    let country = visit.country.clone().map(Habit::Country);
    let asn = visit.asn.map(Habit::Asn);
    let family = visit.family.clone().map(Habit::Family);
    let tls_client = visit.tls_client.clone().map(Habit::TlsClient);
    let (country, asn, family) = (country.as_ref(), asn.as_ref(), family.as_ref());
    let value = |habit: Option<&Habit>| habit.map(|habit| habit.value().into_owned()).unwrap_or_default();
    // Ids have 30 bits: the one asked for where there is none cannot exist.
    let id = i64::from(visit.app_password.unwrap_or(u32::MAX));
    let today = day_of(visit.now);
    let (first, last) = Averages::days_before(today);
    let (anybodys, network) = (bytes_of(&visit.anybodys_network), bytes_of(&visit.network));
    let (country_value, asn_value, family_value) = (value(country), value(asn), value(family));
    let tls_value = value(tls_client.as_ref());
    let asked: [&(dyn ToSql + Sync); 9] = [
        &user,
        &anybodys,
        &visit.since.0,
        &network,
        &country_value,
        &asn_value,
        &family_value,
        &tls_value,
        &id,
    ];
    let between: [&(dyn ToSql + Sync); 3] = [&user, &first, &last];
    let (found, days) = tokio::try_join!(db.row(&VISIT, &asked), db.rows(&DAYS, &between))?;
    let Some(found) = found else {
        return Ok(Habits::default());
    };
    let row = From::start(&found);
    // Nothing is new where there is nothing to ask for, or no habit of the kind to compare it with.
    let is_new = |column: usize, asked: bool| -> Result<Option<bool>, Trouble> {
        let (has_it, has_any): (bool, bool) = (row.get(column)?, row.behind(1).get(column)?);
        Ok((has_any && asked).then_some(!has_it))
    };
    let mut averages = Averages::default();
    for day in &days {
        let day = From::start(day);
        let mut amounts = Amounts::default();
        for (measure, column) in Measure::ALL.into_iter().zip(1..) {
            amounts.add(measure, day.count(column)?);
        }
        averages.add(day.get(0)?, today, &amounts);
    }
    Ok(Habits {
        is_known_network: row.get(0)?,
        is_new_network: is_new(1, true)?,
        is_new_country: is_new(3, country.is_some())?,
        is_new_asn: is_new(5, asn.is_some())?,
        is_new_family: is_new(7, family.is_some())?,
        is_new_tls_client: is_new(9, tls_client.is_some())?,
        last_login: row.time(11)?,
        app_password: rows::app_password_use(row.behind(12))?,
        averages,
    })
}

pub(super) async fn knows_source(
    db: &Reader<'_>,
    user: &UserName,
    source: &[[u8; 32]],
    since: UnixTime,
) -> Result<bool, Trouble> {
    let sql = "SELECT EXISTS (SELECT 1 FROM habits
                              WHERE username = $1 AND kind = 'network' AND value = ANY ($2) AND last_seen >= $3)";
    let row = db
        .row(sql, &[&user.as_str(), &bytes_of(source), &since.0])
        .await?;
    row.map_or(Ok(false), |row| From::start(&row).get(0))
}

/// Keyed hashes as an array of the engine's.
pub(super) fn bytes_of(names: &[[u8; 32]]) -> Vec<&[u8]> {
    names.iter().map(<[u8; 32]>::as_slice).collect()
}

/// The habits alone: for a user who begins anew.
pub(super) async fn forget_habits(db: &Writer<'_>, user: &UserName) -> Result<(), Trouble> {
    forget_in(db, "DELETE FROM habits WHERE username = $1", user).await
}

/// Everything: for a user who is removed.
pub(super) async fn forget(db: &Writer<'_>, user: &UserName) -> Result<(), Trouble> {
    forget_habits(db, user).await?;
    forget_in(db, "DELETE FROM logins WHERE username = $1", user).await?;
    forget_in(db, "DELETE FROM usage WHERE username = $1", user).await
}

async fn forget_in(db: &Writer<'_>, sql: &str, user: &UserName) -> Result<(), Trouble> {
    db.execute(sql, &[&user.as_str()]).await?;
    Ok(())
}

pub(super) async fn sweep(db: &Writer<'_>, now: UnixTime) -> Result<(), Trouble> {
    let ago = |span: i64| now.0.saturating_sub(span);
    let oldest = day_of(now).saturating_sub(bounds::USAGE_DAYS);
    for (sql, than) in [
        ("DELETE FROM habits WHERE last_seen < $1", ago(bounds::HABIT_LIFE)),
        ("DELETE FROM logins WHERE last < $1", ago(bounds::LOGIN_LIFE)),
        (
            "DELETE FROM networks WHERE last_seen < $1",
            ago(bounds::HABIT_LIFE),
        ),
        (
            "DELETE FROM networks WHERE last_seen <
             (SELECT last_seen FROM networks ORDER BY last_seen DESC LIMIT 1 OFFSET $1)",
            bounds::NETWORKS,
        ),
        ("DELETE FROM usage WHERE day < $1", oldest),
    ] {
        db.execute(sql, &[&than]).await?;
    }
    Ok(())
}
