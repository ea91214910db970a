"""A running imapwarden, and an IMAP server behind it that knows no more than the tests need."""

import json
import os
import signal
import socket
import socketserver
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from support.pod import free_port
from support.programs import imapwarden, run

PASSWORD = "mail password"


class _Conversation(socketserver.StreamRequestHandler):
    """LOGIN with the one password, NOOP, LOGOUT."""

    def handle(self):
        self.wfile.write(b"* OK [CAPABILITY IMAP4rev1] ready\r\n")
        for line in self.rfile:
            tag, verb, *rest = line.decode().rstrip("\r\n").split(" ", 2)
            answer = "OK done"
            if verb.upper() == "CAPABILITY":
                self.wfile.write(b"* CAPABILITY IMAP4rev1\r\n")
            elif verb.upper() == "LOGIN" and PASSWORD not in "".join(rest):
                answer = "NO [AUTHENTICATIONFAILED] no"
            elif verb.upper() == "LOGOUT":
                self.wfile.write(b"* BYE\r\n")
            self.wfile.write(f"{tag} {answer}\r\n".encode())


class Backend(socketserver.ThreadingTCPServer):
    """On a port of its own, in threads."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), _Conversation)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Client:
    """An IMAP client that waits for tagged answers."""

    def __init__(self, port, within=30.0):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=within))
        self.lines = self.socket.makefile("rwb")
        self.greeting = self.lines.readline().decode()
        self.number = 0

    def command(self, text):
        """The tagged answer, without its tag."""
        self.number += 1
        tag = f"t{self.number}"
        self.lines.write(f"{tag} {text}\r\n".encode())
        self.lines.flush()
        while line := self.lines.readline():
            if line.startswith(f"{tag} ".encode()):
                return line.decode().split(" ", 1)[1].strip()
        raise AssertionError("closed without an answer")

    def login(self, user, password):
        return self.command(f'LOGIN {user} "{password}"')

    def close(self):
        self.lines.close()
        self.socket.close()


class Proxy:
    """Started on entering, ended on leaving."""

    def __init__(self, directory: Path, backend_port=1, data: Path | None = None, settings=None, prefix=()):
        self.directory, self.prefix = directory, list(prefix)
        self.port, self.metrics = free_port(), free_port()
        self.data = data or directory / "data"
        self.config = directory / "imapwarden.yaml"
        config = {
            "data_directory": str(self.data), "listeners": [{"address": f"127.0.0.1:{self.port}"}],
            "backends": [{"address": f"127.0.0.1:{backend_port}"}], "metrics": {"address": f"127.0.0.1:{self.metrics}"},
            "events": {"file": str(directory / "events.jsonl")}, "limits": {"exempt": ["loopback"]},
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

    def probe(self, path):
        """The status of a probe; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/{path}", timeout=12) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except (urllib.error.URLError, OSError):
            return 0

    def metric(self, series):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=12) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{series} "):
                    return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"no {series}")

    def events(self):
        path = self.directory / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

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
