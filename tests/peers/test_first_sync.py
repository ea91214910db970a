"""A new device fetches a large account, by real programs and with the shipped rules in force: all of it comes, and no rule acts."""

import time

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


@pytest.fixture(scope="module")
def account(workspace, authority):
    """20,000 messages behind a proxy."""
    server = LargeDovecot(workspace / "large", name="large", authority=authority)
    server.start()
    proxy = Imapwarden(workspace / "proxy-large", authority, server.port, more=RULES)
    proxy.add_user(ALICE)
    proxy.start()
    yield Endpoint(server, authority, proxy)
    proxy.stop()
    server.stop()


@pytest.fixture
def device(account):
    """The account as a device sees it that has an app password of its own, and from which no rule may be heard."""
    account.use_own_app_password()
    before = len(account.acted_rules())
    yield account
    assert account.acted_rules()[before:] == []
    said = [event for event in account.proxy.events() if event["event"]["action"] == "session_ended"]
    assert said and not [event for event in said if event["event"]["reason"] in ("policy_denied", "banned", "revoked")]


def test_a_script_fetches_everything(device, tmp_path):
    count = 0
    with device.imapclient() as client:
        for flags, _, name in client.list_folders():
            if b"\\Noselect" in flags:
                continue
            client.select_folder(name, readonly=True)
            uids = client.search()
            for start in range(0, len(uids), 500):
                for number, data in client.fetch(uids[start:start + 500], ["FLAGS", "BODY.PEEK[]"]).items():
                    (tmp_path / f"{name.replace('/', '.')}-{number}").write_bytes(data[b"BODY[]"].replace(b"\r\n", b"\n"))
                    count += 1
    assert count == len(EVERYTHING)
    assert numbers_in(tmp_path.iterdir()) == EVERYTHING


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


def test_mbsync_fetches_everything(device, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(device.password() + "\n")
    config = tmp_path / "mbsyncrc"
    config.write_text(MBSYNC.format(port=device.port, user=ALICE, secret=secret, ca=device.authority.certificate, home=tmp_path))
    (tmp_path / "Mail").mkdir()
    run(["mbsync", "-q", "-c", config, "channel"], env=environment(tmp_path), timeout=120)
    assert numbers_in(maildirs(tmp_path / "Mail")) == EVERYTHING


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
maxconnections = 3
readonly = True
folderfilter = lambda name: name in {folders}
"""
#: offlineimap takes minutes for all of them: 5,260 in twenty mailboxes.
SOME = [name for name in MAILBOXES if name.startswith("Projects/") or name in ("Archive/2016", "Archive/2018", "Archive/2019", "Archive/2020")]


def test_offlineimap_fetches_5_000_messages(device, tmp_path):
    (tmp_path / "secret").write_text(device.password() + "\n")
    (tmp_path / "Mail").mkdir()
    config = tmp_path / "offlineimaprc"
    config.write_text(OFFLINEIMAP.format(home=tmp_path, port=device.port, user=ALICE, ca=device.authority.certificate,
                                         folders=SOME))
    run(["offlineimap", "-o", "-c", config], env=environment(tmp_path), timeout=120)
    expected = sorted(number for name in SOME for number in device.backend.numbers[name])
    assert len(expected) >= 5_000
    assert numbers_in(maildirs(tmp_path / "Mail")) == expected


def test_thunderbird_fetches_everything(device, tmp_path):
    thunderbird = Thunderbird(tmp_path, device, messages=MAILBOXES["INBOX"], mailboxes=len(MAILBOXES)).start()
    try:
        deadline = time.monotonic() + 120
        while "everything was asked for" not in thunderbird.said():
            assert time.monotonic() < deadline, thunderbird.said()[-3000:]
            time.sleep(0.2)
        # What was asked for is not stored yet; a busy machine takes its time.
        while set(numbers_in(thunderbird.stores())) != set(EVERYTHING) and time.monotonic() < deadline:
            time.sleep(1)
    finally:
        thunderbird.stop()
    # What it was downloading by itself when it was asked, it may have stored twice.
    assert sorted(set(numbers_in(thunderbird.stores()))) == EVERYTHING


def maildirs(directory):
    """The messages of all Maildirs below a directory."""
    return [path for part in ("cur", "new") for path in directory.rglob(f"{part}/*") if path.is_file()]
