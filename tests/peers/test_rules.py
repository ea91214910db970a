"""The shipped rules in front of a real Dovecot: silent on ordinary work, and in time when it is none."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.backend import ALICE, own
from harness.dovecot import Dovecot
from harness.endpoint import Endpoint
from harness.maildir import fill
from harness.proxy import Imapwarden
from harness.wire import Closed

MAILBOXES, EACH = 20, 120

RULES = """
rules:
  packs: [baseline, generic, dovecot]
"""
#: Every app password is an old one: nothing is a first sync.
ESTABLISHED = RULES + "  first_sync: {bytes: 0B}\n"


@pytest.fixture(scope="module")
def server(workspace, authority):
    """Alice has twenty mailboxes and a full Trash."""
    made = Dovecot(workspace / "ruled", name="ruled", authority=authority)
    made.start()
    maildir = made.home() / "Maildir"
    for number in range(MAILBOXES):
        fill(maildir / f".Project-{number:02}", range(5000 + number * EACH, 5000 + (number + 1) * EACH))
    fill(maildir / ".Trash", range(9000, 9600))
    own(made.directory / "home", *made.owner)
    yield made
    made.stop()


@pytest.fixture
def ruled(server, workspace, authority, request):
    proxy = Imapwarden(workspace / f"ruled-{request.node.name[:40]}", authority, server.port, more=request.param)
    proxy.add_user(ALICE)
    proxy.app_passwords[ALICE] = proxy.app_password(ALICE)
    proxy.start()
    yield Endpoint(server, authority, proxy)
    proxy.stop()


def decisions(endpoint, mode="enforce") -> list[str]:
    """The rules that have acted, or would have."""
    found = [event for event in endpoint.proxy.events() if event["event"]["action"] in ("rule_matched", "alert_raised")]
    return [event["rule"]["name"] for event in found if event["imapwarden"]["decision"]["mode"] == mode]


def wait_for(endpoint, rule: str, within=10.0) -> None:
    deadline = time.monotonic() + within
    while rule not in decisions(endpoint):
        assert time.monotonic() < deadline, endpoint.proxy.events()[-5:]
        time.sleep(0.05)


@pytest.mark.parametrize("ruled", [RULES], indirect=True)
def test_a_new_device_is_synchronised_in_silence(ruled):
    """Every message of every mailbox, fifteen searches at once, flags, and a Trash of 600 messages emptied."""
    client = ruled.imapclient()
    client.id_({"name": "Thunderbird", "version": "128.5"})
    names = [name for _, _, name in client.list_folders() if not name.startswith("shared")]
    count = 0
    for name in names:
        client.select_folder(name)
        uids = client.search()
        for start in range(0, len(uids), 200):
            count += len(client.fetch(uids[start:start + 200], ["FLAGS", "BODY.PEEK[]"]))
    assert count > MAILBOXES * EACH
    client.select_folder("INBOX")
    for term in range(15):
        client.search(["SUBJECT", f"word-{term}"])
    client.add_flags(client.search()[:20], [b"\\Seen"])
    client.select_folder("Trash")
    client.delete_messages(client.search())
    client.expunge()
    client.logout()
    assert decisions(ruled) == []


@pytest.mark.parametrize("ruled", [ESTABLISHED], indirect=True)
def test_a_thief_who_takes_mailbox_after_mailbox_is_slowed_at_once_and_more_at_the_third(ruled):
    until = time.monotonic() + 6
    taken = 0
    with ruled.session(timeout=8) as wire:
        for number in range(MAILBOXES):
            wire.ok(f"SELECT Project-{number:02}")
            before = len(wire.received)
            try:
                wire.send(f"f{number} FETCH 1:* BODY.PEEK[]\r\n".encode())
                while time.monotonic() < until:
                    if wire.response().startswith(f"f{number} ".encode()):
                        break
            except (AssertionError, Closed):
                break
            finally:
                taken += len(wire.received) - before
            if time.monotonic() >= until:
                break
    assert decisions(ruled)[:2] == ["mailbox-sweep-begins", "mailbox-sweep"]
    everything = sum(path.stat().st_size for path in ruled.backend.home().rglob("cur/*"))
    # Two whole mailboxes at most, and then no more than a slow line carries in that time.
    assert taken < 2.5 * everything / MAILBOXES + 6 * 64 * 1024, (taken, everything)


@pytest.mark.parametrize("ruled", [ESTABLISHED], indirect=True)
def test_a_mass_deletion_is_refused_before_the_server_hears_of_it(ruled):
    with ruled.backend.session() as wire:
        wire.ok("CREATE Doomed")
        wire.ok("SELECT INBOX")
        for _ in range(4):
            wire.ok("COPY 1:* Doomed")
    with ruled.session() as wire:
        wire.ok("SELECT Doomed")
        whole = wire.command("STORE 1:* +FLAGS.SILENT (\\Deleted)")[-1]
        assert b" NO [NOPERM] " in whole, whole
        # Refused ones count: trying again in small pieces does not help.
        piece = wire.command("STORE 1:10 +FLAGS.SILENT (\\Deleted)")[-1]
        assert b" NO [NOPERM] " in piece, piece
    wait_for(ruled, "mass-delete")
    with ruled.backend.session() as wire:
        wire.ok("SELECT Doomed")
        assert wire.ok("SEARCH DELETED")[0].strip() == b"* SEARCH"
    assert not [command for command in ruled.backend.executed()
                if command.get("cmd_name") == "STORE" and "Deleted" in command.get("cmd_args", "") and "1:*" in command["cmd_args"]]


@pytest.mark.parametrize("ruled", [RULES], indirect=True)
def test_one_password_on_many_users_from_many_addresses_is_seen(ruled):
    """No log of the server shows it: the sources differ, the users differ, and none of them exists."""
    def attempt(number: int) -> bytes:
        with ruled.connect(source=f"127.7.{number}.1") as wire:
            wire.response()
            return wire.command(f"LOGIN user-{number} Winter2026!")[-1]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, range(8)))
    assert all(b" NO [AUTHENTICATIONFAILED] " in answer for answer in answers), answers
    wait_for(ruled, "one-password-many-users")
