"""Starts and ends the programs of the tests. Never ends a process that it did not start."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int, wait: float = 0.2) -> bool:
    """Whether something accepts connections on `port`."""
    try:
        with socket.create_connection(("127.0.0.1", port), wait):
            return True
    except OSError:
        return False


class Daemon:
    """A program in a session of its own, with its output in a file."""

    def __init__(self, command: list, log: Path, *, env: dict | None = None, cwd=None):
        self.log = log
        self.command = [str(word) for word in command]
        with open(log, "ab") as output:
            self.child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )

    def wait_for_port(self, port: int, within: float = 20.0) -> None:
        """Returns once `port` accepts; fails with the log if the program ends or stays silent."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                raise AssertionError(f"{self.command[0]} ended with {self.child.returncode}:\n{self.tail()}")
            if answers(port):
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.command[0]} does not listen on {port}:\n{self.tail()}")

    def tail(self, size: int = 4000) -> str:
        """The end of what the program wrote."""
        return self.log.read_bytes()[-size:].decode(errors="replace") if self.log.exists() else ""

    def stop(self, within: float = 5.0) -> None:
        """Ends the program and everything in its session: asks first, then kills."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(within)
            except subprocess.TimeoutExpired:
                pass
        for pid in session_members(self.child.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.child.wait()


def session_members(session: int) -> list[int]:
    """Processes whose session is `session`: a daemon's workers, whoever they run as."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            members.append(int(entry.name))
    return members


def run(command: list, *, stdin: bytes | str | None = None, timeout: float = 60, env=None, cwd=None, check=True):
    """Runs a program to its end and gives its result; output is text unless `stdin` is bytes."""
    text = not isinstance(stdin, bytes)
    done = subprocess.run(
        [str(word) for word in command],
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout,
        env=env,
        cwd=cwd,
        text=text,
        errors="replace" if text else None,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}\n{done.stdout!s}\n{done.stderr!s}")
    return done
