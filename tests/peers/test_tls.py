"""TLS with other libraries: OpenSSL, GnuTLS and Python's module, however the network cuts and joins what they send."""

import hashlib
import subprocess

import pytest

from harness.backend import ALICE
from harness.cutter import Cutter
from harness.messages import message
from harness.tls_clients import NUMBERS
from harness.tls_clients import ProgramWire
from harness.tls_clients import PythonWire
from harness.tls_clients import connect
from harness.tls_clients import gnutls
from harness.tls_clients import openssl
from harness.tls_clients import python_context
from harness.wire import Wire
from test_wire import literal

pytestmark = pytest.mark.backends("dovecot")
VERSIONS = ("1.2", "1.3")
CLIENTS = ("openssl", "gnutls", "python")
#: Sizes of pieces; none is as it comes, and `joined` is what comes together in one.
CUTS = (None, 1, 2, 3, 5, 7, 1000, "joined")
LARGE = 300_000


@pytest.fixture
def mailbox(proxied):
    """A mailbox with one large message, put there around the proxy."""
    made = proxied.make("tls")
    with proxied.backend.session() as wire:
        assert b" OK" in wire.append(made, message(70, LARGE))[-1]
    return made


def log_out(wire: Wire) -> None:
    wire.send(b"z LOGOUT\r\n")
    answer = wire.until(b"z")
    assert answer[0].startswith(b"* BYE") and answer[-1].startswith(b"z OK"), answer


def fetched(wire: Wire, number: int) -> bytes:
    return literal(wire.ok(f"FETCH {number} (BODY.PEEK[])")[0])


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_session_is_the_same_however_its_bytes_are_cut_and_joined(proxied, mailbox, workspace, client, version, cut):
    sent = message(71, LARGE // 3)
    size = None if cut == "joined" else cut
    with Cutter(proxied.port, size) as cutter:
        port = proxied.port if cut is None else cutter.port
        with connect(client, port, proxied.authority, version, workspace) as wire:
            wire.login(ALICE, proxied.password())
            wire.ok(f"SELECT {mailbox}")
            assert fetched(wire, 1) == message(70, LARGE)
            assert b" OK" in wire.append(mailbox, sent)[-1]
            log_out(wire)
            wire.ends_properly()
    with proxied.backend.session() as wire:
        wire.ok(f"SELECT {mailbox}")
        assert fetched(wire, 2) == sent


@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_resumes_a_session(proxied, workspace, version):
    ticket = workspace / f"openssl-{version}.session"

    def visit(*options) -> str:
        words = f"a LOGIN {ALICE} {proxied.password()}\r\nb LOGOUT\r\n"
        command = openssl(proxied.port, proxied.authority, version, "-ign_eof", *options)
        done = subprocess.run([str(word) for word in command], input=words.encode(), capture_output=True, timeout=60)
        said = done.stdout.decode(errors="replace")
        assert "\na OK " in said and "\nb OK " in said, said
        return said

    assert f"New, TLSv{version}" in visit("-sess_out", ticket)
    assert f"Reused, TLSv{version}" in visit("-sess_in", ticket)


@pytest.mark.parametrize("version", VERSIONS)
def test_gnutls_resumes_a_session(proxied, workspace, version):
    log = workspace / f"gnutls-resumes-{version}.log"
    with ProgramWire(gnutls(proxied.port, proxied.authority, version, "--resume", f"--logfile={log}.txt"), log) as wire:
        # The first connection ends at once; this is the greeting of the second, unless both came.
        wire.login(ALICE, proxied.password())
        log_out(wire)
        wire.ends_properly()
    assert "This is a resumed session" in (workspace / f"{log.name}.txt").read_text()


@pytest.mark.parametrize("version", VERSIONS)
def test_python_resumes_a_session(proxied, version):
    context = python_context(proxied.authority, version)
    session = None
    for resumed in (False, True):
        with PythonWire(proxied.port, proxied.authority, version, context=context, session=session) as wire:
            wire.login(ALICE, proxied.password())
            assert wire.socket.session_reused is resumed
            session = wire.socket.session
            log_out(wire)
            wire.ends_properly()


def plain_text(size: int) -> bytes:
    """A message without a letter that `s_client` takes for a command."""
    lines = (hashlib.sha256(b"%d" % number).hexdigest().encode() + b"\r\n" for number in range(size // 66))
    return b"subject: 1\r\n\r\n" + b"".join(lines)


def test_openssl_changes_keys_and_has_ours_changed(proxied, mailbox, workspace):
    """`k` changes the client's keys, `K` those of both: between commands, in the middle of an answer, and in IDLE."""
    log = workspace / f"openssl-{next(NUMBERS)}.log"
    command = openssl(proxied.port, proxied.authority, "1.3", "-quiet", "-verify_quiet", "-no_ign_eof")
    with ProgramWire(command, log) as wire:
        changes = 0

        def change(letter: bytes) -> None:
            nonlocal changes
            changes += 1
            wire.send(letter + b"\n")
            wire.says("KEYUPDATE", changes)

        wire.login(ALICE, proxied.password())
        wire.ok(f"SELECT {mailbox}")
        for letter in (b"k", b"K", b"K", b"k"):
            change(letter)
            assert fetched(wire, 1) == message(70, LARGE)
        wire.send(b"f FETCH 1 (BODY.PEEK[])\r\n")
        wire.arrives()
        change(b"K")
        assert literal(wire.until(b"f")[0]) == message(70, LARGE)
        sent = plain_text(LARGE)
        assert b" OK" in wire.append(mailbox, sent)[-1]
        assert fetched(wire, 2) == sent
        wire.send(b"i IDLE\r\n")
        wire.until(b"+")
        change(b"K")
        wire.send(b"DONE\r\n")
        assert wire.until(b"i")[-1].startswith(b"i OK")
        log_out(wire)
        wire.ends_properly()


def test_gnutls_changes_keys_and_has_ours_changed(proxied, mailbox, workspace):
    log = workspace / f"gnutls-{next(NUMBERS)}.log"
    # What it says comes among the data: only there it says at once that keys were changed.
    with ProgramWire(gnutls(proxied.port, proxied.authority, "1.3", "--inline-commands"), log) as wire:
        wire.skip_to(b"- Simple Client Mode:\n\n")
        wire.login(ALICE, proxied.password())
        wire.ok(f"SELECT {mailbox}")
        for order in (b"^rekey1^\n", b"^rekey^\n"):
            wire.send(order)
            wire.skip_to(b"- Rekey was completed\n")
            assert fetched(wire, 1) == message(70, LARGE)
        log_out(wire)
        wire.ends_properly()
