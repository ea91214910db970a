"""The program under test, in front of one backend."""

import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

from harness.backend import PASSWORDS
from harness.certificates import Authority
from harness.process import Daemon, free_port, run

REPOSITORY = Path(__file__).resolve().parents[3]


def binary() -> Path:
    """The built program: `IMAPWARDEN`, or the newest build below the target directory."""
    if named := os.environ.get("IMAPWARDEN"):
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    built = [path for kind in ("release", "debug") if (path := target / kind / "imapwarden").exists()]
    if not built:
        raise AssertionError(f"no imapwarden below {target}: run `cargo build --release` first")
    return max(built, key=lambda path: path.stat().st_mtime)


CONFIG = """
data_directory: {data}
listeners:
  - address: "127.0.0.1:{port}"
tls:
  certificates:
    - certificate_file: {certificate}
      key_file: {key}
login:
  help: "{help}"
backends:
  - address: "127.0.0.1:{backend}"
    tls: {backend_tls}
{backend_options}
second_factor:
  totp:
    enabled: true
events:
  file: {directory}/events.jsonl
log:
  level: debug
metrics:
  address: "127.0.0.1:{metrics}"
"""
#: What every refusal says, besides its code.
HELP = "Use an app password: https://mail.example.org/help"


class Imapwarden:
    """One running proxy with users of its own."""

    def __init__(self, directory: Path, authority: Authority, backend_port: int, *, backend_tls="none",
                 backend_options="", more=""):
        self.directory = directory
        self.authority = authority
        directory.mkdir(parents=True, exist_ok=True)
        self.port, self.metrics = free_port(), free_port()
        certificate, key = authority.issue("imapwarden")
        self.config = directory / "imapwarden.yaml"
        data = directory / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        self.config.write_text(CONFIG.format(
            data=data, port=self.port, certificate=certificate, key=key, help=HELP, backend=backend_port,
            backend_tls=backend_tls, directory=directory, metrics=self.metrics,
            backend_options="".join(f"    {line}\n" for line in backend_options.splitlines())) + more)
        #: App passwords by user.
        self.app_passwords: dict[str, str] = {}
        self.daemon: Daemon | None = None

    def cli(self, *words: str, stdin: str | None = None, check=True):
        """Runs a command of the proxy's own command line."""
        return run([binary(), *words, "--config", self.config], stdin=stdin, check=check)

    def start(self) -> "Imapwarden":
        self.daemon = Daemon([binary(), "serve", "--config", self.config], self.directory / "imapwarden.log")
        self.daemon.wait_for_port(self.port)
        self._wait_until_ready()
        return self

    def _wait_until_ready(self, within: float = 10.0) -> None:
        deadline = time.monotonic() + within
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/readyz", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                pass
            assert time.monotonic() < deadline, f"never ready:\n{self.daemon.tail()}"
            time.sleep(0.05)

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop(within=40)

    def add_user(self, user: str, *options: str) -> None:
        self.cli("user", "add", user, *options)

    def app_password(self, user: str, label: str = "tests", *options: str, password: str | None = None) -> str:
        """A new app password that opens `user`'s mail at the backend."""
        made = self.cli("app-password", "create", user, "--label", label, "--json", "--password-stdin", *options,
                        stdin=(PASSWORDS[user] if password is None else password) + "\n")
        return json.loads(made.stdout)["password"]

    def events(self) -> list[dict]:
        """Events so far, without the one that is being written."""
        path = self.directory / "events.jsonl"
        whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
        return [json.loads(line) for line in whole.splitlines()]

    def said(self) -> str:
        """Everything that the program wrote anywhere: log and events."""
        return "".join(path.read_text(errors="replace") for path in
                       (self.directory / "imapwarden.log", self.directory / "events.jsonl") if path.exists())
