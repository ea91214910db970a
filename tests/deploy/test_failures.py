"""The failure table of docs/operations.md, row by row: what is said there is what happens, and it heals without a restart."""

import glob
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.backend import PASSWORD, Backend
from support.certificates import self_signed
from support.clients import Client, attempt, code, enrol
from support.programs import imapwarden, run
from support.proxy import Proxy

AWAY = "NO [UNAVAILABLE]"
REFUSED = "NO [AUTHENTICATIONFAILED]"


@pytest.fixture
def backend():
    server = Backend()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, and a way to fill it to the last byte."""
    place = tmp_path / "small"
    place.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", place])

    def fill():
        with (place / "fill").open("wb", buffering=0) as filler:
            while True:
                try:
                    filler.write(b"x" * 4096)
                except OSError:
                    return place / "fill"
    yield place, fill
    run(["umount", "--lazy", place])


def next_code(secret):
    """The code of the step to come, which is accepted already and was not used by enrolling."""
    return code(secret, time.time() + 30)


def test_a_store_that_is_gone_keeps_everybody_out_and_nobodys_session_ends(backend, tmp_path):
    with Proxy(tmp_path, backend.port) as proxy:
        alice = proxy.add("alice")
        answer, session = attempt(proxy, "alice", alice)
        assert answer.startswith("OK")
        database, away = proxy.data / "imapwarden.db", proxy.data / "away.db"
        database.rename(away)
        proxy.until(lambda: proxy.probe("readyz") == 503)
        assert proxy.probe("healthz") == 200
        assert attempt(proxy, "alice", alice)[0].startswith(AWAY)
        assert session.command("NOOP").startswith("OK")
        away.rename(database)
        proxy.until(lambda: proxy.probe("readyz") == 200)
        assert attempt(proxy, "alice", alice)[0].startswith("OK")
        assert session.command("NOOP").startswith("OK")


def test_on_a_full_disk_app_passwords_work_codes_do_not_and_nothing_can_be_changed(backend, tmp_path, small_disk):
    place, fill = small_disk
    with Proxy(tmp_path, backend.port, data=place / "data") as proxy:
        alice, (carol, _), (dave, _) = proxy.add("alice"), enrol(proxy, "carol"), enrol(proxy, "dave")
        window = f"{PASSWORD};{next_code(carol)}"
        assert attempt(proxy, "carol", window)[0].startswith("OK")
        answer, session = attempt(proxy, "alice", alice)
        assert answer.startswith("OK")
        filler = fill()
        assert session.command("NOOP").startswith("OK")
        assert attempt(proxy, "alice", alice)[0].startswith("OK")
        assert attempt(proxy, "carol", window)[0].startswith("OK")
        assert attempt(proxy, "dave", f"{PASSWORD};{next_code(dave)}")[0].startswith(AWAY)
        # The last use of the app password waits to be written.
        proxy.until(lambda: proxy.probe("readyz") == 503)
        proxy.until(lambda: proxy.told("store_unavailable"))
        full = proxy.cli("user", "add", "zoe", check=False)
        assert full.returncode == 69 and "full" in full.stderr
        filler.unlink()
        proxy.until(lambda: proxy.probe("readyz") == 200)
        assert attempt(proxy, "dave", f"{PASSWORD};{next_code(dave)}")[0].startswith("OK")
        proxy.cli("user", "add", "zoe")
        proxy.until(lambda: proxy.told("store_recovered"))


def test_events_that_cannot_be_written_are_counted_and_hold_up_nobody(backend, tmp_path, small_disk):
    place, fill = small_disk
    with Proxy(tmp_path, backend.port, settings={"events": {"file": str(place / "events.jsonl")}}) as proxy:
        alice = proxy.add("alice")
        filler = fill()
        proxy.until(lambda: attempt(proxy, "alice", alice)[0].startswith("OK")
                    and proxy.metric('imapwarden_events_dropped_total{sink="file"}') > 0)
        assert proxy.probe("readyz") == 200
        filler.unlink()
        proxy.until(lambda: attempt(proxy, "alice", alice)[0].startswith("OK")
                    and '"IW1008"' in (place / "events.jsonl").read_text())


def test_a_damaged_store_stops_the_start_and_is_left_as_it_is(backend, tmp_path):
    with Proxy(tmp_path, backend.port) as proxy:
        proxy.add("alice")
        proxy.stop()
    database = proxy.data / "imapwarden.db"
    for log in proxy.data.glob("imapwarden.db-*"):
        log.unlink()
    database.write_bytes(b"not a database at all " * 1000)
    said = run([imapwarden(), "serve", "--config", proxy.config], check=False)
    assert said.returncode != 0 and "imapwarden:" in said.stderr and database.read_bytes().startswith(b"not a database")


def test_a_frozen_backend_costs_its_own_sessions_and_is_left_alone_until_it_thaws(tmp_path):
    frozen = subprocess.Popen([sys.executable, "-m", "support.backend"], stdout=subprocess.PIPE, text=True,
                              cwd=Path(__file__).parent)
    healthy = Backend()
    port = int(frozen.stdout.readline())
    settings = {
        "backends": [{"name": "frozen", "address": f"127.0.0.1:{port}", "timeout": "1s"},
                     {"name": "healthy", "address": f"127.0.0.1:{healthy.port}"}],
        "routes": [{"user": "bob", "backend": "healthy"}, {"backend": "frozen"}]}
    try:
        with Proxy(tmp_path, settings=settings) as proxy:
            alice, bob = proxy.add("alice"), proxy.add("bob")
            answer, session = attempt(proxy, "alice", alice)
            assert answer.startswith("OK")
            os.kill(frozen.pid, signal.SIGSTOP)
            began = time.monotonic()
            for network in range(2, 5):
                client = Client(proxy.port, source=f"127.0.0.{network}")
                assert client.login("alice", alice).startswith(AWAY)
                client.close()
            assert 3 <= time.monotonic() - began < 10
            # Three networks failed: nobody waits for it any more.
            proxy.until(lambda: proxy.metric('imapwarden_backend_up{backend="frozen"}') == 0)
            began = time.monotonic()
            assert attempt(proxy, "alice", alice)[0].startswith(AWAY)
            assert time.monotonic() - began < 0.9
            assert proxy.probe("readyz") == 200
            assert attempt(proxy, "bob", bob)[0].startswith("OK")
            os.kill(frozen.pid, signal.SIGCONT)
            proxy.until(lambda: attempt(proxy, "alice", alice)[0].startswith("OK"))
            assert proxy.metric('imapwarden_backend_up{backend="frozen"}') == 1
            proxy.until(lambda: proxy.told("backend_recovered"))
            assert [event["imapwarden"]["backend"]["name"] for event in proxy.told("backend_recovered")] == ["frozen"]
            # Who was in a session has waited, and goes on.
            assert session.command("NOOP").startswith("OK")
    finally:
        frozen.kill()
        frozen.wait()
        healthy.shutdown()


def test_without_descriptors_new_connections_wait_and_open_sessions_go_on(backend, tmp_path):
    with Proxy(tmp_path, backend.port, prefix=["prlimit", "--nofile=64"]) as proxy:
        alice = proxy.add("alice")
        answer, session = attempt(proxy, "alice", alice)
        assert answer.startswith("OK")
        held = []
        with pytest.raises(TimeoutError):
            while len(held) < 64:
                held.append(Client(proxy.port, within=2))
        assert session.command("NOOP").startswith("OK")
        # No descriptor for the backend, and none for whoever asks whether we live.
        assert held[-1].login("alice", alice).startswith(AWAY)
        assert proxy.probe("healthz", within=2) == 0
        assert "cannot accept connections" in proxy.said()
        for client in held:
            client.close()
        proxy.until(lambda: proxy.probe("readyz") == 200)
        assert attempt(proxy, "alice", alice)[0].startswith("OK")
        assert session.command("NOOP").startswith("OK")


def test_a_clock_that_is_wrong_refuses_codes_and_nothing_else(backend, tmp_path):
    [library] = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    offset = tmp_path / "offset"
    offset.write_text("+0s")
    prefix = ["env", f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={offset}", "FAKETIME_NO_CACHE=1",
              "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"]
    with Proxy(tmp_path, backend.port, prefix=prefix) as proxy:
        alice = proxy.add("alice")
        (early, _), (late, _) = enrol(proxy, "early"), enrol(proxy, "late")
        answer, session = attempt(proxy, "alice", alice)
        assert answer.startswith("OK")

        def login(user, secret, ahead):
            """With a code of the time that is `ahead` of the true one."""
            return attempt(proxy, user, f"{PASSWORD};{code(secret, time.time() + ahead)}")[0]

        def last_reason():
            return proxy.told("login_failed")[-1]["event"]["reason"]
        # An hour fast: people's codes are wrong.
        offset.write_text("+3600s")
        assert attempt(proxy, "alice", alice)[0].startswith("OK")
        assert login("early", early, 0).startswith(REFUSED) and last_reason() == "code_invalid"
        # Somebody whose telephone is as fast gets in, and has used up the codes of the hour.
        assert login("early", early, 3600).startswith("OK")
        offset.write_text("+0s")
        assert login("early", early, 60).startswith(REFUSED) and last_reason() in ("code_replayed", "code_invalid")
        assert attempt(proxy, "alice", alice)[0].startswith("OK")
        # An hour slow: even a telephone that is as slow has only codes from before the last one used.
        offset.write_text("-3600s")
        assert login("late", late, -3600).startswith(REFUSED) and last_reason() == "code_replayed"
        assert attempt(proxy, "alice", alice)[0].startswith("OK")
        assert session.command("NOOP").startswith("OK")
        # Right again, codes are right again.
        offset.write_text("+0s")
        proxy.until(lambda: login("late", late, 30).startswith("OK"))


def restored(proxy, directory, store, key):
    """A second proxy with what was backed up."""
    data = directory / "data"
    data.mkdir(parents=True, mode=0o700)
    for name, content in (("imapwarden.db", store), ("imapwarden.key", key)):
        if content is not None:
            (data / name).write_bytes(content)
            (data / name).chmod(0o600)
    settings = {"backends": [{"address": proxy.backend}]}
    return Proxy(directory, settings=settings)


def test_a_backup_taken_while_it_runs_opens_mailboxes_with_its_key_and_with_no_other(backend, tmp_path):
    (tmp_path / "one").mkdir()
    with Proxy(tmp_path / "one", backend.port) as proxy:
        proxy.backend = f"127.0.0.1:{backend.port}"
        alice = proxy.add("alice")
        assert attempt(proxy, "alice", alice)[0].startswith("OK")
        # What `sqlite3 imapwarden.db ".backup FILE"` does.
        with sqlite3.connect(proxy.data / "imapwarden.db") as live, sqlite3.connect(tmp_path / "copy.db") as copy:
            live.backup(copy)
        store, key = (tmp_path / "copy.db").read_bytes(), (proxy.data / "imapwarden.key").read_bytes()
        assert attempt(proxy, "alice", alice)[0].startswith("OK")
    with restored(proxy, tmp_path / "two", store, key) as again:
        assert attempt(again, "alice", alice)[0].startswith("OK")
    for name, other, said in (("three", None, "is missing"), ("four", b"imapwarden-key-v1\n" + b"A" * 43 + b"=\n", "key")):
        lost = restored(proxy, tmp_path / name, store, other)
        done = run([imapwarden(), "serve", "--config", lost.config], check=False)
        assert done.returncode != 0 and said in done.stderr, done.stderr
        assert (lost.data / "imapwarden.key").exists() == (other is not None)


def test_a_snapshot_of_the_volume_is_a_backup(backend, tmp_path):
    """All files of one moment, as a volume's snapshot has them, with a write-ahead log that nobody closed."""
    (tmp_path / "one").mkdir()
    with Proxy(tmp_path / "one", backend.port) as proxy:
        proxy.backend = f"127.0.0.1:{backend.port}"
        alice = proxy.add("alice")
        os.kill(proxy.process.pid, signal.SIGSTOP)
        files = {path.name: path.read_bytes() for path in proxy.data.iterdir() if path.is_file()}
        os.kill(proxy.process.pid, signal.SIGCONT)
        assert len(files["imapwarden.db-wal"]) > 0
    again = restored(proxy, tmp_path / "two", files["imapwarden.db"], files["imapwarden.key"])
    (again.data / "imapwarden.db-wal").write_bytes(files["imapwarden.db-wal"])
    with again:
        assert attempt(again, "alice", alice)[0].startswith("OK")
    # The main file alone is not one: what was written last is in the log.
    alone = restored(proxy, tmp_path / "three", files["imapwarden.db"], files["imapwarden.key"])
    assert "alice" not in run([imapwarden(), "user", "list", "--config", alone.config], check=False).stdout


def test_a_new_certificate_needs_a_signal_and_a_wrong_one_changes_nothing(backend, tmp_path):
    pair = self_signed(tmp_path / "tls")
    settings = {"tls": {"certificates": [{"certificate_file": str(pair[0]), "key_file": str(pair[1])}]}}
    pair[1].chmod(0o600)
    with Proxy(tmp_path, backend.port, settings=settings) as proxy:
        first = pair[0].read_text()
        pair[0].write_text("no certificate\n")
        os.kill(proxy.process.pid, signal.SIGHUP)
        proxy.until(lambda: proxy.told("certificates_rejected"))
        assert proxy.certificate() == first.strip()
        self_signed(tmp_path / "tls")
        pair[1].chmod(0o600)
        assert proxy.certificate() == first.strip()
        os.kill(proxy.process.pid, signal.SIGHUP)
        proxy.until(lambda: proxy.certificate() == pair[0].read_text().strip())


def test_a_program_refuses_a_store_of_a_newer_one(backend, tmp_path):
    with Proxy(tmp_path, backend.port) as proxy:
        proxy.add("alice")
        proxy.stop()
    with sqlite3.connect(proxy.data / "imapwarden.db") as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    said = run([imapwarden(), "serve", "--config", proxy.config], check=False)
    assert said.returncode != 0 and "99" in said.stderr, said.stderr


def test_a_lost_key_can_be_given_up_with_the_store(backend, tmp_path):
    """Starting over: both files put aside, everybody enrols again."""
    with Proxy(tmp_path, backend.port) as proxy:
        alice = proxy.add("alice")
        proxy.stop()
        aside = tmp_path / "aside"
        aside.mkdir()
        for path in proxy.data.glob("imapwarden.*"):
            path.rename(aside / path.name)
        proxy.start()
        assert attempt(proxy, "alice", alice)[0].startswith(REFUSED)
        assert json.loads(proxy.cli("user", "list", "--json").stdout) == []
        assert attempt(proxy, "alice", proxy.add("alice"))[0].startswith("OK")
