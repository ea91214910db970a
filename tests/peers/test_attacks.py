"""What a client hides in what it sends, judged by what real mail servers say they ran. See docs/known-attacks.md.

Between proxy and server stands a recording wire: what was sent there is known byte for byte.
"""

import itertools
import re
import time

import pytest

from harness.backend import ALICE
from harness.endpoint import Endpoint
from harness.process import run
from harness.proxy import Imapwarden
from harness.tap import Tap
from harness.wire import Closed, Wire

NUMBERS = itertools.count(1)
#: Servers that say themselves which commands they ran.
TELLING = ("dovecot", "cyrus")
#: Commands with a literal that does not wait where none may stand, or where the server looks at it too late: `%d` is its
#: length, and the literal's bytes come behind. Dovecot 2.3 runs those of the first list as commands.
RUN_BY_DOVECOT = {
    "noop": b"a NOOP {%d+}\r\n",
    "capability": b"a CAPABILITY {%d+}\r\n",
    "check": b"a CHECK {%d+}\r\n",
    "expunge": b"a EXPUNGE {%d+}\r\n",
    "uid-foo": b"a UID FOO {%d+}\r\n",
    "unknown": b"a XYZ {%d+}\r\n",
    "append-bad-flag": b"a APPEND INBOX (\\Bad) {%d+}\r\n",
    "append-two-names": b'a APPEND INBOX "xx" {%d+}\r\n',
}
NONSYNC = {
    **RUN_BY_DOVECOT,
    "open-quote": b'a SELECT "x{%d+}\r\n',
    "append-nowhere": b"a APPEND nowhere {%d+}\r\n",
    "search-charset": b"a SEARCH CHARSET nonsense SUBJECT {%d+}\r\n",
    "id": b'a ID ("name" {%d+}\r\n',
    "idle": b"a IDLE {%d+}\r\n",
    "logout": b"a LOGOUT {%d+}\r\n",
    "compress": b"a COMPRESS {%d+}\r\n",
    "literal8": b"a SELECT ~{%d+}\r\n",
    "two-literals": b"a SELECT {1+}\r\nx{%d+}\r\n",
    "parentheses": b"a FETCH 1 (((((((((((((((((((((((((((((((( {%d+}\r\n",
}
#: Commands that come behind something that the proxy and a server could read differently.
CONTAINERS = {
    "sync-where-none-belongs": b"a NOOP {%d}\r\n",
    "sync-without-waiting": b"a APPEND nowhere {%d}\r\n",
    "sync-bad-flag": b"a APPEND INBOX (\\Bad) {%d}\r\n",
    "sync-open-quote": b'a SELECT "x{%d}\r\n',
    "bare-lf": b"a NOOP\n",
    "bare-cr": b"a NOOP\r",
    "nul": b"a NOOP\0\r\n",
    "size-that-wraps": b"a NOOP {4294967301+}\r\n",
    "size-that-wraps-twice": b"a NOOP {18446744073709551621+}\r\n",
    "size-with-space": b"a SELECT { 3}\r\n",
    "size-with-minus": b"a SELECT {3-}\r\n",
    "size-with-sign": b"a SELECT {+3}\r\n",
    "idle": b"a IDLE\r\n",
    "idle-with-arguments": b"a IDLE now\r\n",
    "spaces": b"  \r\n",
    "no-tag": b"NOOP\r\n",
    "control-characters": b"a\x01b NOOP\x7f\r\n",
    "parenthesis-tag": b"(a NOOP\r\n",
}


class Stand:
    """One server behind a recording wire behind a proxy."""

    def __init__(self, endpoint: Endpoint, tap: Tap):
        self.endpoint = endpoint
        self.backend = endpoint.backend
        self.tap = tap

    def session(self) -> Wire:
        return self.endpoint.session()

    def sent(self) -> bytes:
        """All that the proxy sent to the server in sessions that are over or go on."""
        return b"".join(session.sent for session in self.tap.sessions)

    def has(self, mailbox: str) -> bool:
        """Whether the server has the mailbox, in its own words."""
        with self.backend.session() as wire:
            return any(mailbox.encode() in line for line in wire.ok('LIST "" "*"'))

    def tells(self, tag: str) -> bool:
        """Whether the server's own log or transcript says that it ran the command with this tag."""
        if self.backend.name == "dovecot":
            return any(each.get("cmd_tag") == tag for each in self.backend.executed())
        return answered(self.backend.transcript(), tag.encode()) > 0

    def ran(self, tag: str, mailbox: str) -> bool:
        """Whether the server ran a hidden CREATE: it says so, or the mailbox is there."""
        return (self.backend.name in TELLING and self.tells(tag)) or self.has(mailbox)

    def refused_ones(self) -> int:
        """How many commands the server says it ran that the proxy must never pass on."""
        if self.backend.name == "dovecot":
            return sum(each.get("cmd_tag", "").startswith("ref") for each in self.backend.executed())
        return answered(self.backend.transcript(), rb"ref\d")


def eventually(what, within: float = 10.0) -> bool:
    """Whether something comes true: a server may write its log after its answer."""
    deadline = time.monotonic() + within
    while not (true := what()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return true


def answered(transcript: bytes, tags: bytes) -> int:
    """How many commands with such tags Cyrus answered; `>time>` stands before what it recorded first."""
    return len(re.findall(rb"^(?:[<>]\d+[<>])?(?:" + tags + rb") (?:OK|NO|BAD)", transcript, re.MULTILINE))


@pytest.fixture(scope="module")
def stands(stage):
    made: dict[str, tuple[Stand, Imapwarden]] = {}

    def stand(name: str) -> Stand:
        if name not in made:
            backend = stage.backend(name)
            tap = Tap(backend.port)
            proxy = Imapwarden(stage.workspace / f"attacked-{name}", stage.authority, tap.port,
                               backend_options=backend.proxy_options)
            proxy.add_user(ALICE)
            proxy.app_passwords[ALICE] = proxy.app_password(ALICE)
            proxy.start()
            made[name] = (Stand(Endpoint(backend, stage.authority, proxy), tap), proxy)
        return made[name][0]

    yield stand
    for stand_, proxy in made.values():
        proxy.stop()
        stand_.tap.stop()


@pytest.fixture
def stand(stands, request) -> Stand:
    return stands(request.param)


def on(*names: str):
    return pytest.mark.parametrize("stand", names, indirect=True)


def hidden(backend) -> tuple[str, str, bytes]:
    """A command that leaves a trace when it runs: its tag, its mailbox, its bytes."""
    number = next(NUMBERS)
    tag, mailbox = f"evil{number}", backend.mailbox(f"hidden{number}x")
    return tag, mailbox, f"{tag} CREATE {mailbox}\r\n".encode()


def settle(wire: Wire) -> bytes:
    """All answers up to one to a last command, or up to the end of the session."""
    before = len(wire.received)
    try:
        wire.send(b"\r\nlast NOOP\r\n")
        wire.until(b"last")
    except (Closed, OSError):
        pass
    return bytes(wire.received[before:])


@on("dovecot", "courier", "cyrus", "imap4d")
def test_a_command_that_is_not_hidden_leaves_its_trace(stand):
    """Or the other tests would prove nothing."""
    tag, mailbox, command = hidden(stand.backend)
    with stand.session() as wire:
        wire.send(command)
        assert wire.until(tag.encode())[-1].startswith(tag.encode() + b" OK")
    assert stand.has(mailbox)
    if stand.backend.name in TELLING:
        assert eventually(lambda: stand.tells(tag))
    assert command in stand.sent()


@on("dovecot")
@pytest.mark.parametrize("name", RUN_BY_DOVECOT)
def test_the_server_alone_would_run_what_hides_in_a_literal(stand, name):
    """The attack is real: without the proxy it works, on the versions that have it."""
    if not run(["dovecot", "--version"]).stdout.startswith("2.3."):
        return
    tag, mailbox, command = hidden(stand.backend)
    with stand.backend.session() as wire:
        wire.ok("SELECT INBOX")
        wire.send(RUN_BY_DOVECOT[name] % len(command) + command)
        settle(wire)
    assert stand.ran(tag, mailbox)


@on("dovecot", "courier", "cyrus", "imap4d")
@pytest.mark.parametrize("name", NONSYNC)
def test_the_bytes_of_a_literal_are_never_run(stand, name):
    tag, mailbox, command = hidden(stand.backend)
    with stand.session() as wire:
        wire.ok("SELECT INBOX")
        wire.send(NONSYNC[name] % len(command) + command)
        said = settle(wire)
    assert tag.encode() not in said, said
    assert not stand.ran(tag, mailbox)


@on("dovecot", "courier", "cyrus", "imap4d")
def test_the_server_never_gets_a_literal_that_does_not_wait(stand):
    """P3: what the server accepts, it has asked for."""
    mailbox = stand.endpoint.make("asked")
    with stand.session() as wire:
        wire.send(b"a SELECT {%d+}\r\n%s\r\n" % (len(mailbox), mailbox.encode()))
        assert wire.until(b"a")[-1].startswith(b"a OK")
        assert b" OK" in wire.append(mailbox, b"Subject: x\r\n\r\nb CREATE never\r\n", plus=True)[-1]
    sent = stand.sent()
    assert b"SELECT {%d}\r\n" % len(mailbox) in sent
    assert not re.search(rb"\{\d+\+\}\r\n", sent)


@on(*TELLING)
@pytest.mark.parametrize("name", CONTAINERS)
def test_what_is_refused_stays_refused_wherever_it_hides(stand, name):
    """P1, P2, P3, P4: each of these commands changes who speaks or how, and passes a proxy that loses count once."""
    commands = b"ref1 UNAUTHENTICATE\r\nref2 COMPRESS DEFLATE\r\nref3 LOGIN carol carol-mail-password\r\n"
    container = CONTAINERS[name]
    before = stand.refused_ones()
    with stand.session() as wire:
        wire.ok("SELECT INBOX")
        wire.send((container % len(commands) if b"%d" in container else container) + commands)
        said = settle(wire)
    assert not re.search(rb"^ref\d OK", said, re.MULTILINE), said
    sent = stand.sent().upper()
    for verb in (b"UNAUTHENTICATE", b"COMPRESS", b"LOGIN CAROL"):
        assert verb not in sent
    assert stand.refused_ones() == before


@on(*TELLING)
def test_a_refused_command_that_runs_is_told(stand):
    """Or the test above would prove nothing."""
    before = stand.refused_ones()
    with stand.backend.session() as wire:
        wire.send(b"ref1 UNAUTHENTICATE\r\n")
        wire.until(b"ref1")
    assert eventually(lambda: stand.refused_ones() == before + 1)


@on("dovecot", "courier", "cyrus")
def test_in_idle_only_done_reaches_the_server(stand):
    """P2."""
    tag, mailbox, command = hidden(stand.backend)
    with stand.session() as wire:
        wire.ok("SELECT INBOX")
        wire.send(b"i IDLE\r\n")
        wire.expect_continuation(b"i")
        wire.send(command + b"DONE\r\n" + command)
        said = settle(wire)
    assert b"* BYE" in said, said
    assert not stand.ran(tag, mailbox)
    assert command not in stand.sent()


@on("dovecot", "courier", "cyrus")
def test_bytes_of_a_message_are_never_commands(stand):
    """A message is what its announced size says, whatever it looks like, and the command behind it is judged again."""
    tag, mailbox, command = hidden(stand.backend)
    target = stand.endpoint.make("message")
    content = b"Subject: x\r\n\r\n" + command + b".\r\n" + command
    with stand.session() as wire:
        for plus in (False, True):
            assert b" OK" in wire.append(target, content, plus=plus)[-1]
        # One byte less than announced would make the next command part of the message; one more, a command of the rest.
        wire.send(b"s APPEND %s {%d+}\r\n" % (target.encode(), len(content) - len(command)) + content + b"\r\n")
        said = settle(wire)
    assert tag.encode() + b" OK" not in said, said
    assert not stand.ran(tag, mailbox)


@on("dovecot", "courier", "cyrus", "imap4d")
def test_a_mailbox_is_the_same_in_every_spelling(stand):
    """P5: the literal's bytes are the name, not `{5}`."""
    mailbox = stand.endpoint.make("spelling")
    forms = (mailbox.encode(), b'"%s"' % mailbox.encode(), b"{%d+}\r\n%s" % (len(mailbox), mailbox.encode()))
    with stand.session() as wire:
        for form in forms:
            wire.send(b"a EXAMINE " + form + b"\r\n")
            assert wire.until(b"a")[-1].startswith(b"a OK"), form


@on(*TELLING)
def test_a_failed_select_leaves_no_mailbox_selected(stand):
    """P6: the server's answer counts. What follows is answered as the server answers it without the proxy."""
    answers = []
    for wire in (stand.session(), stand.backend.session()):
        with wire:
            wire.ok("SELECT INBOX")
            wire.command("SELECT nowhere-at-all")
            answers.append(wire.command("FETCH 1 (FLAGS)")[-1].split(b" ")[1])
    assert answers[0] == answers[1]
