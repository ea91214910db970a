"""What a client reads through the proxy is what it reads from the server, byte by byte.

Each script runs on its own fresh copy of one mail store: at a Dovecot itself, and at a twin of it through the proxy.
With PEERS_SELF=1 the proxy is left out: whatever differs then is the tests' fault.
"""

import os
import shutil
import time
from pathlib import Path

import pytest

from harness.backend import ALICE
from harness.compare import comparable, first_difference
from harness.dovecot import Dovecot
from harness.endpoint import Endpoint
from harness.process import run
from harness.proxy import Imapwarden
from harness.script import Runner, load

SCRIPTS = load(Path(__file__).parent / "scripts")


class Twins:
    """Two servers with one configuration, and the store that both start each script with."""

    def __init__(self, workspace: Path, authority):
        self.servers = [Dovecot(workspace / f"twin-{number}", name=f"twin-{number}", authority=authority, messages=24)
                        for number in (1, 2)]
        self.proxy = None
        for server in self.servers:
            server.start()
        self.template = workspace / "template"
        self._make_template()
        second = Endpoint(self.servers[1], authority)
        if not os.environ.get("PEERS_SELF"):
            # The rules that are in force by default change nothing, but for names that one of them keeps from old parsers; and
            # no user deletes mailboxes as often as a hundred scripts.
            self.proxy = Imapwarden(workspace / "proxy-twin", authority, self.servers[1].port,
                                    more="rules: {disable: [shield-mailbox-characters, mailboxes-deleted]}\n")
            self.proxy.add_user(ALICE)
            self.proxy.app_passwords[ALICE] = self.proxy.app_password(ALICE)
            self.proxy.start()
            second.proxy = self.proxy
        self.endpoints = [Endpoint(self.servers[0], authority), second]

    def _make_template(self) -> None:
        """Lets the first server make its indexes, so that both copies have the same UIDs, modseqs and caches."""
        with self.servers[0].session() as wire:
            for mailbox in ("INBOX", "Archive", "Archive/2023", "Sent", "shared/bob/Common"):
                wire.ok(f"SELECT {mailbox}")
                wire.ok("UID FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE RFC822.SIZE INTERNALDATE MODSEQ)")
            wire.ok("SUBSCRIBE Archive/2023")
            wire.ok("SUBSCRIBE Sent")
            wire.command("LOGOUT")
        run(["cp", "-a", self.servers[0].directory / "home", self.template])

    def restore(self) -> None:
        for server in self.servers:
            for attempt in range(50):
                try:
                    shutil.rmtree(server.directory / "home")
                    break
                except OSError:
                    # The last session's process is still writing its index; it ends within a moment.
                    if attempt == 49:
                        raise
                    time.sleep(0.02)
            server.restore(self.template)

    def stop(self) -> None:
        for running in [self.proxy, *self.servers]:
            if running:
                running.stop()


@pytest.fixture(scope="module")
def twins(workspace, authority):
    made = Twins(workspace, authority)
    yield made
    made.stop()


def test_there_are_scripts_enough():
    assert len(SCRIPTS) >= 150


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.name for script in SCRIPTS])
def test_the_proxy_changes_nothing(twins, script):
    twins.restore()
    found = []
    for endpoint in twins.endpoints:
        with endpoint.session(timeout=10) as wire:
            answers = Runner(wire, endpoint.backend.session).run(script)
            found.append(comparable(script, answers, proxied=endpoint.proxied))
            try:
                wire.command("LOGOUT", tag=b"the-end")
            except (OSError, EOFError, Exception):
                # A script may have ended the session.
                pass
    difference = first_difference(script, *found)
    assert difference is None, "\n" + difference
