"""GNU Mailutils imap4d in a chroot of its own: accounts from a passwd file, Maildirs."""

from dataclasses import dataclass
from pathlib import Path

from harness.backend import ALICE, MESSAGES, PASSWORDS, Backend, chroot_copy, own
from harness.maildir import fill
from harness.process import Daemon, run
from harness.syslog import Syslog

#: The first account's number; the others follow.
FIRST = 2000
CONFIG = """
mode daemon;
foreground yes;
max-children 100;
transcript yes;
mailbox {{
  mail-spool "maildir:/var/mail";
  mailbox-pattern "maildir:/var/mail/${{user}}";
  mailbox-type maildir;
}};
logging {{
  syslog no;
}};
tcp-wrappers {{
  enable no;
}};
server 127.0.0.1:{port} {{
  transcript yes;
}};
"""


@dataclass
class Imap4d(Backend):
    """The oddest of the four: few extensions, ignores DONE, rewrites messages."""

    name: str = "imap4d"
    unpacked: Path | None = None
    delimiter = "/"
    # After AUTHENTICATE PLAIN its tagged OK ends in a bare LF, which no proxy should read as a line.
    proxy_options = "login: login"

    def launch(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        root = chroot_copy(self.unpacked, self.directory)
        self.root = root
        passwd = (root / "etc/passwd").read_text()
        for number, (user, password) in enumerate(PASSWORDS.items(), FIRST):
            hashed = run(["openssl", "passwd", "-6", "-stdin"], stdin=password + "\n").stdout.strip()
            passwd += f"{user}:{hashed}:{number}:8:{user}:/home/{user}:/bin/sh\n"
            (root / "home" / user).mkdir(parents=True)
            fill(root / "var/mail" / user, range(MESSAGES if user == ALICE else 3))
            own(root / "home" / user, number, 8)
            own(root / "var/mail" / user, number, 8)
        (root / "etc/passwd").write_text(passwd)
        (root / "var/mail").chmod(0o1777)
        (root / "etc/imap4d.conf").write_text(CONFIG.format(port=self.port))
        self.syslog = Syslog(root / "dev" / "log", self.directory / "syslog.log")
        server = Daemon(["chroot", root, "/usr/sbin/imap4d", "--no-site-config", "--config-file=/etc/imap4d.conf"],
                        self.directory / "imap4d.log", env={"PATH": "/usr/sbin:/usr/bin:/bin"})
        self.daemons.append(server)
        server.wait_for_port(self.port)

    def stop(self) -> None:
        super().stop()
        self.syslog.stop()
