"""Cyrus IMAP in a chroot of its own: master, imapd, idled; passwords in sasldb."""

from dataclasses import dataclass
from pathlib import Path

from harness.backend import ALICE, MASTER, MESSAGES, PASSWORDS, Backend, chroot_copy, own
from harness.maildir import FLAGS
from harness.messages import date, message
from harness.process import Daemon, run
from harness.syslog import Syslog

CYRUS = 902
#: What Maildir's flag letters mean in IMAP.
NAMES = {"S": "\\Seen", "F": "\\Flagged", "R": "\\Answered", "D": "\\Draft"}
IMAPD_CONF = f"""
configdirectory: /var/lib/cyrus
partition-default: /var/spool/cyrus/mail
defaultpartition: default
admins: cyrus {MASTER[0]}
proxyservers: {MASTER[0]}
servername: localhost
altnamespace: yes
unixhierarchysep: yes
allowplaintext: yes
sasl_mech_list: PLAIN LOGIN
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: /etc/sasldb2
sasl_maximum_layer: 0
syslog_prefix: cyrus
idlesocket: /run/cyrus/socket/idle
statuscache: yes
annotation_allow_undefined: yes
conversations: no
autocreate_quota: 512000
autocreate_inbox_folders: Drafts|Sent|Trash
specialuse_extra: \\XSpecial
hashimapspool: no
maxlogins_per_user: 0
"""
CYRUS_CONF = """
START {{
  recover cmd="/usr/lib/cyrus/bin/ctl_cyrusdb -r"
}}
SERVICES {{
  imap cmd="/usr/lib/cyrus/bin/imapd -U 30" listen="127.0.0.1:{port}" prefork=0 maxchild=100
}}
DAEMON {{
  idled cmd="/usr/lib/cyrus/bin/idled"
}}
"""


@dataclass
class Cyrus(Backend):
    """PLAIN by SASL, proxy authentication, a transcript of every session."""

    name: str = "cyrus"
    unpacked: Path | None = None
    delimiter = "/"

    def launch(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        root = chroot_copy(self.unpacked, self.directory)
        self.root = root
        etc = root / "etc"
        (etc / "imapd.conf").write_text(IMAPD_CONF)
        (etc / "cyrus.conf").write_text(CYRUS_CONF.format(port=self.port))
        (etc / "group").write_text((etc / "group").read_text() + "sasl:x:45:cyrus\n")
        for user, password in [*PASSWORDS.items(), MASTER, ("cyrus", "cyrus-password")]:
            run(["chroot", root, "/usr/sbin/saslpasswd2", "-p", "-c", "-u", "localhost", "-f", "/etc/sasldb2", user],
                stdin=password)
        (etc / "sasldb2").chmod(0o644)
        for path in ("var/lib/cyrus", "var/spool/cyrus/mail", "run/cyrus/socket", "run/cyrus/proc", "run/cyrus/lock"):
            (root / path).mkdir(parents=True, exist_ok=True)
        for folder in ("db", "socket", "proc", "log", "msg", "quota", "sieve", "user", "ptclient", "lock", "md5"):
            (root / "var/lib/cyrus" / folder).mkdir(exist_ok=True)
        # A directory with a user's name turns the transcript of all their sessions on.
        for user in PASSWORDS:
            (root / "var/lib/cyrus/log" / user).mkdir()
        for path in ("var/lib/cyrus", "var/spool/cyrus", "run/cyrus"):
            own(root / path, CYRUS, 8)
        self.syslog = Syslog(root / "dev" / "log", self.directory / "syslog.log")
        server = Daemon(["chroot", root, "/usr/lib/cyrus/bin/master", "-D"], self.directory / "master.log",
                        env={"PATH": "/usr/lib/cyrus/bin:/usr/sbin:/usr/bin:/bin", "CYRUS_USER": "cyrus"})
        self.daemons.append(server)
        server.wait_for_port(self.port)
        self._fill()

    def _fill(self) -> None:
        with self.connect() as admin:
            admin.login("cyrus", "cyrus-password")
            for user in PASSWORDS:
                admin.ok(f"CREATE user/{user}")
                admin.ok(f"SETQUOTA user/{user} (STORAGE 512000)")
        for user in PASSWORDS:
            with self.session(user) as wire:
                # One MULTIAPPEND instead of many APPENDs: one fsync.
                command = b"fill APPEND INBOX"
                for number in range(MESSAGES if user == ALICE else 3):
                    content = message(number)
                    names = " ".join(NAMES[letter] for letter in FLAGS[number % len(FLAGS)])
                    when = date(number).strftime("%d-%b-%Y %H:%M:%S +0000")
                    command += f' ({names}) "{when}" {{{len(content)}+}}\r\n'.encode() + content
                wire.send(command + b"\r\n")
                answer = wire.until(b"fill")
                assert b" OK " in answer[-1], answer

    def stop(self) -> None:
        super().stop()
        self.syslog.stop()

    def transcript(self) -> bytes:
        """Both directions of every session of the tests' users, as Cyrus recorded them."""
        return b"".join(path.read_bytes() for path in sorted((self.root / "var/lib/cyrus/log").glob("*/*")))
