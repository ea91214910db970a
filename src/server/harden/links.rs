//! Where the links of a path lead into, and where they may lead into when they have moved.
//!
//! A renewed certificate is put beside the old one, and a link is turned: `live/cert.pem` from `archive/cert1.pem` to
//! `archive/cert2.pem` (certbot), `..data` from one directory to another one beside it (Kubernetes), `live/host` from
//! `certs/A` to `certs/B`, in which a link to the key leads to `keys/B` (acmetool). So what a link leads to may be replaced by
//! anything in the same directory.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

/// Most links of one path, as the kernel has it.
const MOST_LINKS: usize = 40;

/// A part of a path that is yet to be walked.
struct Step {
    name: OsString,
    leads: Leads,
}

/// Whether a part is the last one of what a link says.
#[derive(Clone, Copy)]
enum Leads {
    No,
    /// Another file or directory beside it may take its place.
    Here,
    /// The link is another one once a link before it has moved: another directory beside this one may take its place.
    Beside,
}

/// The directories, without links in them, that what the links of a path lead to is in or may be in. Never `/` and, for this
/// alone, no directory right in it: too much would be readable.
pub(super) fn leads_into(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let Ok(path) = std::path::absolute(path) else {
        return found;
    };
    let mut at = PathBuf::from("/");
    let mut todo: VecDeque<Step> = steps(&path, Leads::No).into();
    let (mut links, mut has_moving) = (0, false);
    while let Some(Step { name, leads }) = todo.pop_front() {
        let (here, beside) = match leads {
            Leads::No => (None, None),
            Leads::Here => (Some(&*at), None),
            Leads::Beside => (Some(&*at), at.parent()),
        };
        let directories = here
            .into_iter()
            .chain(beside)
            .filter(|directory| is_deep(directory));
        found.extend(directories.map(Path::to_owned));
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(name);
        let Ok(target) = fs::read_link(&at) else {
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            break;
        }
        if target.is_absolute() {
            at = PathBuf::from("/");
        } else {
            at.pop();
        }
        let leads = if has_moving { Leads::Beside } else { Leads::Here };
        // Whatever comes behind a link is in the directory that it leads to.
        has_moving |= !todo.is_empty();
        for step in steps(&target, leads).into_iter().rev() {
            todo.push_front(step);
        }
    }
    found
}

/// The parts of a path; `leads` is for the last one.
fn steps(path: &Path, leads: Leads) -> Vec<Step> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let plain = |name| Step {
        name,
        leads: Leads::No,
    };
    let mut steps: Vec<Step> = names.map(plain).collect();
    if let Some(last) = steps.last_mut() {
        last.leads = leads;
    }
    steps
}

fn is_deep(directory: &Path) -> bool {
    directory.components().count() > 2
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// Files, and links with what they say.
    fn tree(files: &[&str], links: &[(&str, &str)]) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let in_its_directory = |path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        for file in files {
            fs::write(in_its_directory(file), "x").unwrap();
        }
        for (link, says) in links {
            symlink(says, in_its_directory(link)).unwrap();
        }
        (dir, root)
    }

    fn leads(root: &Path, path: &str, into: &[&str]) {
        let expected: BTreeSet<PathBuf> = into.iter().map(|into| root.join(into)).collect();
        assert_eq!(leads_into(&root.join(path)), expected, "{path}");
    }

    #[test]
    fn a_plain_file_leads_nowhere() {
        let (_dir, root) = tree(&["certs/a.pem"], &[]);
        leads(&root, "certs/a.pem", &[]);
        leads(&root, "certs/none.pem", &[]);
    }

    #[test]
    fn a_file_behind_a_link_may_be_replaced_by_another_one_beside_it() {
        let (_dir, root) = tree(
            &["archive/host/cert1.pem"],
            &[("live/host/cert.pem", "../../archive/host/cert1.pem")],
        );
        leads(&root, "live/host/cert.pem", &["archive/host"]);
    }

    #[test]
    fn a_directory_behind_a_link_may_be_replaced_with_the_links_in_it() {
        let (_dir, root) = tree(
            &["certs/A/cert", "keys/A/privkey"],
            &[
                ("live/host", "../certs/A"),
                ("certs/A/privkey", "../../keys/A/privkey"),
            ],
        );
        leads(&root, "live/host/cert", &["certs"]);
        leads(&root, "live/host/privkey", &["certs", "keys/A", "keys"]);
    }

    #[test]
    fn a_secret_of_kubernetes_stays_where_it_is() {
        let (_dir, root) = tree(
            &["tls/..2026_01/tls.crt"],
            &[("tls/..data", "..2026_01"), ("tls/tls.crt", "..data/tls.crt")],
        );
        leads(&root, "tls/tls.crt", &["tls", "tls/..2026_01"]);
    }

    #[test]
    fn links_in_a_circle_and_links_to_the_root_open_nothing_more() {
        let (_dir, root) = tree(
            &[],
            &[("a", "b"), ("b", "a"), ("c", "/tmp"), ("d", "/"), ("e", "..")],
        );
        for path in ["a", "c", "d", "c/x", "d/x", "e"] {
            let found = leads_into(&root.join(path));
            assert!(
                found.is_subset(&BTreeSet::from([root.clone()])),
                "{path}: {found:?}"
            );
        }
    }
}
