"""Compares the answers of two runs of one script byte by byte, but for what must differ."""

import re
import time

from harness.script import Script

RULES = [
    # How long Dovecot took.
    (re.compile(rb"\(\d+\.\d{3} \+ \d+\.\d{3}(?: \+ \d+\.\d{3})* secs\)"), b"(<time> secs)"),
    # What is offered: the proxy's own list, which tests of their own look at.
    (re.compile(rb"\[CAPABILITY [^\]]*\]"), b"[CAPABILITY <list>]"),
    (re.compile(rb"^\* CAPABILITY .*\r\n", re.MULTILINE), b"* CAPABILITY <list>\r\n"),
    # The date of what was just appended or saved.
    (re.compile(rb'"(?:[ 0-3]\d)-\w{3}-%d \d\d:\d\d:\d\d [+-]\d{4}"' % time.gmtime().tm_year), b'"<now>"'),
]
NUMBER = re.compile(rb"(?<![\d.])(\d{10})(?![\d.])")
#: A UIDVALIDITY made from the clock is this near to now.
NEAR = 7 * 86400


def normal(response: bytes) -> bytes:
    for pattern, replacement in RULES:
        response = pattern.sub(replacement, response)
    now = time.time()
    return NUMBER.sub(lambda found: b"<now>" if abs(int(found[1]) - now) < NEAR else found[1], response)


def comparable(script: Script, answers: list[tuple[bytes, list[bytes]]], proxied: bool) -> list[bytes]:
    """The responses as one list; where the proxy answers itself, only the kind of the answer."""
    lines: list[bytes] = []
    for what, responses in answers:
        tag = what.removeprefix(b"+ ")
        if (kind := script.own.get(tag)) is not None:
            last = responses[-1] if responses else b""
            if proxied:
                words = last.split(b" ")
                assert len(words) > 1 and words[1].strip() == kind, f"{script.name}: {tag!r} was to be {kind!r}, is {last!r}"
            lines.append(tag + b" <answered by the proxy>\r\n")
            continue
        lines += [normal(response) for response in responses]
    return sorted(lines) if script.unordered else lines


def first_difference(script: Script, direct: list[bytes], proxied: list[bytes]) -> str | None:
    """A report of the first difference with what came before it; `None` if there is none."""
    for number in range(max(len(direct), len(proxied))):
        one = direct[number] if number < len(direct) else b"<nothing more>"
        two = proxied[number] if number < len(proxied) else b"<nothing more>"
        if one == two:
            continue
        at = next((n for n, pair in enumerate(zip(one, two)) if pair[0] != pair[1]), min(len(one), len(two)))
        before = "".join(f"        {line!r}\n" for line in direct[max(0, number - 3):number])
        commands = "".join(f"        {line.decode(errors='replace')[:200]}\n" for line in script.lines)
        return (f"{script.name}: response {number + 1} differs at byte {at}\n    script\n{commands}"
                f"    before\n{before}    server: {one[:400]!r}\n    proxy:  {two[:400]!r}")
    return None
