"""Fills Maildirs without a server."""

import os
from pathlib import Path

from harness.messages import date, message

FLAGS = ["", "S", "S", "FS", "RS", "S", "DS", ""]


def fill(directory: Path, numbers: range, *, crlf: bool = False, size=None) -> None:
    """Writes messages as `cur/` files whose names, dates and flags depend on the number alone, their sizes on `size` of it."""
    for part in ("cur", "new", "tmp"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        flags = FLAGS[number % len(FLAGS)]
        # `D` is Maildir's draft flag; the flags of a name are sorted.
        path = directory / "cur" / f"{int(date(number).timestamp())}.M{number}P1.peers:2,{flags}"
        content = message(number, size(number) if size else 0)
        path.write_bytes(content if crlf else content.replace(b"\r\n", b"\n"))
        when = date(number).timestamp()
        os.utime(path, (when, when))
