"""A large account, as people have it after some years: many mailboxes of very different sizes, most messages small."""

import re
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from harness.backend import own
from harness.dovecot import Dovecot
from harness.maildir import fill

#: Messages by mailbox: 20,000 in all.
MAILBOXES = {
    "INBOX": 4_000, "Sent": 2_500, "Drafts": 12, "Trash": 600, "Junk": 188,
    **{f"Archive/{year}": count for year, count in zip(range(2016, 2026), range(400, 1_400, 100))},
    **{f"Projects/{number:02}": 60 + 15 * number for number in range(16)},
    "Lists/announce": 40, "Lists/users": 900, "Lists/devel": 0,
}
MAILBOXES["Lists/devel"] = 20_000 - sum(MAILBOXES.values())
MESSAGE_ID = re.compile(rb"^Message-ID: <m(\d+)@example\.org>", re.MULTILINE)


def size(number: int) -> int:
    """Most mail is short; one message in two hundred carries something."""
    return 40_000 if number % 200 == 7 else (0, 300, 900, 2_400)[number % 4]


@dataclass
class LargeDovecot(Dovecot):
    """Alice's 20,000 messages, and nobody else's."""

    #: The numbers of the messages in each mailbox.
    numbers: dict[str, range] = field(default_factory=dict)

    def fill(self) -> None:
        maildir = self.home() / "Maildir"
        maildir.mkdir(parents=True)
        first = 0
        for name, count in MAILBOXES.items():
            self.numbers[name] = range(first, first + count)
            place = maildir if name == "INBOX" else maildir / ("." + name.replace("/", "."))
            fill(place, self.numbers[name], size=size)
            first += count
        # Mail programs show what is subscribed.
        (maildir / "subscriptions").write_text("".join(name.replace("/", ".") + "\n" for name in MAILBOXES))
        (self.directory / "shared-mailboxes").write_text("")
        own(self.directory / "home", *self.owner)
        (self.directory / "shared-mailboxes").chmod(0o666)

    def bytes_of(self, mailbox: str | None = None) -> int:
        """What a mailbox, or the whole account, holds: bytes as they are stored, without carriage returns."""
        maildir = self.home() / "Maildir"
        if mailbox is None:
            places = maildir.rglob("cur/*")
        else:
            places = (maildir if mailbox == "INBOX" else maildir / ("." + mailbox.replace("/", "."))).glob("cur/*")
        return sum(path.stat().st_size for path in places)


def numbers_in(files) -> list[int]:
    """The numbers of the messages in some files, in order, each as often as it is there."""
    return sorted(int(found) for path in files for found in MESSAGE_ID.findall(Path(path).read_bytes()))
