"""Runs a full-screen program that insists on a terminal."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time


def run_in_terminal(command: list, *, env: dict, timeout: float = 40) -> bytes:
    """Runs `command` to its end in a terminal of 30 lines, and gives what it painted."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    child = subprocess.Popen([str(word) for word in command], stdin=theirs, stdout=theirs, stderr=theirs,
                             env=env | {"TERM": "xterm"}, start_new_session=True)
    os.close(theirs)
    painted = bytearray()
    deadline = time.monotonic() + timeout
    try:
        while child.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"{command[0]} does not end; it painted {bytes(painted[-3000:])!r}")
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    painted += os.read(ours, 65536)
                except OSError:
                    # The program has closed its terminal.
                    child.wait(5)
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        os.close(ours)
    assert child.returncode == 0, bytes(painted[-3000:])
    return bytes(painted)
