"""Who hides what an intrusion has set off: security notices that are shown and then deleted, at a real Dovecot with the shipped rules."""

import itertools
import re
import sqlite3
import ssl
import time

import pytest

from conftest import RULES
from harness.backend import ALICE
from harness.dovecot import Dovecot
from harness.endpoint import Endpoint
from harness.proxy import Imapwarden
from harness.rules import decisions
from harness.rules import first
from harness.wire import Wire

NUMBERS = itertools.count(1)
BY_NEWCOMER, BY_ANYBODY = "security-notice-deleted-by-newcomer", "security-notice-deleted"
#: "Neue Anmeldung für Ihr Konto", as mail programs write it.
NOTICE = "=?utf-8?Q?Neue_Anmeldung_f=C3=BCr_Ihr_Konto?="


@pytest.fixture(scope="module")
def server(workspace, authority):
    made = Dovecot(workspace / "notices", name="notices", authority=authority)
    made.start()
    with made.session() as wire:
        wire.ok("CREATE Old")
    yield made
    made.stop()


@pytest.fixture
def known(server, workspace, authority):
    """A proxy to which Alice has come from home."""
    proxy = Imapwarden(workspace / f"notices-{next(NUMBERS)}", authority, server.port, more=RULES)
    proxy.add_user(ALICE)
    proxy.app_passwords[ALICE] = proxy.app_password(ALICE)
    endpoint = Endpoint(server, authority, proxy.start())
    with endpoint.session():
        store = sqlite3.connect(f"file:{proxy.directory / 'data' / 'imapwarden.db'}?mode=ro", uri=True)
        deadline = time.monotonic() + 20
        while not store.execute("SELECT count(*) FROM habits WHERE kind = 'tls'").fetchone()[0]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        store.close()
    yield endpoint
    proxy.stop()


def stranger(endpoint: Endpoint):
    """Alice's app password from another network and by another TLS client, with INBOX open."""
    context = endpoint.authority.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    wire = Wire(endpoint.port, context=context, source="127.3.9.1")
    wire.login(ALICE, endpoint.password())
    wire.ok("SELECT INBOX")
    return wire


def arrives(endpoint: Endpoint, subject: str) -> tuple[int, int]:
    """The position and the UID of a message that has come to INBOX."""
    text = f"From: no-reply@example.org\r\nTo: alice@example.org\r\nSubject: {subject}\r\n\r\nSomebody has.\r\n"
    with endpoint.backend.session() as wire:
        answer = wire.append("INBOX", text.encode())
        uid = re.search(rb"APPENDUID \d+ (\d+)", answer[-1])
        exists = re.search(rb"MESSAGES (\d+)", b"".join(wire.ok("STATUS INBOX (MESSAGES)")))
    return int(exists[1]), int(uid[1])


SHOWN = [
    "UID FETCH {uid} (UID FLAGS ENVELOPE)",
    "FETCH 1:* (FLAGS ENVELOPE)",
    "FETCH {at} (UID BODY.PEEK[HEADER.FIELDS (FROM SUBJECT)])",
    "UID FETCH {uid} BODY.PEEK[]",
    "FETCH {at} RFC822.HEADER",
    # What is found stays between the server and the client; what is looked for does not.
    'UID SEARCH SUBJECT "neue anmeldung"',
]
DELETED = ["UID STORE {uid} +FLAGS.SILENT (\\Deleted)", "STORE {at} FLAGS (\\Deleted)", "UID MOVE {uid} Old", "MOVE {at} Old"]


@pytest.mark.parametrize(("shown", "deleted"), list(zip(SHOWN, itertools.cycle(DELETED))))
def test_a_newcomer_who_deletes_a_notice_is_reported(known, shown, deleted):
    at, uid = arrives(known, NOTICE)
    with stranger(known) as wire:
        wire.ok(shown.format(at=at, uid=uid))
        assert BY_NEWCOMER not in known.acted_rules()
        wire.ok(deleted.format(at=at, uid=uid))
        assert first(known, BY_NEWCOMER)


def test_what_one_session_is_shown_another_one_deletes(known):
    _, uid = arrives(known, NOTICE)
    with stranger(known) as wire:
        wire.ok(f"UID FETCH {uid} (ENVELOPE)")
    with stranger(known) as wire:
        wire.ok(f"UID STORE {uid} +FLAGS (\\Deleted)")
        assert first(known, BY_NEWCOMER)


def test_a_notice_is_followed_while_others_are_expunged(known):
    other, its_uid = arrives(known, "Lunch")
    at, _ = arrives(known, NOTICE)
    arrives(known, "Dinner")
    with stranger(known) as wire:
        wire.ok(f"FETCH {at} ENVELOPE")
        wire.ok(f"STORE {other} +FLAGS (\\Deleted)")
        wire.ok(f"UID EXPUNGE {its_uid}")
        wire.ok(f"STORE {at} +FLAGS (\\Deleted)")
        assert BY_NEWCOMER not in known.acted_rules()
        wire.ok(f"STORE {at - 1} +FLAGS (\\Deleted)")
        assert first(known, BY_NEWCOMER)


@pytest.mark.parametrize("subject", ["Lunch on Friday", "Ihre Rechnung"])
def test_other_mail_is_nobodys_business(known, subject):
    at, uid = arrives(known, subject)
    with stranger(known) as wire:
        for shown in SHOWN[:-1]:
            # A listing shows the notices of other tests, without saying which UIDs they have.
            wire.ok(shown.format(at=at, uid=uid).replace("1:*", str(at)))
        wire.ok(f"UID STORE {uid} +FLAGS (\\Deleted)")
        wire.ok("NOOP")
    known.proxy.stop()
    names = [event["rule"]["name"] for mode in ("enforce", "shadow") for event in decisions(known, mode)]
    assert BY_NEWCOMER not in names and BY_ANYBODY not in names


def test_the_user_at_home_deletes_a_code_without_an_alert(known):
    _, uid = arrives(known, NOTICE)
    with known.session() as wire:
        wire.ok("SELECT INBOX")
        wire.ok(f"UID FETCH {uid} (ENVELOPE)")
        wire.ok(f"UID STORE {uid} +FLAGS (\\Deleted)")
    known.proxy.stop()
    assert BY_ANYBODY in [event["rule"]["name"] for event in decisions(known, "shadow")]
    assert BY_NEWCOMER not in known.acted_rules()
