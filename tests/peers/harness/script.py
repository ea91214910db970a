"""Command scripts for the differential test: their file format, and a runner for one connection.

A file has scripts, each under a line `=== name`. A line is one command and is sent with CRLF; the runner then reads
until its tagged answer. Besides:

    {{text}}  {{+text}}  {{~text}}  a literal: synchronising, non-synchronising, binary; its size is counted.
                                    The runner waits for `+` before a synchronising one, and leaves the rest of the
                                    command away where a tagged answer comes instead
    <CRLF> <LF> <CR> <NUL> <x80>    bytes that a line of a file cannot have (also in literals)
    <FILL:n>                        n bytes of text
    | command                       is sent together with the next line, in one packet
    DONE                            ends IDLE; `x IDLE` waits for `+` only
    ! command                       another session does this at the server itself, around the proxy
    ? text                          waits for an unsolicited response with this text
    %own tag BAD|NO                 the proxy answers this command itself; only the answer's kind is compared
    %unordered                      the server may put the answers of a pipeline in any order (Dovecot runs them side by side)
    # text                          a comment
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from harness.wire import Closed, Wire

LITERAL = re.compile(rb"\{\{([+~]?)(.*?)\}\}", re.DOTALL)
ESCAPE = re.compile(rb"<(CRLF|CR|LF|NUL|x[0-9A-F]{2}|FILL:\d+)>")
NAMED = {b"CRLF": b"\r\n", b"CR": b"\r", b"LF": b"\n", b"NUL": b"\0"}


@dataclass
class Script:
    """One script."""

    name: str
    lines: list[bytes] = field(default_factory=list)
    #: Tags that the proxy answers itself, with the kind of answer.
    own: dict[bytes, bytes] = field(default_factory=dict)
    unordered: bool = False


def load(directory: Path) -> list[Script]:
    """All scripts of all `.imap` files, in order."""
    scripts: list[Script] = []
    for path in sorted(directory.glob("*.imap")):
        for line in path.read_bytes().split(b"\n"):
            line = line.rstrip(b"\r")
            if line.startswith(b"=== "):
                scripts.append(Script(f"{path.stem}: {line[4:].decode().strip()}"))
            elif line.startswith(b"%own "):
                _, tag, kind = line.split()
                scripts[-1].own[tag] = kind
            elif line == b"%unordered":
                scripts[-1].unordered = True
            elif line and not line.startswith(b"#"):
                scripts[-1].lines.append(line)
    names = [script.name for script in scripts]
    assert len(names) == len(set(names)), "two scripts have one name"
    return scripts


def unescape(text: bytes) -> bytes:
    def replace(match):
        word = match[1]
        if word.startswith(b"FILL:"):
            return (b"0123456789abcdefghijklmnopqrstuvwxyz " * (int(word[5:]) // 37 + 1))[:int(word[5:])]
        return NAMED.get(word) or bytes([int(word[1:], 16)])

    return ESCAPE.sub(replace, text)


def pieces(line: bytes) -> list[bytes]:
    """What is sent at once; before each following piece the server is waited for."""
    parts, rest = [], b""
    position = 0
    for match in LITERAL.finditer(line):
        content = unescape(match[2])
        sign = b"+" if match[1] == b"+" else b""
        rest += unescape(line[position:match.start()])
        rest += b"%s{%d%s}\r\n" % (b"~" if match[1] == b"~" else b"", len(content), sign)
        if match[1] != b"+":
            parts.append(rest)
            rest = b""
        rest += content
        position = match.end()
    return [*parts, rest + unescape(line[position:]) + b"\r\n"]


def tag_of(line: bytes) -> bytes:
    return line.split(b" ", 1)[0]


class Runner:
    """Plays one script and keeps what came back, by the command that it came before."""

    def __init__(self, wire: Wire, open_other):
        self.wire = wire
        self.open_other = open_other
        self.other: Wire | None = None
        #: (what was waited for, the responses until it came)
        self.answers: list[tuple[bytes, list[bytes]]] = []
        self.idle: bytes | None = None

    def run(self, script: Script) -> list[tuple[bytes, list[bytes]]]:
        try:
            batch: list[bytes] = []
            for line in script.lines:
                if line.startswith(b"| "):
                    batch.append(line[2:])
                    continue
                self._step(batch, line)
                batch = []
        except Closed:
            self.answers.append((b"connection", [b"closed\r\n"]))
        finally:
            if self.other:
                self.other.close()
        return self.answers

    def _step(self, batch: list[bytes], line: bytes) -> None:
        if line.startswith(b"! "):
            if self.other is None:
                self.other = self.open_other()
            play(self.other, line[2:])
        elif line.startswith(b"? "):
            self._await(lambda response: line[2:] in response, b"?")
        elif batch:
            self._pipeline([*batch, line])
        elif line == b"DONE":
            self.wire.send(b"DONE\r\n")
            self._await_tag(self.idle)
            self.idle = None
        elif line.upper().endswith(b" IDLE"):
            self.wire.send(line + b"\r\n")
            self.idle = tag_of(line)
            self._await(lambda response: response.startswith((b"+", self.idle + b" ")), b"+")
        else:
            self._command(line)

    def _command(self, line: bytes) -> None:
        tag = tag_of(line)
        parts = pieces(line)
        for number, part in enumerate(parts):
            self.wire.send(part)
            if number + 1 < len(parts):
                until = self._await(lambda response: response.startswith((b"+", tag + b" ")), b"+ " + tag)
                if not until.startswith(b"+"):
                    return
        self._await_tag(tag)

    def _pipeline(self, lines: list[bytes]) -> None:
        parts = [pieces(line) for line in lines]
        assert all(len(part) == 1 for part in parts), "a pipeline has no synchronising literals"
        self.wire.send(b"".join(part[0] for part in parts))
        waiting = {tag_of(line) for line in lines if line != b"DONE"}
        if b"DONE" in lines and self.idle and self.idle not in waiting:
            waiting.add(self.idle)

        def enough(response: bytes) -> bool:
            waiting.discard(tag_of(response))
            return not waiting

        self._await(enough, b"|")

    def _await_tag(self, tag: bytes) -> None:
        self._await(lambda response: response.startswith(tag + b" "), tag)

    def _await(self, enough, what: bytes) -> bytes:
        seen: list[bytes] = []
        # Kept at once, so that a report has what came before a close or a time-out.
        self.answers.append((what, seen))
        while True:
            seen.append(self.wire.response())
            if enough(seen[-1]):
                return seen[-1]


def play(wire: Wire, line: bytes) -> None:
    """One command of the other session, which must succeed."""
    wire.number += 1
    tag = b"o%d" % wire.number
    parts = pieces(tag + b" " + line)
    for number, part in enumerate(parts):
        wire.send(part)
        if number + 1 < len(parts):
            wire.expect_continuation(tag)
    answer = wire.until(tag)
    assert b" OK" in answer[-1], answer
