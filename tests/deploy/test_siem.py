"""Rules and snippets for a SIEM: read by pySigma, held to docs/events.md, and tried on events of the program."""

import json
import os
import re
import signal
import socket

import pytest
import yaml
from sigma.collection import SigmaCollection
from sigma.validation import SigmaValidator
from sigma.validators.core import validators

from support import sigma
from support.backend import PASSWORD, Backend
from support.certificates import self_signed
from support.clients import attempt, enrol
from support.documented import events, fields, reasons
from support.programs import REPOSITORY
from support.proxy import Proxy

SIEM = REPOSITORY / "examples/siem"
#: These ask a web server for lists of tags.
ONLINE = {"attacktag", "d3_fendtag"}
TACTICS = {"collection", "credential-access", "defense-evasion", "exfiltration", "impact", "initial-access", "reconnaissance"}
MODIFIERS = {"", "contains", "gt", "gte"}


def one_collection():
    text = "\n---\n".join(path.read_text() for path in sigma.FILES)
    return SigmaCollection.from_yaml(text, collect_errors=True)


def test_pysigma_reads_every_rule_and_has_nothing_to_say():
    collection = one_collection()
    collection.resolve_rule_references()
    assert [error for rule in collection.rules for error in rule.errors] + list(collection.errors) == []
    assert len(collection.rules) == len(sigma.documents()) >= 15
    judge = SigmaValidator(check for name, check in validators.items() if name not in ONLINE)
    issues = [issue for rule in collection.rules for issue in judge.validate_rule(rule)] + judge.finalize()
    assert [str(issue) for issue in issues] == []


@pytest.mark.parametrize(("path", "rule"), sigma.documents(), ids=lambda one: one["title"] if isinstance(one, dict) else one.stem)
def test_every_code_field_and_reason_of_a_rule_is_documented(path, rule):
    for tag in rule.get("tags", []):
        word = tag.removeprefix("attack.")
        assert word in TACTICS or re.fullmatch(r"t\d{4}(\.\d{3})?", word), tag
    assert set(rule.get("fields", [])) <= fields()
    if correlation := rule.get("correlation"):
        named = {one.get("name") for _, one in sigma.documents()} - {None}
        assert set(correlation["rules"]) <= named and set(correlation["group-by"]) <= fields()
        assert correlation["condition"].get("field", "user.name") in fields()
        return
    assert rule["logsource"] == {"product": "imapwarden", "service": "events"}
    for key, wanted in rule["detection"]["selection"].items():
        field, _, modifier = key.partition("|")
        assert field in fields() and modifier in MODIFIERS, key
        for value in wanted if isinstance(wanted, list) else [wanted]:
            if field == "event.code":
                assert value in events().values(), value
            if field == "event.reason":
                assert value in reasons(), value
            if field == "imapwarden.second_factor":
                assert f"`{value}`" in (REPOSITORY / "docs/events.md").read_text()
    # Without a code, a rule would change its meaning with every new kind of event.
    assert "event.code" in rule["detection"]["selection"]


@pytest.fixture(scope="module")
def happened(tmp_path_factory):
    """Events of the program after a bad day."""
    directory = tmp_path_factory.mktemp("siem")
    pair = self_signed(directory / "tls")
    backend = Backend()
    settings = {"tls": {"certificates": [{"certificate_file": str(pair[0]), "key_file": str(pair[1])}]},
                "access": {"deny": ["127.0.0.2/32"]}}
    pair[1].chmod(0o600)
    with Proxy(directory, backend.port, settings=settings) as proxy:
        alice, bob = proxy.add("alice"), proxy.add("bob")
        proxy.cli("user", "add", "robot", "--mfa", "exempt")
        made = proxy.cli("app-password", "create", "bob", "--network", "192.0.2.0/24", "--json", "--password-stdin",
                         stdin=PASSWORD + "\n")
        elsewhere = json.loads(made.stdout)["password"]
        _, used = enrol(proxy, "carol")

        answer, script = attempt(proxy, "alice", alice, program="imaplib")
        assert answer.startswith("OK"), answer
        answer, robot = attempt(proxy, "robot", PASSWORD)
        assert answer.startswith("OK"), answer
        [listed] = json.loads(proxy.cli("app-password", "list", "alice", "--json").stdout)
        proxy.cli("app-password", "revoke", listed["id"])
        for user, password in (("alice", alice), ("alice", bob), ("bob", elsewhere), ("dave", "guess"),
                               ("carol", f"{PASSWORD};{used}"), ("carol", f"{PASSWORD};000000")):
            assert attempt(proxy, user, password)[0].startswith("NO "), user
        with socket.create_connection(("127.0.0.1", proxy.port)) as plain:
            plain.sendall(b"a LOGIN b c\r\n")
            plain.recv(100)
        proxy.cli("ban", "add", "198.51.100.0/24", "--reason", "test")
        pair[0].write_text("no certificate\n")
        os.kill(proxy.process.pid, signal.SIGHUP)
        proxy.until(lambda: proxy.told("certificates_rejected") and proxy.told("ban_added") and proxy.told("session_killed"))
        (proxy.data / "imapwarden.db").rename(proxy.data / "away.db")
        proxy.until(lambda: proxy.probe("readyz") == 503 and proxy.told("store_unavailable"))
        robot.close()
        proxy.until(lambda: len(proxy.told("session_ended")) == 2)
        proxy.stop()
        yield proxy.events()
    backend.shutdown()


@pytest.mark.parametrize("name", [
    "imapwarden_code_replayed", "imapwarden_app_password_stolen", "imapwarden_app_password_other_user",
    "imapwarden_app_password_revoked", "imapwarden_login_without_second_factor", "imapwarden_script_client",
    "imapwarden_session_ended_by_revocation", "imapwarden_network_banned", "imapwarden_store_unavailable",
    "imapwarden_certificates_rejected", "imapwarden_stopping"])
def test_a_rule_fires_on_its_one_event_of_a_bad_day(happened, name):
    [rule] = [rule for path, rule in sigma.documents() if path.stem == name]
    fired = [event for event in happened if sigma.matches(rule, event)]
    assert len(fired) == 1, fired
    # What the rule asks an analyst to look at is there; a client's own words may be missing.
    for field in set(rule.get("fields", [])) - {"user_agent.name", "imapwarden.ban.until"}:
        assert sigma.value_of(fired[0], field) is not None, field


@pytest.mark.parametrize("name", ["imapwarden_bulk_download", "imapwarden_bulk_append", "imapwarden_events_lost"])
def test_what_was_not_so_bad_fires_nothing(happened, name):
    [rule] = [rule for path, rule in sigma.documents() if path.stem == name]
    assert not [event for event in happened if sigma.matches(rule, event)]
    # And it would: with the rule's own numbers.
    base = next(event for event in happened if event["event"]["action"] == "session_ended")
    loud = json.loads(json.dumps(base))
    loud["imapwarden"]["backend"]["bytes_received"] = 1 << 30
    loud["imapwarden"].setdefault("messages", {})["appended"] = 501
    if name == "imapwarden_events_lost":
        loud["event"]["code"] = "IW1008"
    assert sigma.matches(rule, loud)


@pytest.mark.parametrize(("name", "at_least"), [("imapwarden_guess", 1), ("imapwarden_wrong_secret", 1), ("imapwarden_no_login", 3)])
def test_what_correlations_count_happens(happened, name, at_least):
    [(path, rule)] = [(path, rule) for path, rule in sigma.documents() if rule.get("name") == name]
    [correlation] = [other["correlation"] for where, other in sigma.documents() if where == path and "correlation" in other]
    fired = [event for event in happened if sigma.matches(rule, event)]
    assert len(fired) >= at_least
    counted = correlation["group-by"] + [correlation["condition"].get("field", "source.ip")]
    assert all(sigma.value_of(event, field) is not None for event in fired for field in counted)


def test_every_field_of_a_bad_day_is_documented(happened):
    def leaves(value, path=""):
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from leaves(inner, f"{path}.{name}" if path else name)
        else:
            yield path
    assert {path for event in happened for path in leaves(event)} <= fields()
    assert all(event["event"]["code"] == events()[event["event"]["action"]] for event in happened)


def test_elasticsearch_is_told_the_type_of_every_field_that_ecs_lacks(happened):
    template = json.loads((SIEM / "elastic-index-template.json").read_text())
    types = {}

    def walk(properties, path):
        for name, inner in properties.items():
            if "properties" in inner:
                walk(inner["properties"], f"{path}{name}.")
            else:
                types[f"{path}{name}"] = inner["type"]
    walk(template["template"]["mappings"]["properties"], "")
    assert set(types) == {field for field in fields() if field.startswith(("imapwarden.", "imap."))}
    assert template["index_patterns"] == ["logs-imapwarden.events-*"]
    fits = {"long": int, "keyword": str, "date": str, "ip_range": str, "boolean": bool, "flattened": dict}
    for event in happened:
        for field, kind in types.items():
            value = sigma.value_of(event, field)
            assert value is None or isinstance(value, fits[kind]), (field, value)


@pytest.mark.parametrize("name", ["vector.yaml", "fluent-bit.yaml", "filebeat.yml"])
def test_collectors_read_the_events_file_and_name_fields_that_exist(name):
    text = (SIEM / name).read_text()
    yaml.safe_load(text)
    assert "/var/log/imapwarden/events.jsonl" in text
    written = re.sub(r"#.*", "", text)
    named = set(re.findall(r"\{\{ ([\w.]+) \}\}", written)) | {
        f"{outer}.{inner}" for outer, inner in re.findall(r"\$(\w+)\['(\w+)'\]", written)} | {
        path for path in re.findall(r"\bevent\.([\w.]+) [!=]=", written)} | (
        {"@timestamp"} if "@timestamp" in written else set())
    assert named <= fields()
    # All three tell the same data stream.
    if name == "vector.yaml":
        sink = yaml.safe_load(text)["sinks"]["elasticsearch"]["data_stream"]
        assert f"{sink['type']}-{sink['dataset']}-{sink['namespace']}" == "logs-imapwarden.events-default"
    else:
        assert "logs-imapwarden.events-default" in text


def test_loki_rules_name_what_exists():
    rules = [rule for group in yaml.safe_load((SIEM / "loki-rules.yaml").read_text())["groups"] for rule in group["rules"]]
    flat = {field.replace(".", "_") for field in fields()}
    for rule in rules:
        inside = re.sub(r"\{[^}]*\}", "", rule["expr"])
        named = set(re.findall(r"(\w+)(?:=~|!=|=)\"", inside))
        named |= {word.strip() for group in re.findall(r"by \(([^)]*)\)", inside) for word in group.split(",")}
        named |= set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert named <= flat, named - flat
        for word in re.findall(r"event_code=\"(\w+)\"", inside):
            assert word in events().values()
        for words in re.findall(r"event_reason(?:=~|!=|=)\"([\w|]+)\"", inside):
            assert set(words.split("|")) <= reasons()
        assert inside.count("(") == inside.count(")")
