"""Starts one server, loads it, and ends it with everything that it has started. Never ends anything else."""

import itertools
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from table import Scenario

START = Path(__file__).resolve().parent / "start"
NAMES = sorted(path.name for path in START.iterdir() if path.name != "common")
#: Control groups that count CPU time: version 1, version 2.
ACCOUNTING = (Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup"))
NUMBERS = itertools.count(1)
#: Seconds for a server to end by itself.
GRACE = 4


@dataclass(frozen=True)
class Setting:
    """What all servers of a measurement have in common."""

    work: Path
    tool: str
    server_core: str
    load_core: str
    #: The port of the backend, and the first of those for servers.
    backend: int


def wait_for_port(port: int, within: float = 15) -> None:
    deadline = time.monotonic() + within
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nobody listens on port {port}"
            time.sleep(0.05)


def numbers(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def group() -> Path | None:
    """A new control group, where we may make one."""
    for root in ACCOUNTING:
        if (root / "cpuacct.usage").exists() or (root / "cgroup.controllers").exists():
            made = root / f"imapwarden-peers-{os.getpid()}-{next(NUMBERS)}"
            try:
                made.mkdir()
            except OSError:
                continue
            return made
    return None


class Peer:
    """One running server."""

    def __init__(self, name: str, setting: Setting):
        self.name, self.setting = name, setting
        number = next(NUMBERS)
        # Never the same port twice in a row: connections of the one before may still be closing.
        self.port = setting.backend + 10 + 2 * number % 900
        self.directory = setting.work / "run" / f"{name}-{number}"
        self.directory.mkdir(parents=True)
        self.group = group()
        self.roots: list[int] = []

    def __enter__(self) -> "Peer":
        try:
            environment = os.environ | {
                "PEER_DIR": str(self.directory), "PEER_PORT": str(self.port), "HELPER_PORT": str(self.port + 1),
                "BACKEND_PORT": str(self.setting.backend), "WORK_DIR": str(self.setting.work),
                "CERTIFICATE": str(self.setting.work / "certificate.pem"), "KEY": str(self.setting.work / "key.pem"),
                "BOTH": str(self.setting.work / "both.pem"), "SERVER_CORE": self.setting.server_core,
                "LOAD_CORE": self.setting.load_core, "GROUP": str(self.group or "")}
            subprocess.run(["bash", START / self.name], env=environment, check=True, timeout=60)
            self.roots = numbers(self.directory / "pids")
            if self.is_direct:
                self.port = self.setting.backend
            wait_for_port(self.port)
        except BaseException as error:
            log = self.directory / "log"
            error.add_note(log.read_text(errors="replace")[-2000:] if log.exists() else "")
            self.stop()
            raise
        # What a server does just after its start is no part of any scenario.
        time.sleep(0.3)
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def is_direct(self) -> bool:
        return self.name == "direct"

    def load(self, scenario: Scenario, seconds: float, warm_up: float) -> dict:
        command = ["taskset", "-c", self.setting.load_core, self.setting.tool, "load",
                   "--address", f"127.0.0.1:{self.port}", "--seconds", str(seconds), "--warm-up", str(warm_up),
                   *scenario.options]
        if self.is_direct:
            command.append("--plain")
        accounts = self.directory / "accounts" / scenario.accounts
        if accounts.exists():
            command += ["--accounts", accounts]
        if self.roots:
            command += ["--processes", ",".join(map(str, self.roots))]
            if self.group:
                command += ["--group", self.group]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400)
        try:
            result = json.loads(done.stdout)
        except ValueError:
            result = {"first_faults": [done.stderr[-500:]]}
        return result | {"exit": done.returncode}

    def stop(self) -> None:
        """Asks, then kills: what the start script has started, and what that has."""
        started = numbers(self.directory / "pids") + numbers(self.directory / "helpers")
        family = descendants(started)
        send(started, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and any(lives(process) for process in started):
            time.sleep(0.05)
        family |= set(numbers(self.group / "cgroup.procs")) if self.group else set()
        send([process for process in family if lives(process)], signal.SIGKILL)
        if self.group:
            remove(self.group)


def remove(group: Path) -> None:
    """Once nobody is in it any more."""
    for _ in range(50):
        try:
            return group.rmdir()
        except OSError:
            send(numbers(group / "cgroup.procs"), signal.SIGKILL)
            time.sleep(0.1)


def send(processes, number: signal.Signals) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            pass


def fields(process: int) -> list[str]:
    """Of `/proc/PID/stat`, from the state on; none where it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def lives(process: int) -> bool:
    return fields(process)[:1] not in ([], ["Z"])


def descendants(roots: list[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (known := fields(int(entry.name))):
            children.setdefault(int(known[1]), []).append(int(entry.name))
    found, waiting = set(), list(roots)
    while waiting:
        process = waiting.pop()
        found.add(process)
        waiting += children.get(process, [])
    return found
