//! Landlock: no file but those that the configuration names, what the name service needs, and what tells of this process;
//! nothing is executed; no further address is listened on.
//!
//! Certificates and rules are replaced by renaming, and by links that move: so the directories are named, not the files, and
//! with each link the directory that it leads into.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use landlock::ABI;
use landlock::Access;
use landlock::AccessFs;
use landlock::AccessNet;
use landlock::BitFlags;
use landlock::CompatLevel;
use landlock::Compatible;
use landlock::Ruleset;
use landlock::RulesetAttr;
use landlock::RulesetCreatedAttr;
use landlock::RulesetError;
use landlock::RulesetStatus;
use landlock::path_beneath_rules;

use crate::config::Config;
use crate::server::build;
use crate::server::harden::links;

/// The newest that we know the meaning of: Linux 6.10.
const KNOWN: ABI = ABI::V5;

/// What is read besides: the name service with its libraries, which it loads when it is first asked; processors and memory
/// that we may use; this process, for metrics.
const SYSTEM: &[&str] = &[
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/run/systemd/resolve",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/dev/urandom",
];

/// Most entries of a directory that are looked at for links: more rule files than these are not read.
const MOST_ENTRIES: usize = 1_000;

pub(super) fn confine(config: &Config, file: Option<&Path>) -> Result<(), String> {
    // Its own mistake is told where the directory is used.
    let _ = build::make_directory(&config.state.data_directory);
    let (read, write) = allowed(config, file);
    if write.contains(Path::new("/")) {
        return Err("a file that is written lies in `/` itself; give it a directory of its own".to_owned());
    }
    let status = restrict(&read, &write).map_err(|error| error.to_string())?;
    match status {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => Err("this kernel knows a part of it only".to_owned()),
        RulesetStatus::NotEnforced => Err("this kernel does not know it, or it is switched off".to_owned()),
    }
}

/// Directories, and files in `/`, to read and to write.
fn allowed(config: &Config, file: Option<&Path>) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let paths = config.paths();
    let mut read: BTreeSet<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    for named in paths.read.iter().map(PathBuf::as_path).chain(file) {
        read.extend(around(named));
    }
    // Where the name service's own file is a link to.
    read.extend(around(Path::new("/etc/resolv.conf")));
    let here = |directory: &PathBuf| match directory.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => directory.clone(),
    };
    (read, paths.write.iter().map(here).collect())
}

/// A file's directory as it is named, and as it is behind links; of a directory, itself as well.
fn around(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = links::leads_into(path);
    let real = path.canonicalize().ok();
    for path in [Some(path.to_owned()), real].into_iter().flatten() {
        if path.is_dir() {
            found.extend(behind_links(&path));
            found.insert(path.clone());
        }
        match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => found.insert(PathBuf::from(".")),
            // Everything would be everything.
            Some(parent) if parent == Path::new("/") => found.insert(path),
            Some(parent) => found.insert(parent.to_owned()),
            None => false,
        };
    }
    found
}

/// Where links in a directory lead to.
fn behind_links(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let links = entries.take(MOST_ENTRIES).filter(|entry| {
        let kind = entry.file_type();
        kind.is_ok_and(|kind| kind.is_symlink())
    });
    let mut found = BTreeSet::new();
    for link in links {
        found.extend(links::leads_into(&link.path()));
        let target = link.path().canonicalize().ok();
        let directory = target.as_deref().and_then(Path::parent);
        found.extend(
            directory
                .filter(|directory| *directory != Path::new("/"))
                .map(Path::to_owned),
        );
    }
    found
}

fn restrict(read: &BTreeSet<PathBuf>, write: &BTreeSet<PathBuf>) -> Result<RulesetStatus, RulesetError> {
    let look: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let keep = look
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeSock
        | AccessFs::MakeDir
        | AccessFs::RemoveFile;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::BindTcp)?
        .create()?
        .add_rules(path_beneath_rules(read, look))?
        .add_rules(path_beneath_rules(write, keep))?
        // Where standard output or error go, if they are opened anew.
        .add_rules(path_beneath_rules(["/dev/null"], look | AccessFs::WriteFile))?;
    Ok(ruleset.restrict_self()?.ruleset)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::TcpListener;
    use std::os::unix::fs::symlink;
    use std::thread;

    use super::*;

    /// It holds for the thread that asks for it: the other tests go on without.
    #[test]
    fn a_confined_thread_reads_and_writes_what_was_named_and_listens_on_nothing() {
        let (named, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("secret"), "x").unwrap();
        let (keep, look) = (named.path().join("keep"), named.path().join("look"));
        fs::create_dir(&keep).unwrap();
        fs::create_dir(&look).unwrap();
        fs::write(look.join("a"), "x").unwrap();
        let unnamed = other.path().join("secret");
        let confined = thread::spawn(move || {
            let status = restrict(&BTreeSet::from([look.clone()]), &BTreeSet::from([keep.clone()]));
            if status.unwrap() != RulesetStatus::FullyEnforced {
                return None; // a kernel without it has nothing to show here; tests/hardening.rs requires it
            }
            fs::read(look.join("a")).unwrap();
            fs::write(keep.join("b"), "x").unwrap();
            fs::rename(keep.join("b"), keep.join("c")).unwrap();
            Some([
                fs::read(unnamed).map(|_| ()),
                fs::write(look.join("b"), "x"),
                TcpListener::bind("127.0.0.1:0").map(|_| ()),
            ])
        });
        for denied in confined.join().unwrap().into_iter().flatten() {
            assert_eq!(denied.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn a_link_is_allowed_where_it_is_and_where_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("live")).unwrap();
        fs::create_dir_all(root.join("archive")).unwrap();
        fs::write(root.join("archive/1.pem"), "x").unwrap();
        symlink(root.join("archive/1.pem"), root.join("live/cert.pem")).unwrap();
        let found = around(&root.join("live/cert.pem"));
        assert_eq!(found, BTreeSet::from([root.join("live"), root.join("archive")]));
        let of_directory = around(&root.join("live"));
        assert!(of_directory.contains(&root.join("live")));
    }

    #[test]
    fn a_file_that_is_written_at_the_root_is_no_confinement() {
        let place = tempfile::tempdir().unwrap();
        let text = format!(
            "data_directory: '{}'\nkey_file: /imapwarden.key\nbackends: [{{address: '127.0.0.1:143'}}]\n",
            place.path().display()
        );
        let config = Config::parse("x", &text, Path::new("")).unwrap();
        let why = confine(&config, None).unwrap_err();
        assert!(why.contains("directory of its own"), "{why}");
    }

    #[test]
    fn links_in_a_directory_of_rules_are_followed() {
        let (rules, shipped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(shipped.path().join("a.yaml"), "x").unwrap();
        symlink(shipped.path().join("a.yaml"), rules.path().join("a.yaml")).unwrap();
        assert!(around(rules.path()).contains(&shipped.path().canonicalize().unwrap()));
    }

    #[test]
    fn a_file_at_the_root_does_not_open_everything() {
        let only = |path: &str| BTreeSet::from([PathBuf::from(path)]);
        assert_eq!(around(Path::new("/cert.pem")), only("/cert.pem"));
        assert_eq!(around(Path::new("cert.pem")), only("."));
    }
}
