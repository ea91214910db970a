"""Clients, and what people have to log in with."""

import base64
import hashlib
import hmac
import json
import re
import socket
import ssl
import struct
import time



class Client:
    """An IMAP client that waits for tagged answers."""

    def __init__(self, port, within=30.0, source="127.0.0.1"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=within, source_address=(source, 0)))
        self.lines = self.socket.makefile("rwb")
        self.greeting = self.lines.readline().decode()
        self.number = 0

    def command(self, text):
        """The tagged answer, without its tag."""
        self.number += 1
        tag = f"t{self.number}"
        self.lines.write(f"{tag} {text}\r\n".encode())
        self.lines.flush()
        while line := self.lines.readline():
            if line.startswith(f"{tag} ".encode()):
                return line.decode().split(" ", 1)[1].strip()
        raise AssertionError("closed without an answer")

    def login(self, user, password):
        return self.command(f'LOGIN {user} "{password}"')

    def close(self):
        self.lines.close()
        self.socket.close()


def code(secret, at):
    """RFC 6238: six digits, SHA-1, 30 s."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.new(key, struct.pack(">Q", int(at) // 30), hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[start:start + 4])[0] & 0x7FFFFFFF) % 10**6:06}"


def enrol(proxy, user):
    """One-time codes for a user; returns the secret, and the code that enrolling has used up."""
    proxy.cli("user", "add", user)
    begun = json.loads(proxy.cli("user", "enroll-totp", user, "--begin", "--json").stdout)
    secret = re.search(r"[?&]secret=([A-Z2-7]+)", json.dumps(begun))[1]
    used = code(secret, time.time())
    proxy.cli("user", "enroll-totp", user, "--confirm", "--code-stdin", stdin=used + "\n")
    return secret, used


def attempt(proxy, user, password, program=None):
    client = Client(proxy.port)
    if program:
        client.command(f'ID ("name" "{program}")')
    answer = client.login(user, password)
    if not answer.startswith("OK"):
        client.close()
    return answer, client
