"""Thunderbird, headless, with a profile of its own: it signs in by itself and synchronises.

A tree of links stands in for its installation, so that the tests' settings never touch the real one: AutoConfig gives it
the password, a policy the tests' certificate authority.
"""

import json
import os
import shutil
from pathlib import Path

from harness.backend import ALICE
from harness.backend import MESSAGES
from harness.endpoint import Endpoint
from harness.process import Daemon, run

INSTALLED = Path("/usr/lib/thunderbird")

AUTOCONFIG = """
pref("general.config.filename", "tests.cfg");
pref("general.config.obscure_value", 0);
pref("general.config.sandbox_enabled", false);
"""

# AutoConfig leaves the first line out. Thunderbird's own download waits until nobody uses the machine, which a headless
# machine never says dependably: the script asks for it as "Download/Sync Now" does.
SETTINGS = """// made by the tests
try {{
  const login = Components.classes["@mozilla.org/login-manager/loginInfo;1"]
    .createInstance(Components.interfaces.nsILoginInfo);
  login.init("imap://localhost", null, "imap://localhost", {user}, {password}, "", "");
  Services.logins.addLoginAsync(login).catch(error => dump("no login: " + error + "\\n"));

  const {{ MailServices }} = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
  const rootFolder = () => MailServices.accounts.getAccount("account1").incomingServer.rootFolder;
  const NoSelect = Components.interfaces.nsMsgFolderFlags.ImapNoselect;
  let folders = null;
  let asked = 0;
  let told = false;
  const look = () => {{
    const inbox = rootFolder().getFolderWithFlags(Components.interfaces.nsMsgFolderFlags.Inbox);
    if (!folders && inbox && inbox.getTotalMessages(false) >= {messages}) {{
      const all = rootFolder().descendants.filter(folder => !folder.getFlag(NoSelect));
      folders = {mailboxes} == 1 ? [inbox] : all.length >= {mailboxes} ? all : null;
    }}
    // Where its own download got in between, no answer may come: the script asks again.
    if (!folders || Date.now() - asked < 10_000) {{
      return;
    }}
    if (!folders.length) {{
      if (!told) {{
        dump("everything was asked for\\n");
      }}
      told = true;
      // Of many folders one may have been answered before Thunderbird knew its messages: all are asked for again.
      folders = null;
      asked = Date.now();
      if ({mailboxes} == 1) {{
        timer.cancel();
      }}
      return;
    }}
    // A folder that Thunderbird downloads by itself just now is busy: the next look tries again.
    const folder = folders[0];
    folder.downloadAllForOffline({{
      OnStartRunningUrl() {{}},
      OnStopRunningUrl() {{
        if (folders[0] === folder) {{
          asked = 0;
          folders.shift();
        }}
      }},
    }}, null);
    asked = Date.now();
  }};
  var timer = Components.classes["@mozilla.org/timer;1"].createInstance(Components.interfaces.nsITimer);
  Services.obs.addObserver(() => timer.initWithCallback(() => {{
    try {{
      look();
    }} catch (error) {{
      dump("no look: " + error + "\\n");
    }}
  }}, 200, Components.interfaces.nsITimer.TYPE_REPEATING_SLACK), "mail-startup-done");
}} catch (error) {{ dump("no login: " + error + "\\n"); }}
"""

PREFERENCES = {
    "mail.accountmanager.accounts": "account1",
    "mail.accountmanager.defaultaccount": "account1",
    "mail.account.account1.server": "server1",
    "mail.account.account1.identities": "id1",
    "mail.identity.id1.useremail": "alice@localhost",
    "mail.identity.id1.fullName": "Alice",
    "mail.server.server1.type": "imap",
    "mail.server.server1.hostname": "localhost",
    "mail.server.server1.userName": ALICE,
    "mail.server.server1.name": "tests",
    "mail.server.server1.authMethod": 3,
    "mail.server.server1.login_at_startup": True,
    "mail.server.server1.check_new_mail": True,
    "mail.server.server1.check_time": 30,
    "mail.server.server1.offline_download": True,
    "mail.server.server1.autosync_offline_stores": True,
    "mail.server.server1.autosync_max_age_days": -1,
    "mail.server.server1.timeout": 29,
    "mail.autosync.initial_idle_time": 1,
    "mail.shell.checkDefaultClient": False,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.spotlight.firstRunDone": True,
    "mail.rights.version": 1,
    "mailnews.start_page.enabled": False,
    "mailnews.start_page_override.mstone": "ignore",
    "app.donation.eoy.version.viewed": 999,
    "app.update.enabled": False,
    "browser.dom.window.dump.enabled": True,
    "browser.policies.runOncePerModification.extensionsInstall": "[]",
    "datareporting.policy.dataSubmissionEnabled": False,
    "datareporting.healthreport.uploadEnabled": False,
    "extensions.update.enabled": False,
    "extensions.getAddons.cache.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
    "toolkit.telemetry.unified": False,
}


class Thunderbird:
    """One Thunderbird with Alice's account at an endpoint.

    It downloads INBOX once that has so many messages, or, where more mailboxes are named, all of them once they are known.
    """

    def __init__(self, directory: Path, endpoint: Endpoint, *, messages: int = MESSAGES, mailboxes: int = 1):
        self.directory = directory
        self.profile = directory / "profile"
        self.program = directory / "thunderbird"
        self.daemon: Daemon | None = None
        self._program(endpoint, messages, mailboxes)
        self._profile(endpoint)

    def _program(self, endpoint: Endpoint, messages: int, mailboxes: int) -> None:
        run(["cp", "-as", f"{INSTALLED}/.", self._made(self.program)])
        # What the program finds itself by must be a file, not a link.
        for name in ("thunderbird", "thunderbird-bin"):
            if (INSTALLED / name).exists():
                (self.program / name).unlink()
                shutil.copy2(INSTALLED / name, self.program / name)
        defaults = self._made(self.program / "defaults" / "pref")
        (defaults / "tests-autoconfig.js").write_text(AUTOCONFIG)
        (self.program / "tests.cfg").write_text(SETTINGS.format(
            user=json.dumps(ALICE), password=json.dumps(endpoint.password()), messages=messages, mailboxes=mailboxes))
        policies = self._made(self.program / "distribution") / "policies.json"
        policies.unlink(missing_ok=True)
        policies.write_text(json.dumps({"policies": {
            "Certificates": {"Install": [str(endpoint.authority.certificate)]},
            "DisableTelemetry": True, "DisableAppUpdate": True, "DNSOverHTTPS": {"Enabled": False}}}))

    def _profile(self, endpoint: Endpoint) -> None:
        preferences = PREFERENCES | {
            "mail.server.server1.port": endpoint.port,
            # 3 is TLS from the first byte.
            "mail.server.server1.socketType": 3 if endpoint.proxied else 0,
        }
        self._made(self.profile)
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
        (self.profile / "user.js").write_text("".join(lines))

    @staticmethod
    def _made(directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def start(self) -> "Thunderbird":
        environment = {"HOME": str(self.directory), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8",
                       "MOZ_HEADLESS": "1", "MOZ_CRASHREPORTER_DISABLE": "1", "MOZ_LOG": os.environ.get("MOZ_LOG", ""),
                       "MOZ_LEGACY_PROFILES": "1", "DBUS_SESSION_BUS_ADDRESS": "disabled:"}
        self.daemon = Daemon([self.program / "thunderbird", "--headless", "--no-remote", "--profile", self.profile],
                             self.directory / "thunderbird.log", env=environment, cwd=self.directory)
        return self

    def messages(self, mailbox: str = "INBOX") -> int:
        """How many messages of a mailbox are here in full."""
        store = self.profile / "ImapMail" / "localhost" / mailbox
        return store.read_bytes().count(b"\nMessage-ID: <m") if store.exists() else 0

    def said(self) -> str:
        """What it and the tests' script wrote."""
        return self.daemon.tail(1 << 20)

    def stores(self) -> list[Path]:
        """The files in which it keeps messages, one for each mailbox."""
        files = (self.profile / "ImapMail" / "localhost").rglob("*")
        return [path for path in files if path.is_file() and path.suffix not in (".msf", ".dat")]

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop(within=20)
