"""A raw IMAP client: sends bytes, splits answers into whole responses, hides nothing."""

import re
import select
import socket
import ssl
import time

LITERAL = re.compile(rb"\{(\d+)\}\r\n$")
STATUS = re.compile(rb"^(?:\S+ (?:OK|NO|BAD|BYE|PREAUTH)|\+)(?: |\r)", re.IGNORECASE)


class Closed(Exception):
    """The server closed the connection; the exception carries what had come until then."""


class Wire:
    """One connection."""

    def __init__(self, port: int, *, context: ssl.SSLContext | None = None, host="127.0.0.1", timeout=30.0,
                 server_hostname="localhost", source=None, before: bytes = b""):
        self.timeout = timeout
        plain = socket.create_connection((host, port), timeout, source_address=(source, 0) if source else None)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # What comes before TLS: a PROXY header.
        plain.sendall(before)
        self.socket = context.wrap_socket(plain, server_hostname=server_hostname) if context else plain
        self.unread = bytearray()
        #: Everything that the server sent.
        self.received = bytearray()
        self.number = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _more(self) -> None:
        self.socket.settimeout(self.timeout)
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        except (TimeoutError, socket.timeout) as silent:
            raise AssertionError(f"no answer in {self.timeout} s; so far: {bytes(self.received[-2000:])!r}") from silent
        if not data:
            raise Closed(bytes(self.received[-2000:]))
        self.unread += data
        self.received += data

    def _take(self, size: int) -> bytes:
        while len(self.unread) < size:
            self._more()
        taken = bytes(memoryview(self.unread)[:size])
        del self.unread[:size]
        return taken

    def _line(self) -> bytes:
        looked = 0
        while (end := self.unread.find(b"\r\n", looked)) < 0:
            looked = max(0, len(self.unread) - 1)
            self._more()
        return self._take(end + 2)

    def response(self) -> bytes:
        """One whole response with its literals."""
        line = self._line()
        whole = [line]
        # A status response ends with its line: `{5}` at the end of its text is text.
        while not STATUS.match(whole[0]) and (announced := LITERAL.search(line)):
            whole.append(self._take(int(announced[1])))
            # What follows the literal is looked at on its own, never the literal's end.
            line = self._line()
            whole.append(line)
        return b"".join(whole)

    def until(self, tag: bytes) -> list[bytes]:
        """Responses up to and with the tagged one (or a continuation request if `tag` is `+`)."""
        seen = []
        while True:
            seen.append(self.response())
            if seen[-1].startswith(tag + b" ") or (tag == b"+" and seen[-1].startswith(b"+")):
                return seen

    def expect_continuation(self, tag: bytes) -> None:
        """Reads up to `+`; a tagged answer instead is a failure at once, not a time-out."""
        while True:
            line = self.response()
            assert not line.startswith(tag + b" "), line
            if line.startswith(b"+"):
                return

    def command(self, text: bytes | str, tag: bytes | None = None) -> list[bytes]:
        """Sends one command without literals and reads its answer."""
        if isinstance(text, str):
            text = text.encode()
        if tag is None:
            self.number += 1
            tag = b"t%d" % self.number
        self.send(tag + b" " + text + b"\r\n")
        return self.until(tag)

    def ok(self, text: bytes | str) -> list[bytes]:
        """Like `command`, and the answer must be OK."""
        answer = self.command(text)
        assert answer[-1].split(b" ")[1] == b"OK", (text, answer)
        return answer

    def append(self, mailbox: str, content: bytes, *, options: bytes = b"", plus: bool = False) -> list[bytes]:
        """Appends a message by a synchronising literal, or by a non-synchronising one."""
        self.number += 1
        tag = b"t%d" % self.number
        self.send(tag + b" APPEND " + mailbox.encode() + b" " + options + b"{%d%s}\r\n" % (len(content), b"+" if plus else b""))
        if not plus:
            self.expect_continuation(tag)
        self.send(content + b"\r\n")
        return self.until(tag)

    def quiet(self, seconds: float) -> bytes:
        """What arrives within `seconds` although nothing was asked."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            pending = isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()
            if not pending and not select.select([self.socket], [], [], left)[0]:
                break
            self._more()
        return self._take(len(self.unread))

    def login(self, user: str, password: str) -> list[bytes]:
        """Greeting, then LOGIN with literals, which carry any byte."""
        greeting = self.response()
        assert greeting.startswith(b"* OK"), greeting
        self.number += 1
        tag = b"t%d" % self.number
        name, word = user.encode(), password.encode()
        self.send(tag + b" LOGIN {%d}\r\n" % len(name))
        self.until(b"+")
        self.send(name + b" {%d}\r\n" % len(word))
        self.until(b"+")
        self.send(word + b"\r\n")
        answer = self.until(tag)
        assert answer[-1].startswith(tag + b" OK"), answer
        return answer
