"""Thunderbird, as people have it: it finds the folders, downloads everything, and hears of new mail."""

import time

import pytest

from harness.backend import MESSAGES
from harness.messages import message
from harness.thunderbird import Thunderbird

pytestmark = pytest.mark.usefixtures("in_silence")


def wait(what, until, within: float) -> None:
    deadline = time.monotonic() + within
    while not until():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


@pytest.mark.backends("dovecot")
def test_thunderbird_downloads_the_mailbox_and_hears_of_new_mail(proxied, tmp_path):
    before = len(proxied.proxy.events())
    thunderbird = Thunderbird(tmp_path, proxied).start()

    def state() -> str:
        events = [(event["event"]["action"], event["event"].get("reason")) for event in proxied.proxy.events()[before:]]
        return f"{thunderbird.messages()} messages here; {events}\n{thunderbird.daemon.tail()}"

    try:
        wait(state, lambda: thunderbird.messages() >= MESSAGES, within=120)
        here = thunderbird.messages()
        with proxied.backend.session() as wire:
            wire.append("INBOX", message(4242))
        wait(state, lambda: thunderbird.messages() > here, within=90)
    finally:
        thunderbird.stop()
    actions = [event["event"]["action"] for event in proxied.proxy.events()[before:]]
    assert "login_succeeded" in actions
    assert "login_failed" not in actions
