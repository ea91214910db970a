"""A recording wire between the proxy and a backend: what was really sent, in both directions."""

import socket
import threading

from harness.process import free_port


class Session:
    """One recorded connection."""

    def __init__(self):
        #: From the proxy to the backend, and back.
        self.sent = b""
        self.answered = b""
        self.closed = threading.Event()


class Tap:
    """Listens on `port` and passes everything on to `target`."""

    def __init__(self, target: int):
        self.target = target
        self.port = free_port()
        self.sessions: list[Session] = []
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            session = Session()
            self.sessions.append(session)
            for name, source, drain in (("sent", client, server), ("answered", server, client)):
                threading.Thread(target=self._copy, args=(session, name, source, drain), daemon=True).start()

    @staticmethod
    def _copy(session: Session, name: str, source: socket.socket, drain: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                setattr(session, name, getattr(session, name) + data)
                drain.sendall(data)
        except OSError:
            pass
        try:
            drain.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        if name == "answered":
            session.closed.set()

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
