//! Every configuration that is shipped loads, and docs/configuration.md says of every key what the code does.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by failing"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use imapwarden::config::Config;
use imapwarden::config::KeyDoc;
use imapwarden::net::certificate::self_signed;
use imapwarden::types::UnixTime;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn examples() -> Vec<PathBuf> {
    let found = fs::read_dir("examples")
        .unwrap()
        .map(|entry| entry.unwrap().path());
    found
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect()
}

/// The files that the examples name, under another root.
fn place_files(root: &Path) {
    let tls = root.join("tls");
    let made = self_signed(&tls, &["mail.example.org".to_owned()], NOW).unwrap();
    fs::rename(&made.files.key, tls.join("privkey.pem")).unwrap();
    for copy in [
        "tls/fullchain.pem",
        "tls/client-ca.pem",
        "tls/client.crl",
        "branch-ca.pem",
        "siem-ca.pem",
    ] {
        fs::copy(&made.files.certificate, root.join(copy)).unwrap();
    }
    fs::create_dir(root.join("geo")).unwrap();
    for database in ["geo/country.mmdb", "geo/asn.mmdb"] {
        fs::copy(Path::new("tests").join(database), root.join(database)).unwrap();
    }
    let password = root.join("master.password");
    fs::write(&password, "correct horse\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o640)).unwrap();
    let secret = root.join("webhook.secret");
    fs::write(&secret, "a secret that nobody guesses\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
}

#[test]
fn every_example_loads_with_the_files_it_names() {
    let dir = tempfile::tempdir().unwrap();
    place_files(dir.path());
    assert!(examples().len() >= 4);
    for example in examples() {
        let text = fs::read_to_string(&example).unwrap();
        let here = text.replace("/etc/imapwarden", &dir.path().display().to_string());
        let path = dir.path().join(example.file_name().unwrap());
        fs::write(&path, here).unwrap();
        let config = Config::load(&path, NOW).unwrap_or_else(|wrong| panic!("{}", wrong.render(100, false)));
        assert!(config.backend_options().is_ok(), "{}", example.display());
        assert!(config.event_options().is_ok(), "{}", example.display());
        assert!(!config.summary().lines.is_empty());
    }
}

#[test]
fn every_yaml_snippet_in_the_docs_loads() {
    let docs = fs::read_dir("docs").unwrap().map(|entry| entry.unwrap().path());
    let mut seen = 0;
    // Rules are no configuration: tests/policies.rs reads them, and runs their tests.
    let docs = docs.filter(|path| !path.ends_with("rules.md"));
    for path in docs.chain([PathBuf::from("README.md")]) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for snippet in text.split("```yaml\n").skip(1) {
            let snippet = snippet.split("```").next().unwrap();
            let name = format!("{} (a snippet)", path.display());
            let whole = if snippet.contains("backends:") {
                snippet.to_owned()
            } else {
                format!("{snippet}\nbackends: [{{address: \"127.0.0.1:143\"}}]\n")
            };
            if let Err(wrong) = Config::parse(&name, &whole, Path::new("")) {
                panic!("{}", wrong.render(100, false));
            }
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen}");
}

#[test]
fn every_key_stands_in_the_docs_with_its_kind_and_default() {
    let text = fs::read_to_string("examples/imapwarden.yaml").unwrap();
    let coded = Config::reference("examples/imapwarden.yaml", &text).unwrap();
    let documented = documented();
    let mut wrong = Vec::new();
    for (key, doc) in &coded {
        match documented.get(key) {
            None => wrong.push(format!(
                "missing: | `{key}` | {} | `{}` | |",
                doc.kind, doc.default
            )),
            Some(row) if row != doc => wrong.push(format!("{key}: the docs say {row:?}, the code {doc:?}")),
            Some(_) => {}
        }
    }
    let gone = documented.keys().filter(|key| !coded.contains_key(*key));
    wrong.extend(gone.map(|key| format!("the docs have {key}, the code has not")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The rows ``| `key` | kind | `default` | meaning |`` of docs/configuration.md.
fn documented() -> BTreeMap<String, KeyDoc> {
    let text = fs::read_to_string("docs/configuration.md").unwrap_or_default();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let key = cells.first()?.strip_prefix('`')?.strip_suffix('`')?;
        assert_eq!(cells.len(), 4, "{line}");
        assert!(!cells[3].is_empty(), "{key}: what does it mean?");
        let doc = KeyDoc {
            kind: cells[1].to_owned(),
            default: cells[2].trim_matches('`').to_owned(),
        };
        Some((key.to_owned(), doc))
    };
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(row)
        .collect()
}
