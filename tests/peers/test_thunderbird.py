"""Thunderbird, as people have it: it signs in by itself, downloads everything, and hears of new mail."""

import time

import pytest

from conftest import RULES
from harness.backend import ALICE
from harness.backend import MESSAGES
from harness.dovecot import Dovecot
from harness.endpoint import Endpoint
from harness.messages import message
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


def test_thunderbird_downloads_the_mailbox_and_hears_of_new_mail(account, tmp_path):
    thunderbird = Thunderbird(tmp_path, account).start()

    def ran(name: str, numbers: str = "", item: str = "") -> bool:
        return any(command["cmd_name"] == name and command.get("cmd_args", "").startswith(numbers)
                   and item in command.get("cmd_args", "") for command in account.backend.executed())

    def downloaded() -> set[int]:
        """The messages whose bodies it has asked for, in as many commands as it likes."""
        asked = [command.get("cmd_args", "") for command in account.backend.executed() if command["cmd_name"] == "UID FETCH"]
        numbers = set()
        for arguments in asked:
            if "BODY.PEEK[])" in arguments:
                for part in arguments.split(" ")[0].split(","):
                    low, _, high = part.partition(":")
                    numbers |= set(range(int(low), int(high or low) + 1))
        return numbers

    def state() -> str:
        events = [(event["event"]["action"], event["event"].get("reason")) for event in account.proxy.events()]
        return f"{[command.get('cmd_args') for command in account.backend.executed()][-9:]}; {events}"

    try:
        wait(state, lambda: downloaded() >= set(range(1, MESSAGES + 1)), within=90)
        wait(state, lambda: account.backend.idling() > 0, within=60)
        with account.backend.session() as wire:
            wire.append("INBOX", message(MESSAGES + 1))
        # It asks by itself in half an hour only.
        wait(state, lambda: ran("UID FETCH", f"{MESSAGES + 1} (", "HEADER"), within=60)
    finally:
        thunderbird.stop()
    actions = [event["event"]["action"] for event in account.proxy.events()]
    assert "login_succeeded" in actions
    assert "login_failed" not in actions
    assert account.acted_rules() == []
