"""A running imapwarden."""

import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from support.backend import PASSWORD
from support.pod import free_ports
from support.programs import imapwarden, run


class Proxy:
    """Started on entering, ended on leaving."""

    def __init__(self, directory: Path, backend_port=1, data: Path | None = None, settings=None, prefix=()):
        self.directory, self.prefix = directory, list(prefix)
        self.port, self.metrics = free_ports(2)
        self.data = data or directory / "data"
        self.config = directory / "imapwarden.yaml"
        config = {
            "data_directory": str(self.data), "listeners": [{"address": f"127.0.0.1:{self.port}"}],
            "backends": [{"address": f"127.0.0.1:{backend_port}"}], "metrics": {"address": f"127.0.0.1:{self.metrics}"},
            "events": {"file": str(directory / "events.jsonl")}, "limits": {"exempt": ["loopback"], "longest_delay": "1s"},
            "login": {"refusal_delay": "1s"}, **(settings or {})}
        self.config.write_text(yaml.safe_dump(config))
        self.process = None

    def cli(self, *words, stdin=None, check=True):
        return run([imapwarden(), *words, "--config", self.config], stdin=stdin, check=check)

    def add(self, user):
        """A user with an app password, which is returned."""
        self.cli("user", "add", user)
        made = self.cli("app-password", "create", user, "--json", "--password-stdin", stdin=PASSWORD + "\n")
        return json.loads(made.stdout)["password"]

    def start(self):
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen([*self.prefix, str(imapwarden()), "serve", "--config", str(self.config)],
                                            stdout=log, stderr=log)
        self.until(lambda: self.probe("readyz") == 200)
        return self

    def until(self, condition, within=30.0):
        """Asks until it is so."""
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def probe(self, path, within=12.0):
        """The status of a probe; 0 where nobody answers in time."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/{path}", timeout=within) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except (urllib.error.URLError, OSError):
            return 0

    def certificate(self):
        """What a client is shown now, in PEM."""
        return ssl.get_server_certificate(("127.0.0.1", self.port), timeout=5).strip()

    def metric(self, series):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=12) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{series} "):
                    return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"no {series}")

    def events(self):
        """Events so far, without the one that is being written."""
        path = self.directory / "events.jsonl"
        whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
        return [json.loads(line) for line in whole.splitlines()]

    def told(self, action):
        return [event for event in self.events() if event["event"]["action"] == action]

    def said(self):
        return (self.directory / "log").read_text(errors="replace")

    def stop(self):
        if self.process and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
            self.process.wait(timeout=40)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=10)
