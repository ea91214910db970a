"""The words of docs/kubernetes.md and docs/operations.md that a program can check."""

import re

import pytest
import yaml

from support.manifests import judge, of_kind, render
from support.documented import DOCS, events, fields, metrics, reasons
from support.programs import CHART, REPOSITORY, imapwarden, run

PAGES = [DOCS / "kubernetes.md", DOCS / "operations.md", CHART / "README.md"]


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


def test_the_whole_is_linked_from_the_readme():
    text = (REPOSITORY / "README.md").read_text()
    assert "docs/kubernetes.md" in text and "docs/operations.md" in text
