"""A way to the proxy that cuts what either side sends into pieces, or joins what comes together."""

import select
import socket
import threading
import time

from harness.process import free_port

#: So many pieces go with a pause behind each, so that they are read one by one: more than a hand-shake and a login have.
SLOW = 3000
PAUSE = 0.0001
#: What comes within so many seconds is joined, up to so many bytes.
SOON = 0.02
JOINED = 1 << 18


class Cutter:
    """Listens on `port` and passes everything on to `target`: in pieces of `size` bytes, or joined where there is no size."""

    def __init__(self, target: int, size: int | None):
        self.target = target
        self.size = size
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Cutter":
        return self

    def __exit__(self, *_) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source: socket.socket, drain: socket.socket) -> None:
        try:
            if self.size:
                self._cut(source, drain)
            else:
                join(source, drain)
        except OSError:
            pass
        # The end is passed on, too, once everything else was.
        try:
            drain.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _cut(self, source: socket.socket, drain: socket.socket) -> None:
        sent = 0
        while data := source.recv(1 << 16):
            for start in range(0, len(data), self.size):
                drain.sendall(data[start:start + self.size])
                sent += 1
                if sent < SLOW:
                    time.sleep(PAUSE)


def join(source: socket.socket, drain: socket.socket) -> None:
    while data := source.recv(1 << 16):
        while len(data) < JOINED and select.select([source], [], [], SOON)[0]:
            more = source.recv(1 << 16)
            if not more:
                break
            data += more
        drain.sendall(data)
