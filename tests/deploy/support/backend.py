"""An IMAP server that knows no more than the tests need: backend.py, for one in a process of its own that prints its port."""

import socketserver
import sys
import threading

PASSWORD = "mail password"


class _Conversation(socketserver.StreamRequestHandler):
    """LOGIN with the one password, NOOP, LOGOUT."""

    def handle(self):
        self.wfile.write(b"* OK [CAPABILITY IMAP4rev1] ready\r\n")
        for line in self.rfile:
            tag, verb, *rest = line.decode().rstrip("\r\n").split(" ", 2)
            answer = "OK done"
            if verb.upper() == "CAPABILITY":
                self.wfile.write(b"* CAPABILITY IMAP4rev1\r\n")
            elif verb.upper() == "LOGIN" and PASSWORD not in "".join(rest):
                answer = "NO [AUTHENTICATIONFAILED] no"
            elif verb.upper() == "LOGOUT":
                self.wfile.write(b"* BYE\r\n")
            self.wfile.write(f"{tag} {answer}\r\n".encode())


class Backend(socketserver.ThreadingTCPServer):
    """On a port of its own, in threads."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), _Conversation)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


if __name__ == "__main__":
    print(Backend(int(sys.argv[1]) if len(sys.argv) > 1 else 0).port, flush=True)
    threading.Event().wait()
