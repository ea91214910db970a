"""One way to a mail store: the server itself, or the proxy in front of it."""

import imaplib
import itertools
import ssl
from dataclasses import dataclass, field

import imapclient

from harness.backend import ALICE, PASSWORDS, Backend
from harness.certificates import Authority
from harness.proxy import Imapwarden
from harness.wire import Wire

NUMBERS = itertools.count(1)


@dataclass
class Endpoint:
    """Where clients connect in a test, and with which password."""

    backend: Backend
    authority: Authority
    proxy: Imapwarden | None = None
    made: list[str] = field(default_factory=list)
    #: An app password of this test's own; the proxy's common one otherwise.
    own: str | None = None

    @property
    def proxied(self) -> bool:
        return self.proxy is not None

    @property
    def port(self) -> int:
        return self.proxy.port if self.proxy else self.backend.port

    @property
    def context(self) -> ssl.SSLContext | None:
        """The TLS that clients speak; the servers themselves are spoken to in clear."""
        return self.authority.client_context() if self.proxy else None

    def use_own_app_password(self) -> None:
        """From now on Alice's clients are a new device."""
        self.own = self.proxy.app_password(ALICE, f"device {next(NUMBERS)}")

    def acted_rules(self) -> list[str]:
        """The rules that have acted so far, in order."""
        events = self.proxy.events() if self.proxy else []
        return [event["rule"]["name"] for event in events
                if event["event"]["action"] in ("rule_matched", "alert_raised")
                and event["imapwarden"]["decision"]["mode"] == "enforce"]

    def password(self, user: str = ALICE) -> str:
        if self.own and user == ALICE:
            return self.own
        return self.proxy.app_passwords[user] if self.proxy else PASSWORDS[user]

    def connect(self, **options) -> Wire:
        """Before the greeting."""
        return Wire(self.port, context=self.context, **options)

    def session(self, user: str = ALICE, **options) -> Wire:
        """Logged in, on the bare wire."""
        wire = self.connect(**options)
        wire.login(user, self.password(user))
        return wire

    def imaplib(self, user: str = ALICE) -> imaplib.IMAP4:
        """Logged in, by Python's own client."""
        client = (imaplib.IMAP4_SSL("localhost", self.port, ssl_context=self.context) if self.proxy
                  else imaplib.IMAP4("127.0.0.1", self.port))
        client.login(user, self.password(user))
        return client

    def imapclient(self, user: str = ALICE) -> imapclient.IMAPClient:
        """Logged in, by IMAPClient."""
        client = imapclient.IMAPClient("localhost" if self.proxy else "127.0.0.1", self.port, ssl=self.proxied,
                                       ssl_context=self.context, timeout=30)
        client.login(user, self.password(user))
        return client

    def mailbox(self, *levels: str) -> str:
        return self.backend.mailbox(*levels)

    def new_mailbox(self, name: str) -> str:
        """The name of a mailbox that does not exist yet."""
        return self.mailbox(f"{name}-{next(NUMBERS)}")

    def make(self, name: str, messages: int = 0) -> str:
        """Makes a new mailbox with some messages, at the server itself, and gives its name."""
        from harness.messages import message

        mailbox = self.new_mailbox(name)
        with self.backend.session() as wire:
            wire.ok(f"CREATE {mailbox}")
            wire.ok(f"SUBSCRIBE {mailbox}")
            for number in range(messages):
                answer = wire.append(mailbox, message(number))
                assert b" OK" in answer[-1], answer
        return mailbox
