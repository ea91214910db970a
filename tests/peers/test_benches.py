"""What benches/ makes of its figures: the table of ratios, and the comparison of instructions."""

import sys
from collections import Counter
from pathlib import Path

import pytest

BENCHES = Path(__file__).resolve().parents[2] / "benches"
sys.path += [str(BENCHES / "peers"), str(BENCHES / "callgrind")]

import count  # noqa: E402
from table import table  # noqa: E402

CALLGRIND = """\
version: 1
events: Ir
fl=(1) a.rs
fn=(1) measured
10 5
cfn=(2) scanner::next::h0123456789abcdef
calls=3 40
11 700
12 1
cfn=(4) malloc
calls=2 50
13 90
fn=(2)
40 600
+2 100
fn=(3) scanner::next::hfedcba9876543210
* 7
fn=(4)
50 30
cfn=(5) _int_malloc
calls=2 60
+1 60
fn=(5)
60 60
totals: 803
"""


def result(peer: str, scenario: str, value: float, number: int = 0, **more) -> dict:
    return {"peer": peer, "scenario": scenario, "round": number, "exit": 0, "cpu_us_per_operation": value} | more


def row(text: str, label: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_ratios_are_to_the_best_peer_which_neither_we_nor_the_relay_are():
    values = {"nginx": (400, 440, 600), "haproxy": (200, 220, 300), "relay": (100, 110, 450), "imapwarden": (150, 165, 225)}
    results = [result(peer, "login", value, number) for peer, each in values.items() for number, value in enumerate(each)]
    cells = row(table(results, list(values)), "login: CPU µs")
    assert cells == ["440 [400–600] ×2.00", "220 [200–300] ×1.00", "110 [100–450] ×0.50", "165 [150–225] ×0.75"]


def test_our_other_kinds_of_login_are_compared_with_the_one_that_others_have():
    results = [result("haproxy", "login", 200), result("imapwarden", "login", 100),
               result("imapwarden", "login-sealed", 300)]
    cells = row(table(results, ["haproxy", "imapwarden"]), "login by sealed app password: CPU µs")
    assert cells == ["200 [200–200] ×1.00", "300 [300–300] ×1.50"]


def test_rounds_that_fail_count_as_failed_and_not_as_figures():
    results = [result("haproxy", "login", 1, exit=1), result("nginx", "login", 5),
               result("haproxy", "login", 10, 1), result("imapwarden", "login", 1, exit=9)]
    cells = row(table(results, ["nginx", "haproxy", "imapwarden"]), "login: CPU µs")
    assert cells == ["5 [5–5] ×1.00", "10 [10–10] ×2.00 (1 failed)", "failed"]


def test_instructions_belong_to_the_function_that_runs_them_whatever_its_hash():
    total, functions = count.parsed(CALLGRIND)
    assert total == 713
    # Of the allocator it counts how often it was asked, not what it had to do.
    assert functions == {"measured": 6, "scanner::next": 707, count.ALLOCATIONS: 2}


def test_a_path_that_asks_for_memory_more_often_has_grown(capsys):
    before = {"instructions": 1000, "functions": {count.ALLOCATIONS: 10}}
    assert not count.compare("path", before, 1000, Counter({count.ALLOCATIONS: 10}))
    assert count.compare("path", before, 1000, Counter({count.ALLOCATIONS: 11}))
    assert "11 allocations" in capsys.readouterr().out


@pytest.mark.parametrize("total, grown", [(1000, False), (1029, False), (1031, True), (500, False)])
def test_a_path_that_grows_by_more_than_three_percent_is_named_with_its_function(capsys, total, grown):
    before = {"instructions": 1000, "functions": {"scan": 900, "rest": 100}}
    assert count.compare("path", before, total, Counter({"scan": total - 100, "rest": 100})) is grown
    said = capsys.readouterr().out
    assert ("scan" in said) is (total != 1000)
    assert "rest" not in said
