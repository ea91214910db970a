"""Courier IMAP in a chroot of its own: authdaemond with userdb, couriertcpd, imaplogin."""

from dataclasses import dataclass
from pathlib import Path

from harness.backend import ALICE, MESSAGES, PASSWORDS, Backend, chroot_copy, own
from harness.maildir import fill
from harness.process import Daemon, run

VMAIL = 903
COURIER = 901
#: The environment that the `imapd` script of the package would read from /etc/courier/imapd.
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/bin",
    "IMAP_CAPABILITY": "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE",
    "IMAP_CAPABILITY_TLS": "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE SORT QUOTA IDLE AUTH=PLAIN",
    "IMAP_KEYWORDS": "1",
    "IMAP_ACL": "1",
    # Courier looks for new mail this often while a client idles; Debian's 60 s would make every push test slow.
    "IMAP_IDLE_TIMEOUT": "1",
    "IMAP_CHECK_ALL_FOLDERS": "0",
    "IMAP_USELOCKS": "1",
    "IMAP_ENHANCEDIDLE": "0",
    "IMAP_SHAREDINDEXFILE": "/etc/courier/shared/index",
    "IMAP_TRASHFOLDERNAME": "Trash",
    "IMAP_EMPTYTRASH": "Trash:7",
    "IMAP_MOVE_EXPUNGE_TO_TRASH": "0",
    "IMAP_STARTTLS": "NO",
    "IMAP_TLS_REQUIRED": "0",
    "TLS_CERTFILE": "/nonexistent",
    "SENDMAIL": "/bin/false",
    "IMAP_UMASK": "022",
    "DEBUG_LOGIN": "1",
}


@dataclass
class Courier(Backend):
    """LOGIN only, no AUTH=PLAIN, polls for IDLE."""

    name: str = "courier"
    unpacked: Path | None = None
    delimiter = "."
    prefix = "INBOX."

    def launch(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        root = chroot_copy(self.unpacked, self.directory)
        self.root = root
        self._accounts()
        for user in PASSWORDS:
            fill(root / "home" / user / "Maildir", range(MESSAGES if user == ALICE else 3), crlf=False)
        own(root / "home", VMAIL, VMAIL)
        runtime = root / "run" / "courier" / "authdaemon"
        runtime.mkdir(parents=True)
        own(root / "run" / "courier", COURIER, COURIER)
        auth = Daemon(["chroot", root, "/usr/lib/courier/courier-authlib/authdaemond"], self.directory / "authdaemond.log",
                      env={"PATH": ENVIRONMENT["PATH"]})
        self.daemons.append(auth)
        server = Daemon(
            ["chroot", root, "/usr/sbin/couriertcpd", "-address=127.0.0.1", "-maxprocs=200", "-maxperip=200",
             "-nodnslookup", "-noidentlookup", "-stderr=/imapd.log", str(self.port),
             "/usr/lib/courier/courier/imaplogin", "/usr/bin/imapd", "Maildir"],
            self.directory / "couriertcpd.log", env=ENVIRONMENT)
        self.daemons.append(server)
        server.wait_for_port(self.port)

    def _accounts(self) -> None:
        """The user database: one gdbm file with the accounts and one with their passwords."""
        etc = self.root / "etc" / "courier"
        (etc / "authdaemonrc").write_text(
            'authmodulelist="authuserdb"\nauthmodulelistorig="authuserdb"\ndaemons=5\n'
            'authdaemonvar=/run/courier/authdaemon\nDEBUG_LOGIN=1\nDEFAULTOPTIONS=""\nLOGGEROPTS=""\n')
        accounts, secrets = [], []
        for user, password in PASSWORDS.items():
            hashed = run(["openssl", "passwd", "-6", "-stdin"], stdin=password + "\n").stdout.strip()
            accounts.append(f"{user}\tuid={VMAIL}|gid={VMAIL}|home=/home/{user}|mail=/home/{user}/Maildir|_=\n")
            secrets.append(f"{user}\tsystempw={hashed}\n")
        for name, lines in (("userdb", accounts), ("userdbshadow", secrets)):
            run(["chroot", self.root, "/usr/lib/courier/courier-authlib/makedatprog", "-",
                 f"/etc/courier/{name}.tmp", f"/etc/courier/{name}.dat"], stdin="".join(lines) + ".\n")
        for file in ("userdb", "userdbshadow"):
            (etc / f"{file}.dat").chmod(0o600)
        own(etc, COURIER, COURIER)

    def log_text(self) -> str:
        return super().log_text() + "".join(path.read_text(errors="replace") for path in self.root.glob("*.log"))
