"""curl, mbsync, mutt and offlineimap, as people run them: headless, with a home of their own."""

import re

import pytest

from harness.backend import ALICE
from harness.endpoint import Endpoint
from harness.messages import message
from harness.process import run
from harness.programs import environment
from harness.terminal import run_in_terminal

pytestmark = pytest.mark.usefixtures("in_silence")


def curl(endpoint: Endpoint, tmp_path, path: str, *options, **more):
    scheme = "imaps" if endpoint.proxied else "imap"
    # In a file: an argument list can be read by everyone.
    secret = tmp_path / "curlrc"
    password = endpoint.password().replace("\\", "\\\\").replace('"', '\\"')
    # imap4d offers mechanisms that it cannot do, and curl would take them.
    login = 'login-options = "AUTH=PLAIN"\n' if endpoint.backend.name == "imap4d" and not endpoint.proxied else ""
    secret.write_text(f'user = "{ALICE}:{password}"\n{login}')
    command = ["curl", "--silent", "--show-error", "--max-time", "50", "-K", secret,
               "--cacert", endpoint.authority.certificate, *options, f"{scheme}://localhost:{endpoint.port}/{path}"]
    return run(command, env=environment(tmp_path), **more)


def test_curl_lists_fetches_appends_and_searches(endpoint, tmp_path):
    mailbox = endpoint.make("curl", 2)
    assert mailbox in curl(endpoint, tmp_path, "").stdout
    upload = tmp_path / "message"
    upload.write_bytes(message(9))
    curl(endpoint, tmp_path, mailbox, "-T", upload)
    assert curl(endpoint, tmp_path, mailbox, "-X", "SEARCH ALL").stdout.split()[:5] == ["*", "SEARCH", "1", "2", "3"]
    fetched = tmp_path / "fetched"
    curl(endpoint, tmp_path, f"{mailbox};MAILINDEX=3", "-o", fetched)
    assert fetched.read_bytes() == message(9)
    assert "Completed" not in curl(endpoint, tmp_path, mailbox, "-X", "STORE 3 +FLAGS (\\Flagged)").stdout
    assert "\\Flagged" in curl(endpoint, tmp_path, mailbox, "-X", "FETCH 3 (FLAGS)").stdout


MBSYNC = """
IMAPAccount account
Host localhost
Port {port}
User {user}
PassCmd "cat {secret}"
SSLType {tls}
CertificateFile {ca}
SystemCertificates no
AuthMechs {mechanisms}
Timeout 30

IMAPStore far
Account account

MaildirStore near
Path {home}/Mail/
Inbox {home}/Mail/INBOX
SubFolders Verbatim

Channel channel
Far :far:"{mailbox}"
Near :near:"box"
Create Near
Expunge Both
Sync All
SyncState *
"""


def mbsync(endpoint: Endpoint, home, mailbox: str) -> None:
    secret = home / "secret"
    secret.write_text(endpoint.password() + "\n")
    config = home / "mbsyncrc"
    config.write_text(MBSYNC.format(
        port=endpoint.port, user=ALICE, secret=secret, tls="IMAPS" if endpoint.proxied else "None",
        ca=endpoint.authority.certificate, mechanisms="PLAIN" if endpoint.proxied else "LOGIN", home=home,
        # mbsync puts the name space's prefix in front by itself.
        mailbox=mailbox.removeprefix(endpoint.backend.prefix)))
    (home / "Mail").mkdir(exist_ok=True)
    run(["mbsync", "-c", config, "channel"], env=environment(home), timeout=60)


# Of imap4d's FETCH answers mbsync says "received extraneous data", with or without the proxy.
@pytest.mark.backends("dovecot", "courier", "cyrus")
def test_mbsync_goes_both_ways(endpoint, tmp_path):
    mailbox = endpoint.make("mbsync", 12)
    mbsync(endpoint, tmp_path, mailbox)
    box = tmp_path / "Mail" / "box"
    near = [path for part in ("cur", "new") for path in (box / part).iterdir()]
    assert len(near) == 12
    # A message made here, a flag set here, a message deleted there: the next run evens all of it out.
    (box / "cur" / "1700000000.made-here.peers:2,S").write_bytes(message(77).replace(b"\r\n", b"\n"))
    flagged = sorted(near)[0]
    flagged.rename(box / "cur" / (re.sub(r":2,.*", "", flagged.name) + ":2,FS"))
    with endpoint.backend.session() as wire:
        wire.ok(f"SELECT {mailbox}")
        wire.ok("STORE 12 +FLAGS (\\Deleted)")
        wire.ok("EXPUNGE")
    mbsync(endpoint, tmp_path, mailbox)
    with endpoint.backend.session() as wire:
        wire.ok(f"SELECT {mailbox}")
        assert b"* 12 EXISTS" in wire.received
        assert b"".join(wire.ok("SEARCH FLAGGED")).startswith(b"* SEARCH ")
        assert len(b"".join(wire.ok("SEARCH FLAGGED")).split(b"\r\n")[0].split()) == 3
    assert len([path for part in ("cur", "new") for path in (box / part).iterdir()]) == 12


MUTT = """
set imap_user="{user}"
set imap_pass=`cat {home}/secret`
set folder="{url}"
set spoolfile="{url}{mailbox}"
set ssl_force_tls={tls}
set ssl_starttls=no
set ssl_ca_certificates_file={ca}
set imap_authenticators="{mechanisms}"
set move=no
set mark_old=no
set delete=yes
set copy=no
set record=""
set confirmappend=no
set confirmcreate=no
set quit=yes
set abort_unmodified=no
set wait_key=no
set header_cache=""
set sort=mailbox-order
push "{keys}"
"""


def mutt(endpoint: Endpoint, home, mailbox: str, keys: str) -> None:
    (home / "secret").write_text(endpoint.password())
    scheme = "imaps" if endpoint.proxied else "imap"
    url = f"{scheme}://localhost:{endpoint.port}/"
    config = home / "muttrc"
    config.write_text(MUTT.format(
        user=ALICE, home=home, url=url, mailbox=mailbox, ca=endpoint.authority.certificate, keys=keys,
        tls="yes" if endpoint.proxied else "no",
        mechanisms="plain" if endpoint.proxied else "login"))
    run_in_terminal(["mutt", "-n", "-F", config], env=environment(home))


def test_mutt_reads_flags_saves_and_deletes(endpoint, tmp_path):
    mailbox, copies = endpoint.make("mutt", 4), endpoint.make("mutt-copies")
    url = f"{'imaps' if endpoint.proxied else 'imap'}://localhost:{endpoint.port}/{copies}"
    saved = tmp_path / "saved"
    keys = ("<first-entry><flag-message>"
            f"<next-entry><copy-message><kill-line>{url}<enter>"
            f"<next-entry><copy-message><kill-line>{saved}<enter>"
            "<last-entry><delete-message><sync-mailbox><quit>")
    mutt(endpoint, tmp_path, mailbox, keys)
    with endpoint.backend.session() as wire:
        wire.ok(f"SELECT {mailbox}")
        assert b"* 3 EXISTS" in wire.received
        assert b"\\Flagged" in b"".join(wire.ok("FETCH 1 (FLAGS)"))
        wire.ok(f"SELECT {copies}")
        assert b"* 1 EXISTS" in wire.received
    assert b"<m2@example.org>" in saved.read_bytes()


OFFLINEIMAP = """
[general]
accounts = test
metadata = {home}/metadata
ui = basic
socktimeout = 30

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
ssl = {tls}
starttls = no
sslcacertfile = {ca}
auth_mechanisms = {mechanisms}
maxconnections = 2
folderfilter = lambda name: name in {folders}
"""


def offlineimap(endpoint: Endpoint, home, folders: list[str]) -> None:
    (home / "secret").write_text(endpoint.password() + "\n")
    (home / "Mail").mkdir(exist_ok=True)
    config = home / "offlineimaprc"
    config.write_text(OFFLINEIMAP.format(
        home=home, port=endpoint.port, user=ALICE, tls="yes" if endpoint.proxied else "no",
        ca=endpoint.authority.certificate, mechanisms="PLAIN" if endpoint.proxied else "LOGIN", folders=folders))
    run(["offlineimap", "-o", "-c", config], env=environment(home), timeout=90)


# imap4d answers offlineimap's ID after login with BAD, with or without the proxy.
@pytest.mark.backends("dovecot", "courier", "cyrus")
def test_offlineimap_goes_both_ways(endpoint, tmp_path):
    """Two connections with one password, a fifth of a second apart."""
    mailboxes = [endpoint.make("offlineimap", 5), endpoint.make("offlineimap", 3)]
    offlineimap(endpoint, tmp_path, mailboxes)
    boxes = sorted(path for path in (tmp_path / "Mail").rglob("*") if (path / "cur").is_dir())
    counts = sorted(len(list((box / "cur").iterdir())) + len(list((box / "new").iterdir())) for box in boxes)
    assert counts == [3, 5]
    larger = max(boxes, key=lambda box: len(list((box / "cur").iterdir())) + len(list((box / "new").iterdir())))
    (larger / "new" / "1700000000.made-here.peers").write_bytes(message(78).replace(b"\r\n", b"\n"))
    offlineimap(endpoint, tmp_path, mailboxes)
    with endpoint.backend.session() as wire:
        wire.ok(f"SELECT {mailboxes[0]}")
        assert b"* 6 EXISTS" in wire.received


@pytest.mark.backends("dovecot")
def test_gnutls_and_openssl_connect(proxied, tmp_path):
    """The two commands that administrators try first."""
    openssl = run(["openssl", "s_client", "-connect", f"localhost:{proxied.port}", "-CAfile",
                   proxied.authority.certificate, "-verify_return_error", "-quiet", "-alpn", "imap"],
                  stdin="a LOGOUT\n".replace("\n", "\r\n"), env=environment(tmp_path), check=False)
    assert "a OK" in openssl.stdout, openssl
    gnutls = run(["gnutls-cli", "--x509cafile", proxied.authority.certificate, "--crlf", "-p", str(proxied.port), "localhost"],
                 stdin="a LOGOUT\n", env=environment(tmp_path), check=False)
    assert "a OK" in gnutls.stdout, gnutls
