//! What benches/peers measures with: the tool's own tests, a short run of every scenario, and the configuration of imapwarden.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a fault must fail the test; the tool's modules are made for a program of its own"
)]

#[path = "../benches/peers/accounts.rs"]
mod accounts;
#[path = "../benches/peers/backend.rs"]
#[allow(dead_code, reason = "started in another way here")]
mod backend;
#[path = "../benches/peers/client.rs"]
mod client;
#[path = "../benches/peers/content.rs"]
mod content;
#[path = "../benches/peers/histogram.rs"]
mod histogram;
#[path = "../benches/peers/idle.rs"]
mod idle;
#[path = "../benches/peers/load.rs"]
mod load;
#[path = "../benches/peers/process.rs"]
mod process;
#[path = "../benches/peers/pump.rs"]
mod pump;
#[path = "../benches/peers/reader.rs"]
mod reader;
#[path = "../benches/peers/relay.rs"]
#[allow(dead_code, reason = "started in another way here")]
mod relay;
#[path = "../benches/peers/report.rs"]
mod report;
#[path = "../benches/peers/socket.rs"]
#[allow(dead_code, reason = "the tool's own process needs more")]
mod socket;
#[path = "../benches/peers/steady.rs"]
mod steady;
#[path = "../benches/peers/tls.rs"]
mod tls;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use clap::Parser;
use imapwarden::net::certificate::self_signed;
use imapwarden::server::clock;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::task::spawn_local;

/// What the load is told on its command line.
#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    load: load::Arguments,
}

fn certificate(dir: &TempDir) -> (std::path::PathBuf, std::path::PathBuf) {
    let made = self_signed(&dir.path().join("tls"), &["localhost".to_owned()], clock::unix()).unwrap();
    (made.files.certificate, made.files.key)
}

/// Runs a scenario against the tool's own backend, through its relay or not.
fn run(options: &str, through_relay: bool) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(&dir);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    LocalSet::new().block_on(&runtime, async {
        let listener = socket::listen(any).unwrap();
        let mut address = listener.local_addr().unwrap();
        spawn_local(backend::serve_all(listener));
        if through_relay {
            let listener = socket::listen(any).unwrap();
            let config = tls::server(&certificate, &key).unwrap();
            let before = address;
            address = listener.local_addr().unwrap();
            spawn_local(relay::serve_all(listener, before, config));
        }
        let plain = if through_relay { "" } else { "--plain" };
        let own = std::process::id();
        let words = format!(
            "load --address {address} --seconds 0.3 --warm-up 0.1 --processes {own} {plain} {options}"
        );
        let arguments = CommandLine::try_parse_from(words.split_whitespace()).unwrap();
        load::run(arguments.load).await.unwrap()
    })
}

#[test]
fn every_scenario_runs_through_tls_and_finds_every_byte_as_it_was_sent() {
    for options in [
        "--scenario login --sessions 4",
        "--scenario login --sessions 4 --resume",
        "--scenario noop --sessions 3 --depth 4",
        "--scenario fetch-bulk --sessions 1",
        "--scenario fetch-small --sessions 2 --depth 16",
        "--scenario envelope --sessions 2",
        "--scenario append --sessions 2",
        "--scenario idle --sessions 40 --prefetch 2",
    ] {
        assert!(run(options, true), "{options}");
    }
    assert!(run("--scenario envelope --sessions 1", false), "without TLS");
}

#[test]
fn the_scenarios_that_are_compared_are_options_that_the_load_has() {
    let text = fs::read_to_string("benches/peers/table.py").unwrap();
    let mut seen = 0;
    for part in text.split(": scenario(\"").skip(1) {
        let options = part.split('"').next().unwrap();
        let words = format!("load --address 127.0.0.1:1 --scenario {options}");
        assert!(CommandLine::try_parse_from(words.split(' ')).is_ok(), "{words}");
        seen += 1;
    }
    assert!(seen >= 12, "{seen}");
}

#[test]
fn the_configuration_that_is_measured_is_right_and_turns_nothing_off() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(&dir);
    fs::copy(certificate, dir.path().join("certificate.pem")).unwrap();
    fs::copy(key, dir.path().join("key.pem")).unwrap();
    let password = dir.path().join("master.password");
    fs::write(&password, "master-password\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let file = dir.path().join("imapwarden.yaml");
    let text = fs::read_to_string("benches/peers/imapwarden.yaml").unwrap();
    for word in ["packs:", "disable:", "mode:", "off", "exempt"] {
        assert!(!text.contains(word), "{word}");
    }
    fs::write(&file, text).unwrap();
    let checked = Command::new(env!("CARGO_BIN_EXE_imapwarden"))
        .args(["check", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

/// A line of results.jsonl.
fn result(peer: &str, round: u32, cpu: f64) -> String {
    let result = serde_json::json!({"peer": peer, "scenario": "noop", "round": round, "exit": 0, "cpu_us_per_operation": cpu});
    format!("{result}\n")
}

/// What the table says of imapwarden's CPU time.
fn ratio_in_table_of(files: &[String]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("python3");
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.args(["benches/peers/compare.py", "--table"]);
    for (number, text) in files.iter().enumerate() {
        let file = dir.path().join(format!("{number}.jsonl"));
        fs::write(&file, text).unwrap();
        command.arg(file);
    }
    let done = command.output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let row = said.lines().find(|line| line.contains("CPU")).unwrap();
    row.rsplit('×').next().unwrap().trim_end_matches(" |").to_owned()
}

#[test]
fn a_machine_that_changes_its_speed_between_rounds_changes_no_ratio() {
    let rounds = [(10.0, 9.0), (20.0, 18.0), (10.0, 18.0)];
    let of = |rounds: &[(f64, f64)]| -> String {
        let lines = (0..).zip(rounds).flat_map(|(round, (nginx, ours))| {
            [result("nginx", round, *nginx), result("imapwarden", round, *ours)]
        });
        lines.collect()
    };
    // The medians themselves are 10 and 18.
    assert_eq!(ratio_in_table_of(&[of(&rounds)]), "0.90");
    // Rounds of two measurements are not the same rounds, though they have the same numbers.
    let both = [of(&[(10.0, 9.0)]), of(&[(20.0, 10.0)])];
    assert_eq!(ratio_in_table_of(&both), "0.70");
    // A round that only one of them has is compared with none.
    let alone = of(&[(10.0, 9.0)]) + &result("imapwarden", 1, 100.0);
    assert_eq!(ratio_in_table_of(&[alone]), "0.90");
    let many = of(&[(10.0, 9.051); 20]);
    assert_eq!(ratio_in_table_of(&[many]), "0.905");
}
