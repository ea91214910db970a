//! The demo is the first thing that people try: it must work, and it says so itself.
#![allow(clippy::unwrap_used, reason = "a fault must fail the test")]

use std::process::Command;

#[test]
fn the_demo_lets_in_whom_it_should_and_nobody_else() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--example", "demo"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.args(["--", "--check"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    for event in ["login_succeeded", "login_failed", "stopped"] {
        assert!(said.contains(event), "{event} is not in\n{said}");
    }
    for secret in ["correct-horse", " iw-"] {
        assert!(
            !said.contains(secret) && !complained.contains(secret),
            "a secret is in\n{said}\n{complained}"
        );
    }
}

#[test]
fn the_demo_is_attacked_and_rules_stop_each_attack() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--example", "demo"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.args(["--", "--attack"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert_eq!(said.matches("Stopped:").count(), 3, "{said}");
    for rule in ["spray", "sweep", "mass-delete"] {
        let told = said
            .lines()
            .any(|line| line.contains("alert_raised") && line.contains(rule));
        assert!(told, "{rule} is not in\n{said}");
    }
    assert!(said.contains("app_password_revoked"), "{said}");
}
