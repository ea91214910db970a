"""App passwords that may do less than their owner, at real servers: what is refused never reaches them."""

import base64
import re

import pytest

from harness.backend import ALICE
from harness.endpoint import Endpoint
from harness.messages import message
from harness.proxy import Imapwarden
from harness.tap import Tap
from harness.wire import Closed, Wire

SERVERS = ("dovecot", "courier", "cyrus", "imap4d")
DENIED = b"NO [NOPERM] "


class Stand:
    """One server behind a recording wire behind a proxy that makes app passwords as tests need them."""

    def __init__(self, backend, tap: Tap, proxy: Imapwarden, authority):
        self.backend, self.tap, self.proxy = backend, tap, proxy
        self.endpoint = Endpoint(backend, authority, proxy)

    def session(self, *restrictions: str) -> Wire:
        password = self.proxy.app_password(ALICE, "restricted", *restrictions)
        wire = self.endpoint.connect()
        wire.login(ALICE, password)
        return wire

    def sent(self) -> bytes:
        """What the proxy sent to the server in its newest session."""
        return self.tap.sessions[-1].sent


@pytest.fixture(scope="module")
def stands(stage):
    made: dict[str, Stand] = {}

    def stand(name: str) -> Stand:
        if name not in made:
            backend = stage.backend(name)
            tap = Tap(backend.port)
            proxy = Imapwarden(stage.workspace / f"restricted-{name}", stage.authority, tap.port,
                               backend_options=backend.proxy_options)
            proxy.add_user(ALICE)
            proxy.app_passwords[ALICE] = proxy.app_password(ALICE)
            proxy.start()
            made[name] = Stand(backend, tap, proxy, stage.authority)
        return made[name]

    yield stand
    for each in made.values():
        each.proxy.stop()
        each.tap.stop()


@pytest.fixture
def stand(stands, request) -> Stand:
    return stands(request.param)


def on(*names: str):
    return pytest.mark.parametrize("stand", names, indirect=True)


def denied(wire: Wire, command: bytes) -> None:
    """The command, all of its bytes at once, is refused by the proxy."""
    wire.send(b"x " + command + b"\r\n")
    answer = wire.until(b"x")
    assert answer[-1].startswith(b"x " + DENIED), (command, answer)


def spellings(name: str) -> list[bytes]:
    """Every way to write a name: atom, quoted string, literal, modified UTF-7 of what needs none, UTF-8."""
    plain = name.encode()
    disguised = base64.b64encode(name[0].encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
    disguised = b"&" + disguised + b"-" + plain[1:]
    every = [plain, b'"%s"' % plain, b"{%d+}\r\n%s" % (len(plain), plain), disguised, b'"%s"' % disguised]
    last = name[-1]
    every.append(b'"%s\\\\%s"' % (plain[:-1], last.encode()) if last in '"\\' else b'"%s"' % plain)
    return every


def state(stand: Stand, mailbox: str) -> list[bytes]:
    """Messages and flags of a mailbox, in the server's own words, looked at without a trace."""
    with stand.backend.session() as wire:
        if b"* 0 EXISTS\r\n" in wire.ok(f"EXAMINE {mailbox}"):
            return []
        # imap4d numbers its messages anew.
        items = "FLAGS" if stand.backend.name == "imap4d" else "UID FLAGS"
        told = [line for line in wire.ok(f"FETCH 1:* ({items})") if line.startswith(b"* ")]
        return [re.sub(rb"\\Recent ?", b"", line) for line in told]


@on(*SERVERS)
def test_read_only_reads_everything_and_changes_nothing(stand):
    mailbox, other = stand.endpoint.make("readonly", 3), stand.endpoint.make("other")
    before = state(stand, mailbox)
    assert len(before) == 3
    with stand.session("--read-only") as wire:
        # Cyrus wants one space, with or without the proxy.
        spaces = " " if stand.backend.name == "cyrus" else "   "
        for select in (f"SELECT {mailbox}", f'sElEcT{spaces}"{mailbox}"', f"SELECT {{{len(mailbox)}+}}\r\n{mailbox}"):
            answer = wire.ok(select)
            assert b"READ-ONLY" in answer[-1], answer
        # Without PEEK: this would set \Seen.
        fetched = wire.ok("FETCH 1:3 (BODY[])")
        assert sum(line.startswith(b"* ") and b" FETCH (" in line for line in fetched) == 3
        for command in (
            b"STORE 1:3 +FLAGS (\\Deleted)",
            b"UID STORE 1:* FLAGS.SILENT (\\Seen)",
            b"EXPUNGE",
            b"UID EXPUNGE 1:*",
            b"COPY 1 %s" % other.encode(),
            b"UID MOVE 1 %s" % other.encode(),
            b"APPEND %s {5+}\r\nhello" % mailbox.encode(),
            b"CREATE %s-new" % mailbox.encode(),
            b"DELETE %s" % other.encode(),
            b"RENAME %s %s-moved" % (other.encode(), other.encode()),
            b"SUBSCRIBE %s" % other.encode(),
            b"UNSUBSCRIBE %s" % other.encode(),
            b"SETACL %s bob lrswipkxtea" % mailbox.encode(),
            b"SETMETADATA %s (/private/comment \"x\")" % mailbox.encode(),
            b"SETQUOTA \"\" (STORAGE 1)",
        ):
            denied(wire, command)
        wire.ok("CLOSE")
    assert state(stand, mailbox) == before
    assert state(stand, other) == []
    assert not re.search(rb"(?i)\b(SELECT|STORE|EXPUNGE|COPY|MOVE|APPEND|CREATE|DELETE|RENAME|SET\w+) ", stand.sent())
    assert b" EXAMINE " in stand.sent()


@on(*SERVERS)
def test_a_pipelined_change_is_refused_too(stand):
    mailbox = stand.endpoint.make("pipelined", 2)
    before = state(stand, mailbox)
    with stand.session("--read-only") as wire:
        wire.send(b"a SELECT %s\r\nb STORE 1:2 +FLAGS (\\Deleted)\r\nc EXPUNGE\r\nd FETCH 1 (FLAGS)\r\n" % mailbox.encode())
        assert wire.until(b"a")[-1].startswith(b"a OK")
        assert wire.until(b"b")[-1].startswith(b"b " + DENIED)
        assert wire.until(b"c")[-1].startswith(b"c " + DENIED)
        assert wire.until(b"d")[-1].startswith(b"d OK")
    assert state(stand, mailbox) == before


@on(*SERVERS)
def test_a_hidden_mailbox_cannot_be_reached_in_any_spelling(stand):
    shown, hidden = stand.endpoint.make("shown", 1), stand.endpoint.make("hidden", 1)
    before = state(stand, hidden)
    with stand.session("--mailbox", "INBOX", "--mailbox", shown) as wire:
        wire.ok(f"SELECT {shown}")
        for name in spellings(hidden):
            for command in (
                b"SELECT %s",
                b"EXAMINE %s",
                b"STATUS %s (MESSAGES)",
                b"COPY 1 %s",
                b"UID COPY 1 %s",
                b"MOVE 1 %s",
                b"CREATE %s",
                b"DELETE %s",
                b"SUBSCRIBE %s",
                b"RENAME %s " + shown.encode() + b"x",
                b"RENAME " + shown.encode() + b" %s",
                b"GETACL %s",
                b"MYRIGHTS %s",
                b"GETQUOTAROOT %s",
                b"GETMETADATA %s /private/comment",
                b"APPEND %s {5+}\r\nhello",
                b"ESEARCH IN (mailboxes %s) ALL",
                b"NOTIFY SET (mailboxes %s (MessageNew))",
            ):
                denied(wire, command % name)
    assert state(stand, hidden) == before
    assert b"hidden" not in stand.sent().lower()


@on("dovecot", "cyrus", "courier")
def test_an_allowed_mailbox_is_reached_in_every_spelling(stand):
    raw = stand.endpoint.make("Entw&APw-rfe", 1)
    people = raw.replace("&APw-", "ü")
    with stand.session("--mailbox", "inbox", "--mailbox", people) as wire:
        for name in (raw.encode(), b'"%s"' % raw.encode(), b"{%d+}\r\n%s" % (len(raw), raw.encode()),
                     b"inbox", b'"InBoX"', b"{5+}\r\niNbOx"):
            answer = wire.ok(b"SELECT " + name)
            assert any(b" EXISTS" in line for line in answer)
        # Whether the server takes UTF-8 is its own affair; the proxy lets the name through.
        wire.command('STATUS "'.encode() + people.encode() + b'" (MESSAGES)')
        assert people.encode() in stand.sent()


#: A hidden mailbox may be in no answer to any of these.
LISTINGS = (
    'LIST "" "*"',
    'LIST "" "%"',
    'LSUB "" "*"',
    'LIST "" "{hidden}"',
    'LIST "" {hidden}*',
)
EXTENDED = (
    'LIST (SUBSCRIBED) "" "*"',
    'LIST (SUBSCRIBED RECURSIVEMATCH) "" "%" RETURN (CHILDREN)',
    'LIST "" ("*" "%") RETURN (SUBSCRIBED CHILDREN SPECIAL-USE)',
    'LIST "" "*" RETURN (STATUS (MESSAGES UNSEEN))',
)


@on(*SERVERS)
def test_a_hidden_mailbox_is_in_no_listing(stand):
    shown, hidden = stand.endpoint.make("shown", 1), stand.endpoint.make("secret", 1)
    listings = LISTINGS + (EXTENDED if stand.backend.name in ("dovecot", "cyrus") else ())
    with stand.session("--mailbox", shown) as wire, stand.backend.session() as direct:
        for listing in listings:
            text = listing.format(hidden=hidden)
            answer = b"".join(wire.ok(text))
            assert b"secret" not in answer.lower(), (text, answer)
            assert b"INBOX " not in answer and b'"INBOX"' not in answer, (text, answer)
        assert any(shown.encode() in line for line in wire.ok('LIST "" "*"'))
        # Or the test would prove nothing.
        assert any(hidden.encode() in line for line in direct.ok('LIST "" "*"'))
        # The separator is told all the same.
        assert any(line.startswith(b"* LIST") for line in wire.ok('LIST "" ""'))


@on("cyrus")
def test_annotations_of_hidden_mailboxes_are_not_shown(stand):
    shown, hidden = stand.endpoint.make("shown"), stand.endpoint.make("secret")
    with stand.backend.session() as direct:
        for mailbox in (shown, hidden):
            direct.ok(f'SETMETADATA {mailbox} (/private/comment "word")')
    with stand.session("--mailbox", shown) as wire:
        assert any(b"word" in line for line in wire.ok(f"GETMETADATA {shown} /private/comment"))
        denied(wire, f"GETMETADATA {hidden} /private/comment".encode())
        for text in ('GETANNOTATION "*" "/comment" "value.priv"', 'LIST "" "*" RETURN (METADATA (/private/comment))'):
            assert b"secret" not in b"".join(wire.command(text)).lower()


@on("dovecot", "cyrus")
def test_a_download_beyond_the_budget_is_stopped_while_it_happens(stand):
    mailbox = stand.endpoint.make("budget")
    with stand.backend.session() as direct:
        for number in range(20):
            assert b" OK" in direct.append(mailbox, message(number, 200_000))[-1]
    password = stand.proxy.app_password(ALICE, "budget", "--budget-bytes", "1MiB")
    wire = stand.endpoint.connect()
    wire.login(ALICE, password)
    wire.ok(f"SELECT {mailbox}")
    wire.send(b"a FETCH 1:* BODY.PEEK[]\r\n")
    with pytest.raises(Closed):
        wire.until(b"a")
    assert 1 << 19 < len(wire.received) < (1 << 20) + (1 << 17)
    with stand.endpoint.connect() as again:
        again.login(ALICE, password)
        again.ok(f"SELECT {mailbox}")
        assert b" NO [LIMIT] " in again.command("FETCH 1 (FLAGS)")[-1]
        again.ok("SEARCH ALL")


@on(*SERVERS)
def test_append_only_puts_in_and_reads_nothing(stand):
    mailbox = stand.endpoint.make("inlet")
    with stand.session("--profile", "append-only", "--mailbox", mailbox) as wire:
        assert b" OK" in wire.append(mailbox, message(1), plus=True)[-1]
        for command in (b"SELECT %s" % mailbox.encode(), b"EXAMINE %s" % mailbox.encode(), b"APPEND INBOX {5+}\r\nhello"):
            denied(wire, command)
    assert len(state(stand, mailbox)) == 1
