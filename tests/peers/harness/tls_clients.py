"""TLS by other libraries than the proxy's: OpenSSL's and GnuTLS's programs, and Python's module, each as a wire."""

import itertools
import os
import re
import socket
import ssl
import subprocess
import time
from pathlib import Path

from harness.certificates import Authority
from harness.wire import Closed
from harness.wire import Wire

NUMBERS = itertools.count(1)
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def openssl(port: int, authority: Authority, version: str, *options) -> list:
    return ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", "-verify_return_error",
            "-verify_hostname", "localhost", "-CAfile", authority.certificate, f"-tls{version.replace('.', '_')}", *options]


def gnutls(port: int, authority: Authority, version: str, *options) -> list:
    return ["gnutls-cli", "127.0.0.1", "--port", str(port), "--sni-hostname", "localhost", "--verify-hostname",
            "localhost", "--x509cafile", authority.certificate, "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}",
            *options]


class ProgramWire(Wire):
    """A connection that a program makes; what it says besides goes to `log`."""

    def __init__(self, command: list, log: Path):
        self.socket, theirs = socket.socketpair()
        self.log = log
        log.touch()
        with theirs, open(log, "ab") as errors:
            self.child = subprocess.Popen([str(word) for word in command], stdin=theirs, stdout=theirs, stderr=errors,
                                          env=os.environ | {"LC_ALL": "C"})
        self.timeout = 60.0
        self.unread, self.received = bytearray(), bytearray()
        self.number = 0

    def close(self) -> None:
        self.socket.close()
        self.child.kill()
        self.child.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, text: str, times: int = 1, within: float = 30.0) -> None:
        """Returns once the program has said it so often."""
        deadline = time.monotonic() + within
        while self.said().count(text) < times:
            assert time.monotonic() < deadline, self.said()
            assert self.child.poll() is None, self.said()
            time.sleep(0.01)

    def arrives(self) -> None:
        """Waits until something of an answer has come."""
        self._more()

    def skip_to(self, text: bytes) -> None:
        """Drops what the program says among the data, up to and with a text."""
        while text not in self.unread:
            self._more()
        del self.unread[:self.unread.index(text) + len(text)]

    def ends_properly(self) -> None:
        """The server closes with `close_notify`: a program that misses it complains."""
        rest(self)
        assert self.child.wait(30) == 0, self.said()
        assert not re.search("unexpected eof|non-properly|error", self.said(), re.IGNORECASE), self.said()


class PythonWire(Wire):
    """A connection by Python's module, which takes no end for one without `close_notify`."""

    def __init__(self, port: int, authority: Authority, version: str, *, session: ssl.SSLSession | None = None,
                 context: ssl.SSLContext | None = None):
        self.context = context or python_context(authority, version)
        plain = socket.create_connection(("127.0.0.1", port), 30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = self.context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False,
                                               session=session)
        self.timeout = 60.0
        self.unread, self.received = bytearray(), bytearray()
        self.number = 0

    def ends_properly(self) -> None:
        rest(self)


def python_context(authority: Authority, version: str) -> ssl.SSLContext:
    context = authority.client_context()
    context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


def rest(wire: Wire) -> None:
    """Nothing but the end comes."""
    try:
        more = wire.response()
    except Closed:
        return
    raise AssertionError(f"after the end: {more!r}")


def connect(client: str, port: int, authority: Authority, version: str, workspace: Path) -> ProgramWire | PythonWire:
    """One of `openssl`, `gnutls` and `python`; before the greeting."""
    log = workspace / f"{client}-{next(NUMBERS)}.log"
    if client == "openssl":
        return ProgramWire(openssl(port, authority, version, "-quiet", "-verify_quiet"), log)
    if client == "gnutls":
        return ProgramWire(gnutls(port, authority, version, f"--logfile={log}.txt"), log)
    return PythonWire(port, authority, version)
