"""Dovecot, as apt installs it, with its own configuration and directories."""

import grp
import json
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness.backend import ALICE, MASTER, MESSAGES, PASSWORDS, Backend, own
from harness.certificates import Authority
from harness.maildir import fill
from harness.process import Daemon, run, session_members

CONFIG = """
base_dir = {run}
state_dir = {run}/state
log_path = {directory}/dovecot.log
info_log_path = {directory}/dovecot.log
log_timestamp = "%Y-%m-%d %H:%M:%S.%{{usecs}} "
instance_name = {name}
protocols = imap
verbose_proctitle = yes
listen = 127.0.0.1
auth_mechanisms = plain login
# A failed login of one test must not slow the next one down.
auth_failure_delay = 0
disable_plaintext_auth = no
auth_master_user_separator = *
auth_cache_size = 0
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
mail_location = maildir:~/Maildir
mail_home = {directory}/home/%u
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
first_valid_gid = 1
mail_attribute_dict = file:%h/attributes
mail_plugins = quota acl zlib
mailbox_list_index = yes
mail_max_userip_connections = 100
login_trusted_networks = {trusted}

passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {directory}/masters
  master = yes
  result_success = continue
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {directory}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={directory}/home/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
  prefix =
  mailbox Drafts {{
    special_use = \\Drafts
  }}
  mailbox Sent {{
    special_use = \\Sent
  }}
  mailbox Trash {{
    special_use = \\Trash
  }}
}}
namespace shared {{
  type = shared
  separator = /
  prefix = shared/%%u/
  location = maildir:{directory}/home/%%u/Maildir
  subscriptions = no
  list = children
}}
plugin {{
  acl = vfile
  acl_shared_dict = file:{directory}/shared-mailboxes
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=500M
}}
protocol imap {{
  mail_plugins = quota acl zlib imap_quota imap_acl imap_zlib
  imap_metadata = yes
  mail_max_userip_connections = 100
  imap_idle_notify_interval = 29 mins
}}
service imap-login {{
  inet_listener imap {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
  # One process for all connections: quick, and the tests open hundreds.
  service_count = 0
  process_min_avail = 1
  client_limit = 2000
  chroot =
}}
service imap {{
  process_limit = 1200
  vsz_limit = 512M
}}
service anvil {{
  client_limit = 4000
}}
service auth {{
  client_limit = 4000
}}
service stats {{
  client_limit = 4000
}}
default_process_limit = 1200
default_client_limit = 2000
default_vsz_limit = 512M

event_exporter executed {{
  format = json
  format_args = time-rfc3339
  transport = log
}}
metric imap_commands {{
  exporter = executed
  filter = event=imap_command_finished
}}
"""


@dataclass
class Dovecot(Backend):
    """Plain text, Maildir; STARTTLS with the tests' CA; ACL, quota, METADATA, a shared name space, a master user."""

    name: str = "dovecot"
    authority: Authority | None = None
    #: Networks whose stated client address (ID) Dovecot believes.
    trusted: str = ""
    messages: int = MESSAGES
    delimiter = "/"

    def launch(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        authority = self.authority or Authority(self.directory / "ca")
        certificate, key = authority.issue("dovecot")
        account = pwd.getpwnam("mail")
        self.owner = (account.pw_uid, grp.getgrnam("mail").gr_gid)
        runtime = self.directory / "run"
        runtime.mkdir(exist_ok=True)
        (self.directory / "users").write_text("".join(f"{user}:{password}\n" for user, password in PASSWORDS.items()))
        (self.directory / "masters").write_text(f"{MASTER[0]}:{MASTER[1]}\n")
        config = self.directory / "dovecot.conf"
        config.write_text(CONFIG.format(
            run=runtime, directory=self.directory, name=self.directory.name, certificate=certificate, key=key,
            uid=self.owner[0], gid=self.owner[1], port=self.port, trusted=self.trusted))
        self.fill()
        daemon = Daemon(["dovecot", "-F", "-c", config], self.directory / "master.log")
        self.daemons.append(daemon)
        daemon.wait_for_port(self.port)

    def home(self, user: str = ALICE) -> Path:
        return self.directory / "home" / user

    def fill(self) -> None:
        """Alice's mail, and a mailbox of Bob's that Alice may read."""
        fill(self.home() / "Maildir", range(self.messages))
        fill(self.home() / "Maildir" / ".Archive.2023", range(1000, 1020))
        (self.home() / "Maildir" / ".Archive").mkdir(exist_ok=True)
        fill(self.home() / "Maildir" / ".Sent", range(2000, 2005))
        bob = self.home("bob") / "Maildir"
        fill(bob, range(3000, 3003))
        fill(bob / ".Common", range(3100, 3110))
        (bob / ".Common" / "dovecot-acl").write_text("user=alice lrs\n")
        (self.home("carol") / "Maildir").mkdir(parents=True)
        (self.directory / "shared-mailboxes").write_text("shared/shared-boxes/user/alice/bob\n1\n")
        own(self.directory / "home", *self.owner)
        (self.directory / "shared-mailboxes").chmod(0o666)

    def restore(self, template: Path) -> None:
        """Puts a copy of `template` in place of all homes. Nobody may be logged in."""
        shutil.rmtree(self.directory / "home", ignore_errors=True)
        run(["cp", "-a", template, self.directory / "home"])

    def idling(self) -> int:
        """How many sessions are in IDLE now."""
        found = 0
        for pid in session_members(self.daemons[-1].child.pid):
            try:
                found += b" IDLE" in Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                # It has ended meanwhile.
                continue
        return found

    def executed(self) -> list[dict]:
        """The commands that Dovecot ran, in order: dictionaries with `cmd_name`, `cmd_args`, `user`."""
        found = []
        for line in self.log_text().splitlines():
            start = line.find('{"event":"imap_command_finished"')
            if start >= 0:
                found.append(json.loads(line[start:])["fields"])
        return found
