"""Generated mail: always the same bytes for the same number, so that stores can be compared."""

import datetime
import email.utils
import hashlib
import random

PEOPLE = ["Alice <alice@example.org>", "Bob <bob@example.org>", "=?utf-8?q?J=C3=BCrgen?= <juergen@example.net>",
          "Carol <carol@example.com>", "=?utf-8?b?5bGx55Sw?= <yamada@example.jp>"]
WORDS = ["invoice", "meeting", "lunch", "report", "holiday", "server", "backup", "question", "offer", "minutes"]
#: Every message's date counts from here.
EPOCH = datetime.datetime(2024, 1, 1, 8, 0, tzinfo=datetime.timezone.utc)


def date(number: int) -> datetime.datetime:
    """The date of message `number`."""
    return EPOCH + datetime.timedelta(hours=7 * number)


def message(number: int, size: int = 0) -> bytes:
    """Message `number` with CRLF line ends; `size` bytes of body at least."""
    source = random.Random(number)
    # Four messages each are one thread, for THREAD.
    first = number - number % 4
    headers = [
        f"Return-Path: <sender{number % 7}@example.org>",
        f"Date: {email.utils.format_datetime(date(number))}",
        f"From: {PEOPLE[number % len(PEOPLE)]}",
        f"To: {PEOPLE[(number + 1) % len(PEOPLE)]}",
        f"Subject: {'Re: ' if number != first else ''}{WORDS[first // 4 % len(WORDS)]} {first}",
        f"Message-ID: <m{number}@example.org>",
    ]
    if number != first:
        headers.append(f"In-Reply-To: <m{number - 1}@example.org>")
        headers.append("References: " + " ".join(f"<m{other}@example.org>" for other in range(first, number)))
    lines = [" ".join(source.choices(WORDS, k=9)) for _ in range(3 + number % 5)]
    for line in range(size // 74):
        block = hashlib.sha256(f"{number} {line}".encode()).hexdigest()
        lines.append(block + block[:8])
    text = "\r\n".join(lines) + "\r\n"
    if number % 3:
        headers += ["MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8"]
        return ("\r\n".join(headers) + "\r\n\r\n" + text).encode()
    mark = f"part-{number}"
    headers += ["MIME-Version: 1.0", f'Content-Type: multipart/mixed; boundary="{mark}"']
    parts = [
        f"--{mark}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}",
        f'--{mark}\r\nContent-Type: application/octet-stream; name="data {number}.bin"\r\n'
        "Content-Transfer-Encoding: base64\r\n"
        f'Content-Disposition: attachment; filename="data {number}.bin"\r\n\r\nAAECAwQFBgcICQoLDA0ODw==\r\n',
        f"--{mark}--\r\n",
    ]
    return ("\r\n".join(headers) + "\r\n\r\n" + "".join(parts)).encode()
