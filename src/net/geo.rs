//! Countries and network operators of addresses, from local databases in MaxMind's format.
//!
//! The files are the operator's and stay on this machine: nothing is ever looked up elsewhere. They are read into memory as a
//! whole, because a mapped file that somebody truncates ends the process. A database that does not know an address, or has
//! nonsense about it, gives nothing: it never stops a connection.

use std::fs::File;
use std::io;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use maxminddb::MaxMindDbError;
use maxminddb::PathElement;
use maxminddb::Reader;
use maxminddb::WithinOptions;
use thiserror::Error;

use crate::types::Origin;

/// Largest file that is read; the largest that are sold have half of it.
const MAX_FILE: u64 = 1 << 30;

/// How many networks are looked at to see whether a database has what it is used for.
const PROBED: usize = 20_000;

/// Longest name of an operator that is kept, in bytes.
const MAX_NAME: usize = 160;

const COUNTRY: [PathElement<'static>; 2] = [PathElement::Key("country"), PathElement::Key("iso_code")];
const AS_NUMBER: [PathElement<'static>; 1] = [PathElement::Key("autonomous_system_number")];
const AS_ORGANIZATION: [PathElement<'static>; 1] = [PathElement::Key("autonomous_system_organization")];

type Database = Reader<Vec<u8>>;

/// Where the databases are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Has a country for each network, such as GeoLite2-Country.
    pub country_file: Option<PathBuf>,
    /// Has an autonomous system for each network, such as GeoLite2-ASN.
    pub asn_file: Option<PathBuf>,
}

/// Why a database cannot be used.
#[derive(Debug, Error)]
pub enum GeoError {
    /// It is not there or cannot be read.
    #[error("the database {} cannot be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is no database, or a broken one.
    #[error("{} is no MaxMind database", .0.display())]
    Malformed(PathBuf, #[source] MaxMindDbError),
    /// It is a database of something else.
    #[error("the database {} has no {}", .0.display(), .1)]
    Other(PathBuf, &'static str),
}

/// The databases in force. They can be exchanged while addresses are looked up.
#[derive(Debug)]
pub struct Geo {
    state: ArcSwap<State>,
}

/// What [`Geo::put`] can put in force.
#[derive(Debug)]
pub struct Prepared(State);

#[derive(Debug)]
struct State {
    options: Options,
    countries: Option<Database>,
    networks: Option<Database>,
}

impl Geo {
    /// Reads the databases; blocking, and quick.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn new(options: Options) -> Result<Self, GeoError> {
        let state = ArcSwap::from_pointee(State::read(options)?);
        Ok(Self { state })
    }

    /// Reads them again, and uses them from the next look-up on. Blocking, and quick.
    ///
    /// # Errors
    /// As for [`new`](Self::new); what was in force stays in force.
    pub fn reload(&self) -> Result<(), GeoError> {
        self.put(Self::prepare(self.state.load().options.clone())?);
        Ok(())
    }

    /// Reads databases; nothing changes yet. Blocking, and quick.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn prepare(options: Options) -> Result<Prepared, GeoError> {
        State::read(options).map(Prepared)
    }

    /// Uses what was prepared from the next look-up on.
    pub fn put(&self, prepared: Prepared) {
        self.state.store(Arc::new(prepared.0));
    }

    /// True where there is a database at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.state.load().options != Options::default()
    }

    /// What is known of an address.
    #[must_use]
    pub fn origin_of(&self, ip: IpAddr) -> Origin {
        let state = self.state.load();
        let ip = ip.to_canonical();
        let mut origin = Origin::default();
        if let Some(found) = state.countries.as_ref().and_then(|db| db.lookup(ip).ok()) {
            let code: Option<&str> = found.decode_path(&COUNTRY).ok().flatten();
            origin.country = code.filter(|code| is_country(code)).map(Into::into);
        }
        if let Some(found) = state.networks.as_ref().and_then(|db| db.lookup(ip).ok()) {
            let name: Option<&str> = found.decode_path(&AS_ORGANIZATION).ok().flatten();
            origin.as_number = found.decode_path(&AS_NUMBER).ok().flatten();
            origin.as_organization = name.map(|name| shortened(name).into());
        }
        origin
    }
}

impl State {
    fn read(options: Options) -> Result<Self, GeoError> {
        let read = |file: &Option<PathBuf>, field: &[PathElement<'_>], what| {
            file.as_deref()
                .map(|file| read_database(file, field, what))
                .transpose()
        };
        Ok(Self {
            countries: read(&options.country_file, &COUNTRY, "country codes")?,
            networks: read(&options.asn_file, &AS_NUMBER, "numbers of autonomous systems")?,
            options,
        })
    }
}

/// A database that has the field somewhere: who mixes two files up is told at once, and not by events that lack it.
fn read_database(path: &Path, field: &[PathElement<'_>], what: &'static str) -> Result<Database, GeoError> {
    let bytes = read_file(path).map_err(|error| GeoError::Unreadable(path.to_owned(), error))?;
    database_in(bytes, path, field, what)
}

fn database_in(
    bytes: Vec<u8>,
    path: &Path,
    field: &[PathElement<'_>],
    what: &'static str,
) -> Result<Database, GeoError> {
    let malformed = |error| GeoError::Malformed(path.to_owned(), error);
    let database = Reader::from_source(bytes).map_err(malformed)?;
    let options = WithinOptions::default().include_networks_without_data();
    let mut has_it = false;
    for network in database.networks(options).map_err(malformed)?.take(PROBED) {
        if has_field(&network.map_err(malformed)?, field).map_err(malformed)? {
            has_it = true;
            break;
        }
    }
    match has_it {
        true => Ok(database),
        false => Err(GeoError::Other(path.to_owned(), what)),
    }
}

fn has_field(
    network: &maxminddb::LookupResult<'_, Vec<u8>>,
    field: &[PathElement<'_>],
) -> Result<bool, MaxMindDbError> {
    // Text or number: it is there.
    match network.decode_path::<serde::de::IgnoredAny>(field)? {
        Some(_) => Ok(true),
        None => Ok(false),
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let invalid = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        // Opening a pipe would wait for its other end.
        return Err(invalid("it is a directory or a device, not a file"));
    }
    if metadata.len() > MAX_FILE {
        return Err(invalid("it is larger than 1GiB"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_country(code: &str) -> bool {
    code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn shortened(name: &str) -> &str {
    let end = name.floor_char_boundary(MAX_NAME);
    name.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::fs;

    use super::*;

    fn options(country: &str, asn: &str) -> Options {
        Options {
            country_file: Some(country.into()),
            asn_file: Some(asn.into()),
        }
    }

    fn origin(geo: &Geo, ip: &str) -> (String, u32, String) {
        let found = geo.origin_of(ip.parse().unwrap());
        (
            found.country.unwrap_or_default().into(),
            found.as_number.unwrap_or_default(),
            found.as_organization.unwrap_or_default().into(),
        )
    }

    #[test]
    fn addresses_have_the_country_and_operator_of_their_network() {
        let geo = Geo::new(options("tests/geo/country.mmdb", "tests/geo/asn.mmdb")).unwrap();
        assert!(geo.is_on());
        for (ip, country, number, name) in [
            ("192.0.2.7", "DE", 64501, "Example Net Zürich"),
            ("::ffff:192.0.2.7", "DE", 64501, "Example Net Zürich"),
            ("198.51.100.127", "NL", 0, ""),
            ("198.51.100.128", "", 0, ""),
            ("2001:db8:9::1", "FR", 4_200_000_000, "Example Six"),
            ("2001:db9::1", "", 0, ""),
            ("203.0.113.1", "", 0, ""),
        ] {
            assert_eq!(
                origin(&geo, ip),
                (country.to_owned(), number, name.to_owned()),
                "{ip}"
            );
        }
    }

    #[test]
    fn without_databases_nothing_is_known() {
        let geo = Geo::new(Options::default()).unwrap();
        assert!(!geo.is_on() && geo.reload().is_ok());
        assert_eq!(geo.origin_of("192.0.2.7".parse().unwrap()), Origin::default());
    }

    fn told(options: Options) -> String {
        let error = Geo::new(options).unwrap_err();
        let source = error
            .source()
            .map_or(String::new(), |source| format!(": {source}"));
        format!("{error}{source}")
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let swapped = options("tests/geo/asn.mmdb", "tests/geo/country.mmdb");
        assert_eq!(
            told(swapped),
            "the database tests/geo/asn.mmdb has no country codes"
        );
        let text = options("tests/geo/make.py", "tests/geo/asn.mmdb");
        assert!(
            told(text).starts_with("tests/geo/make.py is no MaxMind database: invalid database"),
            "{}",
            told(options("tests/geo/make.py", ""))
        );
        let missing = options("tests/geo/nowhere.mmdb", "tests/geo/asn.mmdb");
        assert!(told(missing).starts_with("the database tests/geo/nowhere.mmdb cannot be read: "));
        let directory = options("tests/geo", "tests/geo/asn.mmdb");
        assert!(told(directory).ends_with("not a file"));
        assert!(told(options("/dev/zero", "tests/geo/asn.mmdb")).ends_with("not a file"));
    }

    #[test]
    fn a_reload_takes_the_new_file_and_a_bad_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("asn.mmdb");
        let good = fs::read("tests/geo/asn.mmdb").unwrap();
        fs::write(&file, &good).unwrap();
        let geo = Geo::new(options("tests/geo/country.mmdb", file.to_str().unwrap())).unwrap();
        fs::write(&file, &good[..good.len() / 2]).unwrap();
        assert!(geo.reload().is_err());
        assert_eq!(origin(&geo, "192.0.2.7").1, 64501);
        let text = b"Example Net".as_slice();
        let at = good.windows(text.len()).position(|part| part == text).unwrap();
        let mut changed = good.clone();
        changed[at..at + 7].copy_from_slice(b"Another");
        fs::write(&file, changed).unwrap();
        geo.reload().unwrap();
        assert_eq!(origin(&geo, "192.0.2.7").2, "Another Net Zürich");
    }

    #[test]
    fn no_changed_byte_makes_reading_or_looking_up_panic() {
        let good = fs::read("tests/geo/country.mmdb").unwrap();
        let ips = ["192.0.2.7", "127.0.0.1", "2001:db8::1", "::"].map(|ip| ip.parse().unwrap());
        let mut readable = 0;
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= [0x20, 0x80, 0xff][at % 3];
            for bytes in [changed, good[..at].to_vec()] {
                let Ok(database) = database_in(bytes, Path::new("x"), &COUNTRY, "country codes") else {
                    continue;
                };
                readable += 1;
                let state = State {
                    options: Options::default(),
                    countries: Some(database),
                    networks: None,
                };
                let geo = Geo {
                    state: ArcSwap::from_pointee(state),
                };
                let _ = ips.map(|ip| geo.origin_of(ip));
            }
        }
        assert!((1..good.len()).contains(&readable), "{readable}");
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(shortened("Example"), "Example");
        assert_eq!(shortened(&"ü".repeat(100)).len(), 160);
        let odd = format!("x{}", "ü".repeat(100));
        assert_eq!(shortened(&odd).len(), 159);
        assert!(is_country("DE") && !is_country("de") && !is_country("DEU") && !is_country(""));
    }
}
