"""Logging in: every form that real clients use, and refusals that say nothing."""

import base64
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.backend import ALICE, BOB, PASSWORDS
from harness.wire import Closed

#: Servers that offer AUTHENTICATE PLAIN in clear; the proxy always does.
WITH_PLAIN = ("dovecot", "cyrus")


def plain(user: str, password: str, authzid: str = "") -> bytes:
    return base64.b64encode(f"{authzid}\0{user}\0{password}".encode())


@pytest.mark.parametrize("user", [ALICE, BOB])
def test_login_command_with_literals(endpoint, user):
    with endpoint.session(user) as wire:
        wire.ok("NOOP")


def test_the_server_itself_refuses_a_wrong_password(proxied):
    """Or the other tests would prove nothing."""
    with proxied.backend.connect() as wire:
        wire.response()
        assert b" NO " in wire.command(f"LOGIN {ALICE} wrong")[-1]


def test_login_command_with_quoted_strings(endpoint):
    with endpoint.connect() as wire:
        wire.response()
        wire.ok(f'LOGIN "{ALICE}" "{endpoint.password()}"')


def test_login_command_with_atoms(endpoint):
    with endpoint.connect() as wire:
        wire.response()
        wire.ok(f"LOGIN {ALICE} {endpoint.password()}")


def test_authenticate_plain_with_initial_response(proxied):
    """curl, alpine: SASL-IR and no authorization identity."""
    with proxied.connect() as wire:
        assert b" SASL-IR" in wire.response()
        wire.ok(b"AUTHENTICATE PLAIN " + plain(ALICE, proxied.password()))


def test_authenticate_plain_whose_authzid_is_the_user(proxied):
    """mbsync and mutt."""
    with proxied.connect() as wire:
        wire.response()
        wire.ok(b"AUTHENTICATE PLAIN " + plain(ALICE, proxied.password(), ALICE))


def test_authenticate_plain_without_initial_response(proxied):
    """Thunderbird, in lower case, although SASL-IR is offered."""
    with proxied.connect() as wire:
        wire.response()
        wire.send(b"1 authenticate PLAIN\r\n")
        assert wire.until(b"+")[-1].startswith(b"+")
        wire.send(plain(ALICE, proxied.password()) + b"\r\n")
        assert wire.until(b"1")[-1].startswith(b"1 OK")


def test_authenticate_login(proxied):
    with proxied.connect() as wire:
        wire.response()
        wire.send(b"1 AUTHENTICATE LOGIN\r\n")
        wire.until(b"+")
        wire.send(base64.b64encode(ALICE.encode()) + b"\r\n")
        wire.until(b"+")
        wire.send(base64.b64encode(proxied.password().encode()) + b"\r\n")
        assert wire.until(b"1")[-1].startswith(b"1 OK")


def test_an_authzid_that_is_somebody_else_is_refused(proxied):
    with proxied.connect() as wire:
        wire.response()
        answer = wire.command(b"AUTHENTICATE PLAIN " + plain(ALICE, proxied.password(), BOB))
        assert b" OK" not in answer[-1]


def test_a_password_of_odd_bytes_reaches_the_server_unharmed(proxied):
    """Bob's mail password has quotes, a backslash, braces and a space; the app password opens his mail with it."""
    with proxied.session(BOB) as wire:
        wire.ok("SELECT INBOX")
        # Nobody but Bob has three messages only.
        assert b"* 3 EXISTS\r\n" in wire.received


def refusal(proxied, user: str, password: str) -> tuple[bytes, float]:
    with proxied.connect() as wire:
        wire.response()
        began = time.monotonic()
        wire.send(b"a AUTHENTICATE PLAIN " + plain(user, password) + b"\r\n")
        return wire.until(b"a")[-1], time.monotonic() - began


@pytest.mark.backends("dovecot")
def test_every_refusal_says_the_same(proxied):
    good = proxied.password()
    wrong_end = good[:-1] + ("0" if good[-1] != "0" else "1")
    cases = {
        "wrong password": (ALICE, "wrong"),
        "the mail password without a second factor": (ALICE, PASSWORDS[ALICE]),
        "app password with a typo": (ALICE, wrong_end),
        "mail password with a wrong code": (ALICE, PASSWORDS[ALICE] + "000000"),
        "somebody else's app password": (BOB, good),
        "unknown user": ("nobody-of-this-name", "wrong"),
        "unknown user with an app password": ("nobody-of-this-name", good),
    }
    answers = {case: refusal(proxied, *words) for case, words in cases.items()}
    texts = {answer for answer, _ in answers.values()}
    assert len(texts) == 1, answers
    text = texts.pop()
    assert text.startswith(b"a NO [AUTHENTICATIONFAILED] "), text
    # Nothing of what was refused may have come to the server.
    assert "nobody-of-this-name" not in proxied.backend.log_text()


@pytest.mark.backends("dovecot")
def test_a_refused_guess_never_reaches_the_server(stage, proxied):
    before = proxied.backend.log_text().count("auth failed")
    refusal(proxied, ALICE, "another wrong password")
    refusal(proxied, ALICE, PASSWORDS[ALICE])
    assert proxied.backend.log_text().count("auth failed") == before


def test_five_logins_at_once_with_one_password(endpoint):
    """Thunderbird: two in the same millisecond, three more a little later."""
    def one(number: int) -> bytes:
        with endpoint.session() as wire:
            wire.ok("SELECT INBOX")
            return wire.ok("SEARCH 1:3")[0]

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(one, range(5)))
    assert answers == [b"* SEARCH 1 2 3\r\n"] * 5


def test_the_capabilities_after_login_can_be_believed(proxied):
    """What the proxy does not let pass is not offered."""
    with proxied.session() as wire:
        lists = [line for line in wire.ok("CAPABILITY") if line.startswith(b"* CAPABILITY")]
        words = lists[0].upper().split()
        for absent in (b"COMPRESS=DEFLATE", b"STARTTLS", b"UNAUTHENTICATE", b"LOGINDISABLED"):
            assert absent not in words
        assert not [word for word in words if word.startswith(b"AUTH=")]
        assert b"LITERAL+" in words


@pytest.mark.backends("dovecot")
def test_the_server_logs_sessions_under_the_user_that_was_verified(proxied):
    with proxied.session() as wire:
        wire.ok("SELECT INBOX")
    assert "Login: user=<alice>" in proxied.backend.log_text()


@pytest.mark.backends("dovecot")
def test_commands_before_login_are_refused(proxied):
    with proxied.connect() as wire:
        wire.response()
        for text in ("SELECT INBOX", "LIST \"\" *", "IDLE", "APPEND INBOX {3+}\r\nabc"):
            wire.send(f"x {text}\r\n".encode())
            assert b" BAD " in wire.until(b"x")[-1]


@pytest.mark.backends("dovecot")
def test_http_ends_at_once(proxied):
    with proxied.connect(timeout=5) as wire:
        wire.response()
        wire.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pytest.raises(Closed):
            while True:
                wire.response()
