"""Python's imaplib and IMAPClient, as scripts use them."""

import email
import time

import pytest

from harness.messages import message

pytestmark = pytest.mark.usefixtures("in_silence")


def test_imaplib_reads_and_files(endpoint):
    mailbox, copy = endpoint.make("imaplib"), endpoint.make("imaplib-copy")
    client = endpoint.imaplib()
    assert client.append(mailbox, "\\Seen", None, message(1))[0] == "OK"
    assert client.append(mailbox, None, None, message(2))[0] == "OK"
    assert client.select(mailbox)[1] == [b"2"]
    # imap4d does not keep the flags of an APPEND.
    assert client.search(None, "UNSEEN")[1] == [b"1 2" if endpoint.backend.name == "imap4d" else b"2"]
    kind, data = client.fetch("1", "(RFC822.SIZE BODY.PEEK[])")
    assert kind == "OK" and data[0][1] == message(1)
    assert email.message_from_bytes(data[0][1])["Message-ID"] == "<m1@example.org>"
    assert client.copy("1", copy)[0] == "OK"
    assert client.store("1", "+FLAGS", "\\Deleted")[0] == "OK"
    # imap4d expunges without saying so.
    assert client.expunge()[1] == [None if endpoint.backend.name == "imap4d" else b"1"]
    assert client.status(copy, "(MESSAGES)")[1][0].endswith(b"(MESSAGES 1)")
    assert client.list()[0] == "OK"
    assert client.close()[0] == "OK"
    assert client.logout()[0] == "BYE"


def test_imaplib_reads_the_whole_inbox(endpoint):
    client = endpoint.imaplib()
    count = int(client.select("INBOX", readonly=True)[1][0])
    data = client.fetch(f"1:{count}", "(UID FLAGS BODY.PEEK[])")[1]
    bodies = [part[1] for part in data if isinstance(part, tuple)]
    # Other tests may have put messages in.
    assert len(bodies) == count >= 240
    # imap4d may add headers of its own (X-UID, Status): the text after them is what was put in.
    assert bodies[7].partition(b"\r\n\r\n")[2] == message(7).partition(b"\r\n\r\n")[2]
    client.logout()


@pytest.mark.backends("dovecot", "courier", "cyrus")
def test_imapclient_idles(endpoint):
    mailbox = endpoint.make("idle")
    with endpoint.imapclient() as waiting, endpoint.imapclient() as other:
        waiting.select_folder(mailbox)
        waiting.idle()
        other.append(mailbox, message(3))
        seen, deadline = [], time.monotonic() + 20
        while (1, b"EXISTS") not in seen:
            assert time.monotonic() < deadline, seen
            seen += waiting.idle_check(timeout=1)
        waiting.idle_done()
        assert waiting.search() == [1]


@pytest.mark.backends("dovecot", "courier", "cyrus")
def test_imapclient_sorts_and_threads(endpoint):
    with endpoint.imapclient() as client:
        client.select_folder("INBOX", readonly=True)
        assert client.sort("REVERSE DATE", "1:8") == [8, 7, 6, 5, 4, 3, 2, 1]
        assert client.thread("REFERENCES", "1:8") == ((1, 2, 3, 4), (5, 6, 7, 8))


@pytest.mark.backends("dovecot", "cyrus")
def test_imapclient_asks_for_the_quota(endpoint):
    with endpoint.imapclient() as client:
        roots, quotas = client.get_quota_root("INBOX")
        assert roots.quota_roots and any(quota.resource == "STORAGE" and quota.limit == 512000 for quota in quotas)


def test_imapclient_asks_for_the_namespace(endpoint):
    with endpoint.imapclient() as client:
        personal = client.namespace().personal
        assert personal[0] == (endpoint.backend.prefix, endpoint.backend.delimiter)


# IMAPClient cannot read imap4d's BODYSTRUCTURE, with or without the proxy.
@pytest.mark.backends("dovecot", "courier", "cyrus")
def test_imapclient_fetches_structures(endpoint):
    with endpoint.imapclient() as client:
        client.select_folder("INBOX", readonly=True)
        parts = client.fetch([1, 2, 3], ["ENVELOPE", "BODYSTRUCTURE", "INTERNALDATE", "RFC822.SIZE"])
        assert parts[1][b"ENVELOPE"].subject == b"invoice 0"
        assert parts[1][b"BODYSTRUCTURE"].is_multipart


def test_imapclient_handles_mailboxes(endpoint):
    name = endpoint.new_mailbox("Übersicht & Pläne")
    with endpoint.imapclient() as client:
        client.create_folder(name)
        client.subscribe_folder(name)
        assert name in [folder for _, _, folder in client.list_folders()]
        client.append(name, message(4), flags=[b"\\Flagged"])
        client.select_folder(name)
        # imap4d does not keep the flags of an APPEND.
        assert client.search("FLAGGED") == ([] if endpoint.backend.name == "imap4d" else [1])
        client.add_flags([1], [b"\\Deleted"])
        client.expunge()
        client.close_folder()
        client.delete_folder(name)
