"""Thunderbird, as people have it: it signs in by itself and reads what is there."""

import time

import pytest

from conftest import RULES
from harness.backend import ALICE
from harness.dovecot import Dovecot
from harness.endpoint import Endpoint
from harness.proxy import Imapwarden
from harness.thunderbird import Thunderbird


@pytest.fixture
def account(workspace, authority):
    """An account that no other test has filled with mailboxes: Thunderbird goes through all of them before it is done."""
    server = Dovecot(workspace / "thunderbird", name="thunderbird", authority=authority)
    server.start()
    proxy = Imapwarden(workspace / "proxy-thunderbird", authority, server.port, more=RULES)
    proxy.add_user(ALICE)
    proxy.app_passwords[ALICE] = proxy.app_password(ALICE)
    proxy.start()
    yield Endpoint(server, authority, proxy)
    proxy.stop()
    server.stop()


def wait(what, until, within: float) -> None:
    deadline = time.monotonic() + within
    while not until():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def test_thunderbird_signs_in_and_reads_the_mailbox(account, tmp_path):
    thunderbird = Thunderbird(tmp_path, account).start()

    def fetches() -> int:
        return sum("FETCH" in command["cmd_name"] for command in account.backend.executed())

    def state() -> str:
        events = [(event["event"]["action"], event["event"].get("reason")) for event in account.proxy.events()]
        return f"{[command['cmd_args'] for command in account.backend.executed()][-9:]}; {events}"

    try:
        # Whether and when it downloads bodies is its own affair.
        wait(state, lambda: fetches() >= 2, within=90)
    finally:
        thunderbird.stop()
    actions = [event["event"]["action"] for event in account.proxy.events()]
    assert "login_succeeded" in actions
    assert "login_failed" not in actions
    assert account.acted_rules() == []
