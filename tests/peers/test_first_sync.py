"""A new device fetches a large account, by real programs and with the shipped rules in force: all of it comes, and no rule acts."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from conftest import RULES
from harness.account import LargeDovecot
from harness.account import MAILBOXES
from harness.account import numbers_in
from harness.backend import ALICE
from harness.endpoint import Endpoint
from harness.process import run
from harness.programs import environment
from harness.proxy import Imapwarden
from harness.thunderbird import Thunderbird

EVERYTHING = list(range(sum(MAILBOXES.values())))


#: Every message is a file, at the server and at each client; removing them from a disk takes longer than fetching them.
IN_MEMORY = "/dev/shm"
ROOM = 2 << 30


def spacious() -> Path:
    """A directory in memory, where there is room for it, that the server's account can reach."""
    in_memory = os.path.isdir(IN_MEMORY) and shutil.disk_usage(IN_MEMORY).free > ROOM
    directory = Path(tempfile.mkdtemp(prefix="imapwarden-peers-", dir=IN_MEMORY if in_memory else None))
    directory.chmod(0o755)
    return directory


@pytest.fixture(scope="module")
def account(authority):
    """20,000 messages behind a proxy."""
    directory = spacious()
    server = LargeDovecot(directory / "large", name="large", authority=authority)
    server.start()
    proxy = Imapwarden(directory / "proxy-large", authority, server.port, more=RULES)
    proxy.add_user(ALICE)
    proxy.start()
    yield Endpoint(server, authority, proxy)
    proxy.stop()
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture
def home():
    """Where a client keeps what it fetches."""
    directory = spacious()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def device(account):
    """The account as a device sees it that has an app password of its own, and from which no rule may be heard."""
    account.use_own_app_password()
    before = len(account.acted_rules())
    yield account
    assert account.acted_rules()[before:] == []
    said = [event for event in account.proxy.events() if event["event"]["action"] == "session_ended"]
    assert said and not [event for event in said if event["event"]["reason"] in ("policy_denied", "banned", "revoked")]


def test_a_script_fetches_everything(device, home):
    count = 0
    with device.imapclient() as client:
        for flags, _, name in client.list_folders():
            if b"\\Noselect" in flags:
                continue
            client.select_folder(name, readonly=True)
            uids = client.search()
            for start in range(0, len(uids), 500):
                for number, data in client.fetch(uids[start:start + 500], ["FLAGS", "BODY.PEEK[]"]).items():
                    (home / f"{name.replace('/', '.')}-{number}").write_bytes(data[b"BODY[]"].replace(b"\r\n", b"\n"))
                    count += 1
    assert count == len(EVERYTHING)
    assert numbers_in(home.iterdir()) == EVERYTHING


MBSYNC = """
FSync no

IMAPAccount account
Host localhost
Port {port}
User {user}
PassCmd "cat {secret}"
SSLType IMAPS
CertificateFile {ca}
SystemCertificates no
AuthMechs PLAIN
Timeout 60

IMAPStore far
Account account

MaildirStore near
Path {home}/Mail/
Inbox {home}/Mail/INBOX
SubFolders Verbatim

Channel channel
Far :far:
Near :near:
Patterns *
Create Near
Sync Pull
SyncState *
"""


def test_mbsync_fetches_everything(device, home):
    secret = home / "secret"
    secret.write_text(device.password() + "\n")
    config = home / "mbsyncrc"
    config.write_text(MBSYNC.format(port=device.port, user=ALICE, secret=secret, ca=device.authority.certificate, home=home))
    (home / "Mail").mkdir()
    run(["mbsync", "-q", "-c", config, "channel"], env=environment(home), timeout=120)
    assert numbers_in(maildirs(home / "Mail")) == EVERYTHING


OFFLINEIMAP = """
[general]
accounts = test
metadata = {home}/metadata
ui = quiet
socktimeout = 60
fsync = False

[Account test]
localrepository = local
remoterepository = remote

[Repository local]
type = Maildir
localfolders = {home}/Mail

[Repository remote]
type = IMAP
remotehost = localhost
remoteport = {port}
remoteuser = {user}
remotepassfile = {home}/secret
ssl = yes
starttls = no
sslcacertfile = {ca}
auth_mechanisms = PLAIN
maxconnections = 4
readonly = True
"""


def test_offlineimap_fetches_everything(device, home):
    (home / "secret").write_text(device.password() + "\n")
    (home / "Mail").mkdir()
    config = home / "offlineimaprc"
    config.write_text(OFFLINEIMAP.format(home=home, port=device.port, user=ALICE, ca=device.authority.certificate))
    # It asks for one message after the other, and one of its threads runs at a time.
    run(["offlineimap", "-o", "-c", config], env=environment(home), timeout=480)
    assert numbers_in(maildirs(home / "Mail")) == EVERYTHING


def test_thunderbird_fetches_everything(device, home):
    thunderbird = Thunderbird(home, device, messages=MAILBOXES["INBOX"], mailboxes=len(MAILBOXES)).start()
    try:
        deadline = time.monotonic() + 120
        while "everything was asked for" not in thunderbird.said():
            assert time.monotonic() < deadline, thunderbird.said()[-3000:]
            time.sleep(0.2)
        # What was asked for is not stored yet; a busy machine takes its time, and what was missed is asked for again.
        deadline += 120
        while set(numbers_in(thunderbird.stores())) != set(EVERYTHING) and time.monotonic() < deadline:
            time.sleep(1)
    finally:
        thunderbird.stop()
    # What it was downloading by itself when it was asked, it may have stored twice.
    assert sorted(set(numbers_in(thunderbird.stores()))) == EVERYTHING


def maildirs(directory):
    """The messages of all Maildirs below a directory."""
    return [path for part in ("cur", "new") for path in directory.rglob(f"{part}/*") if path.is_file()]
