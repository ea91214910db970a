"""Sessions on the bare wire: what clients send in odd ways must work as it does at the server itself."""

import hashlib
import re
import time

import pytest

from harness.messages import message
from harness.wire import Wire

#: Servers that tell an idling client about another one's changes.
PUSHING = ("dovecot", "courier", "cyrus")
FETCHED = re.compile(rb"^\* \d+ FETCH \(.*?\{(\d+)\}\r\n", re.DOTALL)


def literal(response: bytes) -> bytes:
    """The only literal of a FETCH response."""
    head = FETCHED.match(response)
    assert head, response[:200]
    return response[head.end():head.end() + int(head[1])]


def idle(wire: Wire) -> None:
    wire.send(b"i IDLE\r\n")
    assert wire.until(b"+")[-1].startswith(b"+")


@pytest.mark.backends(*PUSHING)
def test_idle_pushes_what_another_client_appends(endpoint):
    mailbox = endpoint.make("push", 1)
    with endpoint.session() as waiting, endpoint.session() as other:
        waiting.ok(f"SELECT {mailbox}")
        idle(waiting)
        assert b" OK" in other.append(mailbox, message(50))[-1]
        seen = b""
        deadline = time.monotonic() + 20
        while b"* 2 EXISTS" not in seen:
            assert time.monotonic() < deadline, seen
            seen += waiting.response()
        waiting.send(b"DONE\r\n")
        assert waiting.until(b"i")[-1].startswith(b"i OK")


@pytest.mark.backends(*PUSHING)
def test_done_and_the_next_command_in_one_packet(endpoint):
    """aerc and Thunderbird."""
    mailbox = endpoint.make("done", 1)
    with endpoint.session() as wire:
        wire.ok(f"SELECT {mailbox}")
        for number in range(5):
            idle(wire)
            wire.send(b"DONE\r\nn%d UID FETCH 1 (FLAGS)\r\n" % number)
            assert wire.until(b"i")[-1].startswith(b"i OK")
            assert any(b"FETCH" in line for line in wire.until(b"n%d" % number))


def test_two_clients_see_each_others_flags(endpoint):
    mailbox = endpoint.make("flags", 3)
    with endpoint.session() as one:
        one.ok(f"SELECT {mailbox}")
        one.ok("STORE 2 +FLAGS (\\Flagged)")
        # imap4d writes flags when the mailbox is closed, and shows no running session the changes of another.
        if endpoint.backend.name == "imap4d":
            one.ok("CLOSE")
        with endpoint.session() as two:
            two.ok(f"SELECT {mailbox}")
            flags = b"".join(two.ok("FETCH 2 (FLAGS)"))
            assert b"\\Flagged" in flags
            if endpoint.backend.name == "imap4d":
                return
            two.ok("STORE 2 +FLAGS (\\Answered)")
        seen = b"".join(one.ok("NOOP") + one.ok("FETCH 2 (FLAGS)"))
        assert b"\\Answered" in seen and b"\\Flagged" in seen


def test_dozens_of_pipelined_commands(endpoint):
    """mbsync: one burst of UID FETCH, answered in order."""
    with endpoint.session() as wire:
        wire.ok("SELECT INBOX")
        wire.send(b"".join(b"p%d UID FETCH %d (UID BODY.PEEK[])\r\n" % (n, n) for n in range(1, 61)))
        # Dovecot runs several at once: the mail of the next may come before the tagged OK of the last.
        answers = []
        for number in range(1, 61):
            answers += wire.until(b"p%d" % number)
            assert answers[-1].startswith(b"p%d OK" % number)
        mails = [line for line in answers if b"BODY[]" in line]
        assert [int(re.search(rb"UID (\d+)", line)[1]) for line in mails] == list(range(1, 61))


def test_a_command_cut_into_single_bytes(endpoint):
    with endpoint.session() as wire:
        for byte in b"slow SELECT INBOX\r\nnext NOOP\r\n":
            wire.send(bytes([byte]))
        assert wire.until(b"slow")[-1].startswith(b"slow OK")
        assert wire.until(b"next")[-1].startswith(b"next OK")


@pytest.mark.parametrize("plus", [False, True], ids=["sync", "nonsync"])
@pytest.mark.parametrize("size", [0, 1, 5000, 70_000, 1_000_000])
def test_append_and_fetch_give_the_same_bytes(endpoint, plus, size):
    if not endpoint.proxied and endpoint.backend.name == "courier":
        # Courier itself has no LITERAL+; the proxy offers it for every server.
        plus = False
    mailbox = endpoint.make("append")
    content = message(61, size)
    with endpoint.session() as wire:
        assert b" OK" in wire.append(mailbox, content, plus=plus)[-1]
        wire.ok(f"SELECT {mailbox}")
        assert literal(wire.ok("FETCH 1 (BODY.PEEK[])")[0]) == content


def test_a_message_of_50_mb_both_ways(endpoint):
    mailbox = endpoint.make("big")
    # imap4d takes a minute for what the others do in a second.
    content = message(62, 5_000_000 if endpoint.backend.name == "imap4d" else 50_000_000)
    with endpoint.session(timeout=120) as wire:
        assert b" OK" in wire.append(mailbox, content)[-1]
        wire.ok(f"SELECT {mailbox}")
        got = literal(next(line for line in wire.ok("FETCH 1 (BODY.PEEK[])") if b"FETCH" in line))
        assert hashlib.sha256(got).hexdigest() == hashlib.sha256(content).hexdigest()
        wire.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        wire.ok("EXPUNGE")


@pytest.mark.backends("courier")
def test_raw_utf8_mailbox_names(endpoint):
    """Thunderbird after ENABLE UTF8=ACCEPT."""
    name = f"INBOX.日本語.受信-{'proxy' if endpoint.proxied else 'direct'}".encode()
    with endpoint.session() as wire:
        wire.ok("ENABLE UTF8=ACCEPT")
        wire.ok(b'CREATE "%s"' % name)
        assert any(name in line for line in wire.ok(b'LIST "" "INBOX.*"'))
        wire.ok(b'SELECT "%s"' % name)
        answer = wire.ok(b'STATUS "%s" (MESSAGES)' % name)
        assert name in answer[0]
        wire.ok("CLOSE")
        wire.ok(b'DELETE "%s"' % name)


def test_modified_utf7_mailbox_names(endpoint):
    name = endpoint.new_mailbox("Entw&APw-rfe")
    with endpoint.session() as wire:
        wire.ok(f'CREATE "{name}"')
        assert any(name.encode() in line for line in wire.ok('LIST "" "*"'))
        wire.ok(f'SELECT "{name}"')


def test_mailbox_names_as_literals(endpoint):
    mailbox = endpoint.make("literal", 2).encode()
    with endpoint.session() as wire:
        wire.send(b"a SELECT {%d}\r\n" % len(mailbox))
        wire.until(b"+")
        wire.send(mailbox + b"\r\n")
        answer = wire.until(b"a")
        assert answer[-1].startswith(b"a OK") and b"* 2 EXISTS\r\n" in answer


def test_search_by_literal(endpoint):
    with endpoint.session() as wire:
        wire.ok("SELECT INBOX")
        wire.send(b"a SEARCH SUBJECT {7}\r\n")
        wire.until(b"+")
        wire.send(b"invoice\r\n")
        answer = wire.until(b"a")
        assert answer[-1].startswith(b"a OK")
        found = [line for line in answer if line.startswith(b"* SEARCH")][0].split()[2:]
        assert found[:4] == [b"1", b"2", b"3", b"4"]


def test_copy_store_expunge(endpoint):
    source, target = endpoint.make("source", 4), endpoint.make("target")
    with endpoint.session() as wire:
        wire.ok(f"SELECT {source}")
        wire.ok(f"COPY 1:2 {target}")
        wire.ok("STORE 1:2 +FLAGS (\\Deleted)")
        expunged = [line for line in wire.ok("EXPUNGE") if b"EXPUNGE\r\n" in line]
        # imap4d expunges without saying so.
        assert len(expunged) == (0 if endpoint.backend.name == "imap4d" else 2)
        wire.ok(f"SELECT {target}")
        assert b"* 2 EXISTS" in wire.received
        assert any(line.startswith(b"* STATUS") and b"MESSAGES 2" in line
                   for line in wire.ok(f"STATUS {source} (MESSAGES UIDNEXT)"))


def test_rename_and_delete(endpoint):
    mailbox, renamed = endpoint.make("rename", 1), endpoint.new_mailbox("renamed")
    with endpoint.session() as wire:
        wire.ok(f"RENAME {mailbox} {renamed}")
        wire.ok(f"SELECT {renamed}")
        wire.ok("CLOSE")
        wire.ok(f"DELETE {renamed}")
        assert not any(renamed.encode() in line for line in wire.ok('LIST "" "*"'))


@pytest.mark.backends("dovecot", "cyrus")
def test_move(endpoint):
    source, target = endpoint.make("source", 3), endpoint.make("target")
    with endpoint.session() as wire:
        wire.ok(f"SELECT {source}")
        assert any(b"COPYUID" in line for line in wire.ok(f"MOVE 2 {target}"))
        assert b"MESSAGES 1" in wire.ok(f"STATUS {target} (MESSAGES)")[0]


@pytest.mark.backends("dovecot", "cyrus")
def test_condstore_and_qresync(endpoint):
    mailbox = endpoint.make("qresync", 3)
    with endpoint.session() as wire:
        wire.ok("ENABLE QRESYNC")
        answer = b"".join(wire.ok(f"SELECT {mailbox}"))
        validity = re.search(rb"UIDVALIDITY (\d+)", answer)[1]
        modseq = re.search(rb"HIGHESTMODSEQ (\d+)", answer)[1]
        wire.ok("STORE 2 +FLAGS.SILENT (\\Seen)")
        wire.ok("UNSELECT")
        changed = b"".join(wire.ok(b"SELECT %s (QRESYNC (%s %s))" % (mailbox.encode(), validity, modseq)))
        assert b"* 2 FETCH (" in changed and b"* 1 FETCH (" not in changed


@pytest.mark.backends("dovecot", "cyrus")
def test_metadata(endpoint):
    mailbox = endpoint.make("metadata")
    with endpoint.session() as wire:
        wire.ok(f'SETMETADATA {mailbox} (/private/comment "a comment")')
        answer = b"".join(wire.ok(f"GETMETADATA {mailbox} /private/comment"))
        assert b"a comment" in answer


@pytest.mark.backends("dovecot", "courier", "cyrus")
def test_acl(endpoint):
    mailbox = endpoint.make("acl")
    with endpoint.session() as wire:
        # Courier's users have no names of their own in lists.
        who = "anyone" if endpoint.backend.name == "courier" else "carol"
        wire.ok(f"SETACL {mailbox} {who} lr")
        assert who.encode() in b"".join(wire.ok(f"GETACL {mailbox}"))
        assert any(line.startswith(b"* MYRIGHTS") for line in wire.ok(f"MYRIGHTS {mailbox}"))


@pytest.mark.backends("dovecot")
def test_a_shared_mailbox_of_somebody_elses(endpoint):
    with endpoint.session() as wire:
        assert any(b"shared/bob/Common" in line for line in wire.ok('LIST "" "*"'))
        wire.ok("SELECT shared/bob/Common")


@pytest.mark.backends("dovecot")
def test_notify(endpoint):
    mailbox = endpoint.make("notify")
    with endpoint.session() as wire, endpoint.session() as other:
        wire.ok("NOTIFY SET (PERSONAL (MessageNew MessageExpunge))")
        assert b" OK" in other.append(mailbox, message(63))[-1]
        seen = b""
        deadline = time.monotonic() + 20
        while b"* STATUS " + mailbox.encode() not in seen:
            assert time.monotonic() < deadline, seen
            seen += wire.response()


def test_an_unknown_command_is_bad_and_the_session_goes_on(endpoint):
    with endpoint.session() as wire:
        assert wire.command("FROBNICATE 1 2")[-1].split()[1] in (b"BAD", b"NO")
        wire.ok("NOOP")


def test_logout_says_bye_and_closes(endpoint):
    with endpoint.session() as wire:
        answer = wire.command("LOGOUT")
        assert answer[0].startswith(b"* BYE") and b" OK" in answer[-1]
        wire.socket.settimeout(10)
        assert wire.socket.recv(1) == b""
