"""Alert rules, the dashboard and /metrics: promtool judges their form, the docs what is in them."""

import json
import re
import urllib.request

import pytest
import yaml

from support.documented import DOCS, label_values, metrics
from support.programs import CHART, REPOSITORY, run
from support.proxy import Proxy

ALERTS = REPOSITORY / "examples/prometheus/alerts.yaml"
DASHBOARD = REPOSITORY / "examples/grafana/imapwarden.json"
TESTS = REPOSITORY / "tests/deploy/alerts_test.yaml"

RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
BOARD = json.loads(DASHBOARD.read_text())
#: Prometheus' own, and labels that it adds.
OWN = {"up": set(), "ALERTS": set()}
ADDED = {"job", "instance"}
#: One selector: a name and what stands between its braces.
SELECTOR = re.compile(r"\b(imapwarden_\w+|process_\w+|up)\b(?:\{([^}]*)\})?")


def expressions():
    yield from ((rule["alert"], rule["expr"]) for rule in RULES)
    for panel in BOARD["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", []))
    yield from ((note["name"], note["expr"]) for note in BOARD["annotations"]["list"])
    yield from ((variable["name"], variable["definition"]) for variable in BOARD["templating"]["list"]
                if "definition" in variable)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    with Proxy(tmp_path_factory.mktemp("proxy")) as proxy:
        with urllib.request.urlopen(f"http://127.0.0.1:{proxy.metrics}/metrics", timeout=5) as answer:
            return answer.read().decode()


def test_promtool_has_nothing_to_say_about_our_metrics(scraped):
    said = run(["promtool", "check", "metrics"], stdin=scraped)
    assert said.stdout + said.stderr == ""
    assert len(scraped) > 5000


def test_promtool_says_it_where_there_is_something():
    said = run(["promtool", "check", "metrics"], stdin="# TYPE imapwarden_things counter\nimapwarden_things 1\n", check=False)
    assert said.returncode != 0 and "_total" in said.stdout + said.stderr


def test_the_rules_are_rules_and_do_what_their_tests_say():
    assert f"{len(RULES)} rules found" in run(["promtool", "check", "rules", ALERTS]).stdout
    assert "SUCCESS" in run(["promtool", "test", "rules", TESTS]).stdout


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_no_rule_can_lose_its_meaning_unseen(rule, tmp_path):
    """Turned silent it is missed on a bad day, and turned loud it is heard on a quiet one."""
    tests = yaml.safe_load(TESTS.read_text())
    quiet, *bad = tests["tests"]
    assert quiet["name"] == "a quiet day"
    for expression, days in (("vector(0) > 1", bad), ("vector(1)", [quiet])):
        groups = yaml.safe_load(ALERTS.read_text())
        for group in groups["groups"]:
            for one in group["rules"]:
                if one["alert"] == rule["alert"]:
                    one["expr"] = expression
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(groups))
        (tmp_path / "test.yaml").write_text(yaml.safe_dump({**tests, "rule_files": ["rules.yaml"], "tests": days}))
        done = run(["promtool", "test", "rules", tmp_path / "test.yaml"], check=False)
        assert done.returncode != 0 and rule["alert"] in done.stdout + done.stderr, expression


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_rule_says_what_to_do(rule):
    assert rule["labels"]["severity"] in ("critical", "warning")
    page, anchor = rule["annotations"]["runbook_url"].split("/docs/")[1].split("#")
    headings = [line.lstrip("# ").lower() for line in (DOCS / page).read_text().splitlines() if line.startswith("#")]
    assert anchor == rule["alert"].lower() and anchor in headings
    assert rule["annotations"]["summary"] and rule["annotations"]["description"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_metric_label_and_value_is_documented_and_scraped(where, expression, scraped):
    known, values = metrics() | OWN, label_values()
    exported = set(re.findall(r"^([a-z_]+)", scraped, re.MULTILINE))
    labels_of_all = set()
    found = SELECTOR.findall(expression)
    # Whatever else looks like a metric is one with a wrong name.
    assert found and set(re.findall(r"(\w+)\{", expression)) <= {name for name, _ in found}, where
    for name, inside in found:
        if name.startswith("process_"):
            assert name in exported, name
        else:
            assert name in known, f"{where}: docs/metrics.md has no {name}"
            assert name in exported or name in OWN, f"{where}: /metrics has no {name}"
        labels_of_all |= known.get(name, set()) | ADDED
        for label, _, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', inside):
            assert label in known.get(name, set()) | ADDED, f"{where}: {name} has no label {label}"
            for word in value.split("|") if label not in ADDED else ():
                assert word in values[label], f"{where}: {label} is never {word}"
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {word.strip() for word in group.split(",")} <= labels_of_all, f"{where}: {group}"


def test_promtool_understands_every_expression_of_the_dashboard(tmp_path):
    rules = []
    for number, (_, expression) in enumerate(expressions()):
        if not expression.startswith("label_values"):
            here = expression.replace("$__rate_interval", "5m").replace("$instance", ".*")
            assert "$" not in here, here
            rules.append({"record": f"panel:{number}", "expr": here})
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in run(["promtool", "check", "rules", path]).stdout


def test_the_panels_have_names_of_their_own_and_do_not_lie_on_each_other():
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) >= 20
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["targets"]


def test_every_metric_of_ours_is_on_the_dashboard():
    shown = " ".join(expression for where, expression in expressions() if where not in {rule["alert"] for rule in RULES})
    families = {name.removesuffix("_bucket") for name in metrics() if not name.endswith(("_sum", "_count"))}
    assert {name for name in families if name not in shown} == set()


def test_the_charts_copies_are_the_same_files():
    assert (CHART / "files/alerts.yaml").read_bytes() == ALERTS.read_bytes()
    assert (CHART / "files/dashboard.json").read_bytes() == DASHBOARD.read_bytes()
