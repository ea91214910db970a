"""What people and programs do every day with an account that they have had for long: the shipped rules do not act on it."""

import imaplib
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import RULES
from harness.account import LargeDovecot
from harness.account import MAILBOXES
from harness.account import MESSAGE_ID
from harness.backend import ALICE
from harness.backend import BOB
from harness.endpoint import Endpoint
from harness.proxy import Imapwarden

#: Nothing is a first sync.
ESTABLISHED = RULES + "  first_sync: {bytes: 0B}\n"


@pytest.fixture(scope="module")
def account(workspace, authority):
    server = LargeDovecot(workspace / "ordinary", name="ordinary", authority=authority)
    server.start()
    proxy = Imapwarden(workspace / "proxy-ordinary", authority, server.port, more=ESTABLISHED)
    for user in (ALICE, BOB):
        proxy.add_user(user)
        proxy.app_passwords[user] = proxy.app_password(user)
    proxy.start()
    yield Endpoint(server, authority, proxy)
    proxy.stop()
    server.stop()


@pytest.fixture(autouse=True)
def silence(account):
    """A device of the test's own, and no rule acts."""
    account.use_own_app_password()
    before = len(account.acted_rules())
    yield
    assert account.acted_rules()[before:] == []


def test_a_phone_searches_fifteen_times_in_a_second_on_each_of_its_connections(account):
    def burst(mailbox: str) -> int:
        with account.session() as wire:
            wire.ok('ID ("name" "iPhone Mail" "version" "22A3354" "os" "iOS" "os-version" "18.0")')
            for _ in range(3):
                wire.ok(f"SELECT {mailbox}")
                keys = [f"UID SEARCH SINCE 1-Jan-2024 UNDELETED HEADER Message-ID m{number}@example.org" for number in range(15)]
                wire.send("".join(f"s{number} {key}\r\n" for number, key in enumerate(keys)).encode())
                answers = [wire.until(f"s{number}".encode())[-1] for number in range(15)]
                assert all(b" OK" in answer for answer in answers), answers
                wire.ok("UID FETCH 1:50 (UID FLAGS BODY.PEEK[HEADER.FIELDS (FROM SUBJECT DATE)])")
            return len(answers)

    boxes = ["INBOX", "Sent", "Archive/2025", "Lists/users", "Projects/15"]
    with ThreadPoolExecutor(len(boxes)) as pool:
        assert list(pool.map(burst, boxes)) == [15] * len(boxes)


def test_five_hundred_messages_are_cleaned_from_trash(account):
    """By one STORE and EXPUNGE, and by pieces; more are moved there, and cleaned from there, too."""
    with account.imapclient() as client:
        client.select_folder("Trash")
        uids = client.search()
        assert len(uids) == MAILBOXES["Trash"] >= 500
        client.delete_messages(uids[:500])
        client.expunge()
        client.select_folder("Archive/2019")
        client.move(client.search()[:500], "Trash")
        client.select_folder("Trash")
        uids = client.search()
        assert len(uids) == MAILBOXES["Trash"]
        for start in range(0, len(uids), 50):
            client.delete_messages(uids[start:start + 50])
            client.uid_expunge(uids[start:start + 50])
        assert client.search() == []
        client.select_folder("Archive/2019")
        assert len(client.search()) == MAILBOXES["Archive/2019"] - 500


def test_an_inbox_is_read_and_filed(account):
    """New mail is read, marked, answered, moved; what is thrown away is thrown away one by one."""
    with account.imapclient() as client:
        client.select_folder("INBOX")
        for uid in client.search()[-40:]:
            client.fetch([uid], ["FLAGS", "BODY.PEEK[]"])
            client.add_flags([uid], [b"\\Seen"])
        newest = client.search()[-40:]
        client.move(newest[:20], "Archive/2025")
        client.delete_messages(newest[20:])
        client.expunge()
        for number in range(5):
            client.append("Sent", b"Subject: answer\r\n\r\nyes\r\n", flags=[b"\\Seen"])


def test_a_backup_run_fetches_what_is_new_in_every_mailbox(account):
    """As mbsync does it each hour: all flags of all mailboxes, and the few messages that came."""
    with account.imapclient() as client:
        for name in MAILBOXES:
            client.select_folder(name, readonly=True)
            uids = client.search()
            assert len(client.fetch(uids, ["FLAGS"]) if uids else {}) == len(uids)
            for uid in uids[-3:]:
                client.fetch([uid], ["INTERNALDATE", "BODY.PEEK[]"])


def service(account, user: str, *options: str) -> Endpoint:
    """The account of a user as a program sees it that is declared as one."""
    made = Endpoint(account.backend, account.authority, account.proxy)
    made.proxy.app_passwords[user] = account.proxy.app_password(user, "migration", "--service", *options)
    return made


def test_a_migration_by_declared_programs_reads_everything_and_files_it_elsewhere(account):
    """As imapsync does it: every message of one account, with its date and flags, into the INBOX and folders of another."""
    mine = service(account, ALICE, "--budget-bytes", "200MiB").imapclient()
    theirs = service(account, BOB).imapclient()
    read, filed = set(), 0
    with mine, theirs:
        for name in MAILBOXES:
            mine.select_folder(name, readonly=True)
            uids = mine.search()
            target = name if name == "INBOX" else f"Old/{name}"
            if name != "INBOX":
                theirs.create_folder(target)
            for start in range(0, len(uids), 500):
                found = mine.fetch(uids[start:start + 500], ["FLAGS", "INTERNALDATE", "BODY.PEEK[]"])
                read |= {MESSAGE_ID.search(data[b"BODY[]"])[1] for data in found.values() if MESSAGE_ID.search(data[b"BODY[]"])}
                # Filing is slower than reading: some of each is enough here.
                for data in list(found.values())[:10]:
                    flags = [flag for flag in data[b"FLAGS"] if flag != b"\\Recent"]
                    theirs.append(target, data[b"BODY[]"], flags=flags, msg_time=data[b"INTERNALDATE"])
                    filed += 1
        theirs.select_folder("INBOX", readonly=True)
        assert len(theirs.search()) > 20
    assert len(read) >= 18_000 and filed > 200


def test_the_budget_of_a_declared_program_is_its_own(account):
    """What no rule stops, the budget does; the budget is not the user's."""
    client = service(account, ALICE, "--budget-messages", "100").imapclient()
    client.select_folder("INBOX", readonly=True)
    with pytest.raises((imaplib.IMAP4.error, OSError)):
        for start in range(1, 1_000, 50):
            client.fetch(list(range(start, start + 50)), ["BODY.PEEK[]"])
    with account.imapclient() as other:
        other.select_folder("INBOX", readonly=True)
        assert other.fetch(other.search()[:1], ["BODY.PEEK[]"])
