"""A `/dev/log` inside a chroot: writes what the programs there log into a file."""

import socket
import threading
from pathlib import Path


class Syslog:
    """Collects datagrams until stopped."""

    def __init__(self, device: Path, log: Path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(device))
        device.chmod(0o666)
        self.log = log
        self.thread = threading.Thread(target=self._collect, daemon=True)
        self.thread.start()

    def _collect(self) -> None:
        with open(self.log, "ab", buffering=0) as log:
            while True:
                try:
                    line = self.socket.recv(65536)
                except OSError:
                    return
                if not line:
                    return
                log.write(line.rstrip(b"\n\0") + b"\n")

    def stop(self) -> None:
        # An empty datagram to ourselves ends the thread's wait.
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.socket.close()
