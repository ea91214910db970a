"""What every mail server of the tests has in common."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from harness.process import Daemon, free_port
from harness.wire import Wire

ALICE = "alice"
BOB = "bob"
#: Mail passwords. Bob's has every kind of byte that quoting gets wrong.
PASSWORDS = {ALICE: "alice-mail-password", BOB: 'b"o\\b {3} (*) %]', "carol": "carol-mail-password"}
#: May log in as anybody, where the server knows such accounts.
MASTER = ("master", "master-mail-password")
#: Messages in Alice's INBOX at the start.
MESSAGES = 240


@dataclass
class Backend:
    """A running mail server on 127.0.0.1:`port`; subclasses start one kind each."""

    directory: Path
    name: str = "backend"
    port: int = 0
    daemons: list[Daemon] = field(default_factory=list)

    #: What separates the levels of a mailbox name, and what personal mailboxes begin with.
    delimiter = "."
    prefix = ""
    #: What the proxy's configuration has to say about this server.
    proxy_options = ""

    def start(self) -> "Backend":
        self.port = free_port()
        self.launch()
        return self

    def launch(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.stop()
        self.daemons.clear()

    def connect(self, **options) -> Wire:
        """A connection to the server itself, around the proxy; before the greeting."""
        return Wire(self.port, **options)

    def session(self, user: str = ALICE, **options) -> Wire:
        """A logged-in connection to the server itself."""
        wire = self.connect(**options)
        wire.login(user, PASSWORDS[user])
        return wire

    def mailbox(self, *levels: str) -> str:
        """The name of a personal mailbox on this server."""
        return self.prefix + self.delimiter.join(levels)

    def log_text(self) -> str:
        """Everything that the server logged."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.directory.glob("*.log")))


def chroot_copy(unpacked: Path, directory: Path) -> Path:
    """A private copy of an unpacked server in `directory`, to run in and to write to."""
    root = directory / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", unpacked, root], check=True)
    for device, numbers in (("null", (1, 3)), ("urandom", (1, 9)), ("random", (1, 8)), ("zero", (1, 5))):
        node = root / "dev" / device
        if not node.exists():
            os.mknod(node, 0o666 | 0o020000, os.makedev(*numbers))
            node.chmod(0o666)
    return root


def own(path: Path, uid: int, gid: int) -> None:
    """Gives `path` and everything below to an account."""
    for directory, _, files in os.walk(path):
        os.chown(directory, uid, gid)
        for name in files:
            os.chown(os.path.join(directory, name), uid, gid, follow_symlinks=False)


def fresh(path: Path) -> Path:
    """An empty directory at `path`."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
