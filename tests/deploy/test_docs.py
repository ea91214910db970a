"""The words of docs/kubernetes.md and docs/operations.md that a program can check."""

import re
import subprocess

import pytest
import yaml

from support.manifests import judge, of_kind, render
from support.documented import DOCS, events, fields, metrics, reasons
from support.programs import CHART, REPOSITORY, imapwarden, kubectl, run
from support.shell import commands, section, words

README = REPOSITORY / "README.md"
PAGES = [DOCS / "kubernetes.md", DOCS / "operations.md", CHART / "README.md", README]


def blocks(path, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


VALUES = [(path.name, number, text) for path in PAGES for number, text in enumerate(blocks(path, "yml"))]


@pytest.mark.parametrize(("page", "number", "text"), VALUES, ids=lambda part: str(part)[:20])
def test_every_snippet_of_values_is_rendered(page, number, text, tmp_path):
    (tmp_path / "values.yaml").write_text(text)
    backend = () if "backends" in text else ("--set", "config.backends[0].address=127.0.0.1:143")
    manifests = render("--values", tmp_path / "values.yaml", *backend)
    for manifest in manifests:
        judge(manifest)
    config = tmp_path / "imapwarden.yaml"
    rendered = of_kind(manifests, "ConfigMap", "mail-imapwarden")["data"]["imapwarden.yaml"]
    # Its form; the files that it names are not here.
    config.write_text(rendered)
    said = run([imapwarden(), "check", "--json", "--config", config], check=False)
    codes = set(re.findall(r'"code": ?"(\w+)"', said.stdout + said.stderr))
    assert codes <= {"file_missing"}, said.stdout + said.stderr


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_line_of_imapwarden_exists(path):
    text = path.read_text()
    commands = set(re.findall(r"\bimapwarden ((?:user|app-password|ban|session|store) [a-z-]+|check|serve)\b", text))
    commands |= set(re.findall(r"`((?:user|app-password|ban|session|store) [a-z-]+)", text))
    for command in commands:
        run([imapwarden(), *command.split(), "--help"])


def test_commands_are_found_at_all():
    assert "imapwarden app-password revoke" in PAGES[1].read_text()
    assert run([imapwarden(), "user", "renew", "--help"], check=False).returncode != 0


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_is_named_exists(path):
    text = path.read_text()
    for code in set(re.findall(r"\bIW\d{4}\b", text)):
        assert code in events().values(), code
    for metric in set(re.findall(r"\b(imapwarden_[a-z_]+)", text)):
        assert metric in metrics(), metric
    for field in set(re.findall(r"`((?:event|source|error|user|session|imapwarden\.[a-z_]+)\.[a-z_]+)`", text)):
        assert field in fields(), field
    for target in set(re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)):
        assert target.startswith("http") or (path.parent / target).exists(), target


def test_what_the_failure_table_says_of_reasons_is_so():
    text = (DOCS / "operations.md").read_text()
    for word in ("code_invalid", "code_replayed", "second_factor_missing", "password_invalid", "internal_error",
                 "backend_protocol", "app_password_revoked", "app_password_network"):
        assert f"`{word}`" in text and word in reasons()


def test_settings_that_the_pages_name_are_in_the_configuration():
    known = set(re.findall(r"^\| `([\w.\[\]]+)`", (DOCS / "configuration.md").read_text(), re.MULTILINE))
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for path in PAGES:
        for key in re.findall(r"`((?:limits|drain|backends\[\]|relay|second_factor|store|login|metrics|networkPolicy|service|"
                              r"sidecar|persistence|keyFile|proxyProtocol|podDisruptionBudget)\.\w+(?:\.\w+)?)[`:]", path.read_text()):
            inside, found = values, True
            for part in key.split("."):
                found = found and isinstance(inside, dict) and part in inside
                inside = inside[part] if found else None
            assert key in known or found, f"{path.name}: {key}"


def values_of(page):
    """What a page's `values.yaml` holds, one after the other, so that every command after the first of them has one."""
    found = [yaml.safe_load(text) for text in blocks(page, "yml") if text.startswith("# values.yaml")]
    return found or [{}]


HELM = [(page, number, command) for page in (README, DOCS / "kubernetes.md", CHART / "README.md")
        for number, command in enumerate(one for one in commands(page.read_text()) if one.startswith("helm "))]


@pytest.mark.parametrize(("page", "number", "command"), HELM, ids=lambda part: str(part)[-24:])
def test_every_helm_command_makes_what_the_commands_around_it_speak_of(page, number, command, tmp_path):
    verb, *rest = words(command)[1:]
    assert verb == "upgrade"
    rest = [word for word in rest if word != "--install"]
    release, chart, *options = rest if rest[0] == "imapwarden" else ["imapwarden", *rest[1:]]
    assert release == "imapwarden" and chart in ("helm/imapwarden", ".")
    namespace = options.index("--namespace")
    assert options[namespace:namespace + 2] == ["--namespace", "mail"]
    del options[namespace:namespace + 2]
    made = []
    for number, values in enumerate(values_of(page)):
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(values))
        given = [str(path) if word == "values.yaml" else word for word in options]
        if "store.migrateFrom=imapwarden-data" in options and "store" not in values:
            continue
        backend = () if "backends" in str(values) + command else ("--set", "config.backends[0].address=127.0.0.1:143")
        manifests = render(*given, *backend, release=release)
        for manifest in manifests:
            judge(manifest)
        made.append({f"{one['kind'].lower()}/{one['metadata']['name']}" for one in manifests})
    made = set().union(*made)
    # What kubectl is told of is there, in one way or the other.
    named = set(re.findall(r"\b((?:statefulset|deployment|job|configmap)/imapwarden[a-z-]*)", command))
    assert named <= made


def test_kubectl_is_told_of_nothing_that_the_chart_does_not_make(tmp_path):
    whole = {}
    for number, more in enumerate(((), ("store",), ("store", "migrate"), ("sidecar",))):
        options = ["--set", "config.backends[0].address=127.0.0.1:143"]
        if "store" in more:
            options += ["--set", "store.url.secretName=x,keyFile.secretName=x,tls.secretName=x"]
        if "migrate" in more:
            options += ["--set", "store.migrateFrom=imapwarden-data"]
        if "sidecar" in more:
            options += ["--set", "mode=sidecar,sidecar.podSelector.a=b"]
        for one in render(*options, release="imapwarden"):
            whole[f"{one['kind'].lower()}/{one['metadata']['name']}"] = one
    # Of a StatefulSet's pods, and the claim of its volume.
    whole["pod/imapwarden-0"] = None
    assert "persistentvolumeclaim/imapwarden-data" in whole
    seen = 0
    for page in (README, DOCS / "kubernetes.md"):
        for command in commands(page.read_text()):
            if not command.startswith("kubectl "):
                continue
            seen += 1
            given = words(command.split(" > ")[0])
            assert given[1:3] == ["-n", "mail"], command
            verb = given[3]
            said = kubectl(verb, *(given[4:6] if verb in ("create", "rollout") else ()), "--help").stdout
            ours = given[: given.index("--")] if "--" in given else given
            for option in re.findall(r"(--[a-z-]+)", " ".join(ours)):
                assert f"{option}=" in said or option == "--namespace", f"{command}: {option}"
            for name in re.findall(r"\b((?:statefulset|deployment|job|pod|configmap)/imapwarden[a-z0-9-]*)", command):
                assert name in whole, command
            for name in re.findall(r"get configmap ([a-z-]+)", command):
                assert f"configmap/{name}" in whole, command
    assert seen >= 12


def test_a_key_file_made_as_the_pages_say_is_one(tmp_path):
    made = set()
    for page in (README, DOCS / "kubernetes.md"):
        [command] = [one for one in commands(page.read_text()) if one.startswith("printf 'imapwarden-key")]
        subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, timeout=30)
        made.add((tmp_path / "imapwarden.key").read_text())
        (tmp_path / "imapwarden.key").chmod(0o440)
        config = tmp_path / "imapwarden.yaml"
        config.write_text(yaml.safe_dump({"data_directory": str(tmp_path / page.stem), "key_file": str(tmp_path / "imapwarden.key"),
                                          "backends": [{"address": "127.0.0.1:143"}]}))
        run([imapwarden(), "user", "add", "alice", "--config", config])
        (tmp_path / "imapwarden.key").chmod(0o640)
    assert len(made) == 2, "each is another"


@pytest.mark.parametrize("fetched", ["# A comment.\nimapwarden-key-v1\nb2xk\n", "imapwarden-key-v1\nb2xk", "", "<html>\n"])
def test_another_key_never_replaces_a_secret_that_was_not_fetched(fetched, tmp_path):
    """The page's own commands, with a kubectl that has this for the Secret and writes down what is to be in its place."""
    page = (DOCS / "kubernetes.md").read_text()
    [recipe] = [block for block in blocks(DOCS / "kubernetes.md", "sh") if "get secret imapwarden-key" in block]
    assert page.index(recipe) > page.index("**Another key:**")
    (tmp_path / "secret").write_text(fetched)
    fake = tmp_path / "kubectl"
    fake.write_text('#!/bin/sh\ncase "$*" in *get*) base64 < secret;; *create*) cat imapwarden.key;; apply*) cat > applied;; esac\n')
    fake.chmod(0o755)
    subprocess.run(["sh", "-c", recipe], cwd=tmp_path, timeout=30, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    is_key_file = "imapwarden-key-v1" in fetched
    assert (tmp_path / "applied").exists() == is_key_file
    if is_key_file:
        lines = [line for line in (tmp_path / "applied").read_text().splitlines() if line and not line.startswith("#")]
        assert lines[:2] == ["imapwarden-key-v1", "b2xk"] and len(lines) == 3 and len(lines[2]) == 44
    assert (tmp_path / "imapwarden.key").stat().st_mode & 0o077 == 0
    assert (tmp_path / "imapwarden.key.before").read_text() == fetched


def test_every_alert_has_its_entry_in_the_runbook_and_every_entry_says_something():
    rules = yaml.safe_load((REPOSITORY / "examples/prometheus/alerts.yaml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    runbook = section((DOCS / "operations.md").read_text(), "## Runbook")
    entries = dict(re.findall(r"^### (\w+)\n+(.*?)(?=^### |\Z)", runbook, re.MULTILINE | re.DOTALL))
    assert set(entries) == alerts
    assert all(len(text.split()) >= 20 for text in entries.values())


def test_operations_has_a_part_for_each_thing_that_somebody_looks_for():
    text = (DOCS / "operations.md").read_text()
    headings = set(re.findall(r"^#+ (.*)$", text, re.MULTILINE))
    for heading in ("Sizing", "Several replicas", "Backup", "Restore", "Upgrade", "Keys and secrets", "When something fails", "Runbook",
                    "Reload", "Hardening"):
        assert heading in headings, heading


def test_the_whole_is_linked_from_the_readme():
    text = (REPOSITORY / "README.md").read_text()
    assert "docs/kubernetes.md" in text and "docs/operations.md" in text
