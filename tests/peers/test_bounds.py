"""How far attacks come before the shipped rules stop them, and what tells them from the same work by somebody else.

Bytes are counted where the client takes them, commands in the server's own log, and messages in its store.
"""

import contextlib
import itertools
import re
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import RULES
from harness.account import LargeDovecot
from harness.account import MAILBOXES
from harness.backend import ALICE
from harness.endpoint import Endpoint
from harness.messages import message
from harness.proxy import Imapwarden
from harness.rules import decisions
from harness.rules import first
from harness.wire import Closed
from harness.wire import Wire

ESTABLISHED = RULES + "  first_sync: {bytes: 0B}\n"
NUMBERS = itertools.count(1)
MESSAGES = sum(MAILBOXES.values())
#: Seconds for which an attack goes on. A slower machine only takes less in them.
LONG = 5
#: Twenty mailboxes, the largest first: what a thief would do.
TWENTY = sorted(MAILBOXES, key=MAILBOXES.get, reverse=True)[:20]


@pytest.fixture(scope="module")
def server(workspace, authority):
    made = LargeDovecot(workspace / "bounds", name="bounds", authority=authority)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def proxy(server, workspace, authority):
    """Makes proxies in front of the account; each has Alice, and no app password yet."""
    made = []

    def make(more: str = RULES) -> Endpoint:
        proxy = Imapwarden(workspace / f"bounded-{next(NUMBERS)}", authority, server.port, more=more)
        proxy.add_user(ALICE)
        made.append(proxy)
        return Endpoint(server, authority, proxy.start())

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def established(proxy):
    """Alice's credential is an old one."""
    endpoint = proxy(ESTABLISHED)
    endpoint.use_own_app_password()
    return endpoint


@pytest.fixture(scope="module")
def everything(server) -> int:
    """Bytes of the whole account."""
    return server.bytes_of()


class Thief:
    """Takes messages until it has gone on for long enough, and counts the bytes that come."""

    def __init__(self, endpoint: Endpoint, *, ident: str | None = None, source: str | None = None, long: float = LONG):
        self.until = time.monotonic() + long
        self.endpoint = endpoint
        self.ident, self.source = ident, source
        self.taken = 0
        self.messages = 0

    def session(self) -> Wire:
        wire = self.endpoint.connect(source=self.source)
        wire.login(ALICE, self.endpoint.password())
        if self.ident:
            wire.ok(f'ID ("name" "{self.ident}" "version" "1")')
        return wire

    def take(self, mailboxes, commands) -> None:
        """Selects mailboxes and sends for each the commands that `commands` makes of its size, each after the other's answer."""
        with self.session() as wire:
            # A throttled answer comes in small pieces: no need to wait for all of it.
            wire.timeout = 30
            try:
                for mailbox in mailboxes:
                    wire.ok(f"SELECT {mailbox}")
                    for command in commands(MAILBOXES[mailbox]):
                        self._one(wire, command)
            except (Closed, TimeoutError):
                pass

    def hop(self, mailboxes, step: int) -> None:
        """Takes so many messages of each mailbox in turn, over and over."""
        with self.session() as wire:
            wire.timeout = 30
            try:
                for start in range(1, max(MAILBOXES[name] for name in mailboxes), step):
                    for mailbox in mailboxes:
                        wire.ok(f"SELECT {mailbox}")
                        self._one(wire, f"UID FETCH {start}:{start + step - 1} (BODY.PEEK[])")
            except (Closed, TimeoutError):
                pass

    def _one(self, wire: Wire, command: str) -> None:
        before = len(wire.received)
        wire.send(f"f {command}\r\n".encode())
        try:
            while not (response := wire.response()).startswith(b"f "):
                self.messages += b"BODY[] {" in response or b"RFC822 {" in response
                if time.monotonic() >= self.until:
                    raise TimeoutError
            assert response.startswith(b"f OK"), response
        finally:
            self.taken += len(wire.received) - before


def whole(count: int):
    return ["FETCH 1:* (UID FLAGS BODY.PEEK[])"]


def all_but_one(count: int):
    return [f"UID FETCH 2:{count} (RFC822)"]


def by_hundreds(count: int):
    return [f"UID FETCH {start}:{min(start + 99, count)} (BODY.PEEK[])" for start in range(1, count + 1, 100)]


def one_by_one(count: int):
    return [f"FETCH {number} (RFC822)" for number in range(1, count + 1)]


# --- What tells a first sync from a theft -------------------------------------------------------------------------------


def sweep(endpoint: Endpoint, **options) -> list[str]:
    """The rules that act while three mailboxes are fetched whole."""
    before = len(endpoint.acted_rules())
    Thief(endpoint, long=20, **options).take(["Projects/08", "Projects/09", "Projects/10"], whole)
    return endpoint.acted_rules()[before:]


def is_caught(rules: list[str]) -> bool:
    return {"mailbox-sweep-begins", "mailbox-sweep"} <= set(rules)


def test_a_new_device_may_do_what_a_thief_may_not(proxy):
    """Or the tests below would prove nothing. It may do so again, on several connections."""
    endpoint = proxy()
    endpoint.use_own_app_password()
    for _ in range(2):
        assert sweep(endpoint, ident="Thunderbird") == []
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: sweep(endpoint, ident="Thunderbird"), range(3))) == [[]] * 3


def test_an_established_credential_has_no_first_sync(established):
    assert is_caught(sweep(established))


def test_another_network_is_no_first_sync(proxy):
    endpoint = proxy()
    endpoint.use_own_app_password()
    assert sweep(endpoint) == []
    assert is_caught(sweep(endpoint, source="127.9.9.9"))
    assert sweep(endpoint) == [], "who was there first goes on"


def test_another_client_is_no_first_sync(proxy):
    endpoint = proxy()
    endpoint.use_own_app_password()
    assert sweep(endpoint, ident="Thunderbird") == []
    assert is_caught(sweep(endpoint, ident="IMAPClient"))
    assert is_caught(decisions_of_a_silent_client(endpoint))
    assert sweep(endpoint, ident="Thunderbird") == []


def decisions_of_a_silent_client(endpoint: Endpoint) -> list[str]:
    """The same sweep by a client that does not say what it is; the rules are counted anew for it."""
    endpoint.proxy.stop()
    endpoint.proxy.start()
    return sweep(endpoint)


def test_a_spent_allowance_is_no_first_sync(proxy, server):
    once = sum(server.bytes_of(name) for name in ("Projects/08", "Projects/09", "Projects/10"))
    endpoint = proxy(RULES + f"  first_sync: {{bytes: {2 * once}B}}\n")
    endpoint.use_own_app_password()
    assert sweep(endpoint) == []
    # Somewhere in this one it ends: on the wire messages are a little larger than in the store.
    sweep(endpoint)
    assert is_caught(sweep(endpoint) + endpoint.acted_rules())


def test_a_first_sync_that_is_over_stays_over(proxy):
    """The days of an allowance are passed by its row in the store, not by waiting."""
    endpoint = proxy()
    endpoint.use_own_app_password()
    assert sweep(endpoint) == []
    endpoint.proxy.stop()
    with sqlite3.connect(endpoint.proxy.directory / "data" / "imapwarden.db") as store:
        assert store.execute("UPDATE allowances SET opened = opened - 8 * 86400").rowcount == 1
    store.close()
    endpoint.proxy.start()
    assert is_caught(sweep(endpoint))


def test_an_app_password_that_waited_too_long_has_no_first_sync(proxy):
    endpoint = proxy()
    endpoint.use_own_app_password()
    with sqlite3.connect(endpoint.proxy.directory / "data" / "imapwarden.db") as store:
        assert store.execute("UPDATE app_passwords SET created = created - 8 * 86400").rowcount == 1
    store.close()
    assert is_caught(sweep(endpoint))


# --- A sweep ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("commands", [whole, all_but_one])
def test_a_sweep_is_slowed_before_its_first_byte(established, everything, commands):
    """Twenty mailboxes, each asked for as a whole: less than a twentieth of the account leaves while it is looked at."""
    before = len(established.backend.executed())
    thief = Thief(established)
    thief.take(TWENTY, commands)
    assert decisions(established)[0]["rule"]["name"] == "mailbox-sweep-begins"
    assert 0 < thief.taken < everything / 20, (thief.taken, everything)
    ran = [command["cmd_name"] for command in established.backend.executed()[before:]]
    # The largest mailbox is a fifth of the account: the thief is still at it, or at the one behind it.
    assert ran.count("SELECT") <= 2 and sum("FETCH" in name for name in ran) <= 2, ran


def test_a_sweep_of_small_mailboxes_is_slowed_within_a_hundred_messages(established):
    """The third is slow, and reported."""
    thief = Thief(established)
    small = ["Lists/announce", "Drafts", "Projects/00", "Projects/01", "Projects/02", "Projects/03"]
    thief.take(small, whole)
    slowed = first(established, "mailbox-sweep-begins")["imapwarden"]["decision"]
    assert 100 < slowed["value"] <= 100 + MAILBOXES["Projects/00"]
    assert first(established, "mailbox-sweep")["imapwarden"]["decision"]["value"] == 3


@pytest.mark.parametrize("commands", [by_hundreds, one_by_one])
def test_a_sweep_by_pieces_is_slowed_after_half_a_mailbox(established, everything, commands):
    """Scripts take one message after the other; none of their commands says what they are up to."""
    boxes = [name for name in TWENTY if 300 <= MAILBOXES[name] <= 600]
    thief = Thief(established, long=3)
    thief.take(boxes, commands)
    slowed = first(established, "mailbox-emptied-by-pieces")["imapwarden"]["decision"]
    assert slowed["value"] == 1, "within the first mailbox"
    assert thief.taken < everything / 20, (thief.taken, everything)


def test_a_sweep_that_hops_between_mailboxes_is_slowed_after_half_of_one(established):
    """In no mailbox does it stay for long; it comes back to each."""
    boxes = [name for name in TWENTY if 300 <= MAILBOXES[name] <= 600][:2]
    thief = Thief(established, long=3)
    thief.hop(boxes, 40)
    assert first(established, "mailbox-emptied-by-pieces")["imapwarden"]["decision"]["value"] == 1
    # Less than half of each, and what a slow line carries in the meantime.
    assert thief.messages < len(boxes) * 300 + 3 * 256 * 1024 / 1_000


def test_a_sweep_by_pieces_of_a_large_mailbox_ends_with_the_budget(established):
    """Half of a mailbox of 4,000 messages is as much as anybody reads in an hour: 2,000 messages, and no more."""
    thief = Thief(established, long=20)
    thief.take(["INBOX"], by_hundreds)
    slowed = first(established, "many-messages")["imapwarden"]["decision"]
    assert slowed["value"] <= 2_000 + 100
    # What a slow line carries in the meantime.
    assert thief.messages < 2_000 + 100 + 20 * 64 * 1024 / 1_000


def test_many_sessions_at_once_are_slowed_like_one(established, everything):
    """Twenty connections, one mailbox each."""
    thieves = [Thief(established) for _ in TWENTY]
    with ThreadPoolExecutor(len(TWENTY)) as pool:
        list(pool.map(lambda pair: pair[0].take([pair[1]], whole), zip(thieves, TWENTY)))
    taken = sum(thief.taken for thief in thieves)
    assert {"mailbox-sweep-begins", "mailbox-sweep"} <= set(established.acted_rules())
    assert taken < everything / 20, (taken, everything)


# --- A mass deletion ----------------------------------------------------------------------------------------------------


def messages_in(server, mailbox: str) -> int:
    maildir = server.home() / "Maildir"
    place = maildir if mailbox == "INBOX" else maildir / ("." + mailbox.replace("/", "."))
    return sum(1 for part in ("cur", "new") for _ in (place / part).iterdir())


def wipe(endpoint: Endpoint, mailboxes, command: str, step: int) -> None:
    """Marks all messages as deleted, so many at once, and expunges after each command, whatever is answered."""
    with endpoint.session() as wire:
        for mailbox in mailboxes:
            exists = int(re.search(rb"\* (\d+) EXISTS", b"".join(wire.ok(f"SELECT {mailbox}")))[1])
            refused = 0
            for start in range(1, exists + 1, step):
                # What was expunged makes room: the first ones are others now.
                numbers = "1:*" if step >= exists else f"{start}:{start + step - 1}" if "UID" in command else f"1:{step}"
                answer = wire.command(command.replace("SET", numbers))[-1]
                refused += b" NO [NOPERM] " in answer
                wire.command("EXPUNGE")
                if refused > 3:
                    break


@pytest.mark.parametrize("command, step", [
    ("STORE SET +FLAGS.SILENT (\\Deleted)", 1_000_000),
    ("STORE SET +FLAGS (\\Seen \\Deleted)", 10),
    ("UID STORE SET FLAGS.SILENT (\\deleted)", 50),
    ("UID STORE SET +FLAGS (\\Deleted)", 1_000_000),
], ids=["whole", "by-tens", "by-uid", "whole-by-uid"])
def test_a_mass_deletion_is_held_before_a_fiftieth_is_gone(established, server, command, step):
    before = sum(messages_in(server, name) for name in MAILBOXES)
    wipe(established, ["INBOX", "Sent", "Archive/2025"], command, step)
    after = sum(messages_in(server, name) for name in MAILBOXES)
    assert before - after < before / 50, (before, after)
    assert "mass-delete" in established.acted_rules()
    if step > 1_000:
        assert before == after


def test_a_mass_deletion_by_many_sessions_is_held_like_one(established, server):
    before = sum(messages_in(server, name) for name in MAILBOXES)
    boxes = [name for name in TWENTY if name not in ("Trash", "Junk")][:10]
    with ThreadPoolExecutor(len(boxes)) as pool:
        list(pool.map(lambda name: wipe(established, [name], "STORE SET +FLAGS.SILENT (\\Deleted)", 20), boxes))
    after = sum(messages_in(server, name) for name in MAILBOXES)
    assert before - after < before / 50, (before, after)
    assert "mass-delete" in established.acted_rules()


def test_messages_that_are_moved_away_are_not_deleted_with_their_new_mailbox(established, server):
    """Whatever it is called by then, and whichever session deletes it."""
    try:
        with established.session() as wire:
            for name in ("Spare", "Heap"):
                wire.ok(f"CREATE {name}")
            wire.ok("SELECT Sent")
            wire.ok("COPY 1:400 Spare")
            wire.ok("SELECT Spare")
            wire.ok("MOVE 1:* Heap")
            assert b" NO [NOPERM] " in wire.command("DELETE Heap")[-1]
            wire.ok("RENAME Heap Other")
        with established.session() as wire:
            assert b" NO [NOPERM] " in wire.command("DELETE Other")[-1]
            wire.ok("DELETE Spare")
        assert messages_in(server, "Other") == 400
        assert "mass-delete" in established.acted_rules()
    finally:
        for name in ("Spare", "Heap", "Other"):
            shutil.rmtree(server.home() / "Maildir" / f".{name}", ignore_errors=True)


# --- Planted mail, and too many places at once --------------------------------------------------------------------------

OLD = b'" 1-Jan-2020 08:00:00 +0000" '


@pytest.mark.parametrize("dated", ["alone", "behind-another"])
def test_a_backdated_message_is_told_from_one_of_today(established, dated):
    today = time.strftime('"%d-%b-%Y %H:%M:%S +0000" ', time.gmtime()).encode()
    old, new = message(1), message(2)
    with established.session() as wire:
        assert b" OK" in wire.append("INBOX", new, options=today)[-1]
        assert b" OK" in wire.append("INBOX", new)[-1]
        assert established.acted_rules() == []
        if dated == "alone":
            assert b" OK" in wire.append("INBOX", old, options=b"(\\Seen) " + OLD)[-1]
        else:
            # Two messages in one command (RFC 3502).
            wire.send(b"m APPEND INBOX " + today + b"{%d+}\r\n" % len(new) + new
                      + b" (\\Seen) " + OLD + b"{%d+}\r\n" % len(old) + old + b"\r\n")
            assert wire.until(b"m")[-1].startswith(b"m OK")
    assert first(established, "backdated-mail-in-inbox")


def test_sessions_from_six_networks_at_once_are_reported(established):
    with contextlib.ExitStack() as open_:
        for number in range(1, 6):
            open_.enter_context(established.session(source=f"127.3.{number}.1"))
            # From the same network once more: that is no other one.
            open_.enter_context(established.session(source=f"127.3.{number}.1"))
        assert established.acted_rules() == []
        open_.enter_context(established.session(source="127.3.6.1"))
        assert first(established, "session-fan-out")


# --- A spray ------------------------------------------------------------------------------------------------------------


def test_one_password_for_two_hundred_users_from_fifty_addresses_is_seen_at_the_sixth(server, workspace, authority):
    made = Imapwarden(workspace / "sprayed", authority, server.port, more=RULES)
    made.config.write_text(made.config.read_text().replace(
        f'address: "127.0.0.1:{made.port}"', f'address: "127.0.0.1:{made.port}"\n    proxy_protocol_from: [127.0.0.1/32]'))
    endpoint = Endpoint(server, authority, made.start())
    try:
        def from_address(number: int) -> int:
            refused = 0
            for user in range(4):
                header = f"PROXY TCP4 198.51.100.{number} 192.0.2.1 40000 993\r\n".encode()
                with Wire(made.port, context=endpoint.context, before=header) as wire:
                    wire.response()
                    refused += b" NO [AUTHENTICATIONFAILED] " in wire.command(f"LOGIN user-{number}-{user} Winter2026!")[-1]
            return refused

        with ThreadPoolExecutor(50) as pool:
            assert sum(pool.map(from_address, range(1, 51))) == 200
        seen = first(endpoint, "one-password-many-users")
        assert (seen["imapwarden"]["decision"]["value"], seen["imapwarden"]["decision"]["threshold"]) == (6, 5)
        failed = [event for event in endpoint.proxy.events() if event["event"]["action"] == "login_failed"]
        assert len({event["user"]["name"] for event in failed}) == 200
        assert len({event["source"]["ip"] for event in failed}) == 50
        # Nobody is banned: each address has tried four users.
        assert [event["rule"]["name"] for event in decisions(endpoint)] == ["one-password-many-users", "spray-from-one-network"]
    finally:
        made.stop()
