"""Fixtures: four mail servers, the proxy in front of each, and both ways to every mail store."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from harness.backend import ALICE, BOB, Backend
from harness.certificates import Authority
from harness.courier import Courier
from harness.cyrus import Cyrus
from harness.dovecot import Dovecot
from harness.endpoint import Endpoint
from harness.imap4d import Imap4d
from harness.proxy import Imapwarden

REPOSITORY = Path(__file__).resolve().parents[2]
#: What every proxy judges by: real clients must never notice.
RULES = """
rules:
  packs: [baseline, generic]
"""
UNPACKED = Path(os.environ.get("PEERS_CACHE", REPOSITORY / ".cache" / "peers"))
BACKENDS = ("dovecot", "courier", "cyrus", "imap4d")
LEGS = ("direct", "proxy")


@pytest.fixture(scope="session")
def workspace():
    """A directory that the servers' own accounts can reach; gone at the end unless KEEP is set."""
    directory = Path(tempfile.mkdtemp(prefix="imapwarden-peers-"))
    directory.chmod(0o755)
    yield directory
    if os.environ.get("KEEP"):
        print(f"kept {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def authority(workspace):
    return Authority(workspace / "ca")


class Stage:
    """Starts each server and each proxy when it is first asked for."""

    def __init__(self, workspace: Path, authority: Authority):
        self.workspace = workspace
        self.authority = authority
        self.backends: dict[str, Backend] = {}
        self.proxies: dict[str, Imapwarden] = {}

    def backend(self, name: str) -> Backend:
        if name not in self.backends:
            directory = self.workspace / name
            made = (Dovecot(directory, authority=self.authority) if name == "dovecot" else
                    {"courier": Courier, "cyrus": Cyrus, "imap4d": Imap4d}[name](directory, unpacked=UNPACKED / name))
            # Kept at once: if the start fails half-way, what runs is still stopped.
            self.backends[name] = made
            made.start()
        return self.backends[name]

    def proxy(self, name: str) -> Imapwarden:
        if name not in self.proxies:
            backend = self.backend(name)
            proxy = Imapwarden(self.workspace / f"proxy-{name}", self.authority, backend.port,
                               backend_options=backend.proxy_options, more=RULES)
            self.proxies[name] = proxy
            for user in (ALICE, BOB):
                proxy.add_user(user, "--group", "may-share", "--group", "may-set")
                proxy.app_passwords[user] = proxy.app_password(user)
            proxy.start()
        return self.proxies[name]

    def endpoint(self, name: str, leg: str) -> Endpoint:
        return Endpoint(self.backend(name), self.authority, self.proxy(name) if leg == "proxy" else None)

    def stop(self) -> None:
        for running in [*self.proxies.values(), *self.backends.values()]:
            running.stop()


@pytest.fixture(scope="session")
def stage(workspace, authority):
    made = Stage(workspace, authority)
    yield made
    made.stop()


def pytest_generate_tests(metafunc):
    """A test that takes `endpoint` runs on every server, around the proxy and through it."""
    if "endpoint" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("backends")
        names = marker.args if marker else BACKENDS
        metafunc.parametrize("endpoint", [(name, leg) for name in names for leg in LEGS],
                             ids=[f"{name}-{leg}" for name in names for leg in LEGS], indirect=True)
    if "proxied" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("backends")
        names = marker.args if marker else BACKENDS
        metafunc.parametrize("proxied", [(name, "proxy") for name in names], ids=list(names), indirect=True)


@pytest.fixture
def endpoint(stage, request) -> Endpoint:
    return stage.endpoint(*request.param)


@pytest.fixture
def proxied(stage, request) -> Endpoint:
    """Like `endpoint`, through the proxy only."""
    return stage.endpoint(*request.param)


@pytest.fixture
def in_silence(request):
    """A program as people have it, with an app password of its own: no rule may act on it."""
    used = next(name for name in ("endpoint", "proxied") if name in request.fixturenames)
    endpoint = request.getfixturevalue(used)
    if endpoint.proxied:
        endpoint.use_own_app_password()
    before = len(endpoint.acted_rules())
    yield
    assert endpoint.acted_rules()[before:] == []


def pytest_configure(config):
    config.addinivalue_line("markers", "backends(*names): the servers that can do what the test needs")
