#!/usr/bin/env python3
"""Runs every scenario against every peer, in turn and in rounds, so that what the machine does besides hits all of them."""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from peer import NAMES
from peer import Peer
from peer import Setting
from peer import wait_for_port
from table import SCENARIOS
from table import table

REPOSITORY = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
USUAL = ["nginx", "haproxy", "haproxy-64k", "dovecot", "relay", "imapwarden"]
VERSIONS = {"nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"], "dovecot": ["dovecot", "--version"],
            "imapwarden": [os.environ.get("IMAPWARDEN", "imapwarden"), "--version"]}
#: What keeps one server from being measured, and not the others.
FAULTS = (AssertionError, OSError, subprocess.SubprocessError)
#: What goes to the terminal while it runs.
SHOWN = ("operations_per_s", "cpu_us_per_operation", "cpu_ms_per_gb", "kib_per_session")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/peers/run", description=__doc__)
    parser.add_argument("peers", nargs="*", metavar="PEER", help=" ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.5, help="measured of each scenario; at most 5")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds before that; default %(default)s")
    parser.add_argument("--together", action="store_true",
                        help="start a scenario's servers once and load them in turn; with many short rounds the ratios are finer")
    parser.add_argument("--scenarios", help="default: all that can be: " + ",".join(SCENARIOS))
    parser.add_argument("--cores", default="0,1", help="of the server and of the load; default %(default)s")
    parser.add_argument("--port", type=int, default=22000, help="the first of a thousand ports; default %(default)s")
    parser.add_argument("--out", type=Path, default=TARGET / "peers")
    parser.add_argument("--keep", action="store_true", help="keep configurations and logs")
    parser.add_argument("--table", nargs="+", type=Path, metavar="RESULTS", help="only print the table of some results.jsonl")
    chosen = parser.parse_args()
    possible = [name for name, scenario in SCENARIOS.items() if not (chosen.together and scenario.needs_new_server)]
    chosen.scenarios = chosen.scenarios.split(",") if chosen.scenarios else possible
    unknown = [name for name in chosen.peers if name not in NAMES]
    unknown += [name for name in chosen.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error("unknown: " + " ".join(unknown))
    if unfit := [name for name in chosen.scenarios if name not in possible]:
        parser.error("not with --together, since a server keeps memory from one turn to the next: " + " ".join(unfit))
    return chosen


def say(*words) -> None:
    print(*words, file=sys.stderr, flush=True)


def certificate(directory: Path) -> None:
    """One P-256 certificate for everybody, made on the spot."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", directory / "key.pem", "-out", directory / "certificate.pem"], check=True, capture_output=True)
    both = directory / "both.pem"
    both.write_bytes((directory / "certificate.pem").read_bytes() + (directory / "key.pem").read_bytes())


def failed(error: Exception) -> dict:
    return {"exit": 9, "first_faults": [str(error)]}


def alone(chosen: argparse.Namespace, setting: Setting) -> Iterator[tuple[int, str, str, dict]]:
    """Round, scenario, peer and what was measured: a server is started for each, and ended behind it."""
    for number in range(chosen.rounds):
        for scenario in chosen.scenarios:
            for name in filter(SCENARIOS[scenario].fits, chosen.peers):
                try:
                    with Peer(name, setting) as peer:
                        result = peer.load(SCENARIOS[scenario], chosen.seconds, chosen.warm_up)
                except FAULTS as error:
                    result = failed(error)
                yield number, scenario, name, result


def together(chosen: argparse.Namespace, setting: Setting) -> Iterator[tuple[int, str, str, dict]]:
    """The same, but all servers of a scenario run at once, and one at a time is loaded: turns are short and close to each other."""
    for scenario in chosen.scenarios:
        with ExitStack() as running:
            peers = []
            for name in filter(SCENARIOS[scenario].fits, chosen.peers):
                try:
                    peers.append(running.enter_context(Peer(name, setting)))
                except FAULTS as error:
                    yield 0, scenario, name, failed(error)
            for number in range(chosen.rounds):
                # Somebody else begins each time: nobody always comes behind the same neighbour's load.
                first = number % max(1, len(peers))
                for peer in peers[first:] + peers[:first]:
                    try:
                        result = peer.load(SCENARIOS[scenario], chosen.seconds, chosen.warm_up)
                    except FAULTS as error:
                        result = failed(error)
                    yield number, scenario, peer.name, result


def rounds(chosen: argparse.Namespace, setting: Setting) -> list[dict]:
    results = []
    with open(chosen.out / "results.jsonl", "w") as file:
        for number, scenario, name, result in (together if chosen.together else alone)(chosen, setting):
            result |= {"round": number, "peer": name, "scenario": scenario,
                       "load_average": os.getloadavg()[0], "at": time.time()}
            results.append(result)
            file.write(json.dumps(result) + "\n")
            file.flush()
            figures = {key: result[key] for key in SHOWN if key in result}
            faults = f" FAILED {result.get('first_faults')}" if result["exit"] else ""
            say(f"round {number + 1} {scenario:13} {name:12} {figures}{faults}")
    return results


def read(files: list[Path]) -> list[dict]:
    """The results of several measurements; rounds of different ones are different rounds."""
    results = []
    for file in files:
        for line in file.read_text().splitlines():
            result = json.loads(line)
            results.append(result | {"round": (str(file), result["round"])})
    return results


def machine() -> str:
    """What the figures were taken on."""
    models = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
              if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"


def versions(peers: list[str]) -> str:
    said = []
    for name in dict.fromkeys(peer.split("-")[0] for peer in peers):
        if command := VERSIONS.get(name):
            done = subprocess.run(command, capture_output=True, text=True)
            line = (done.stdout or done.stderr).splitlines()[0].strip()
            said.append(line if name in line.lower() else f"{name} {line}")
    return "; ".join(said)


def main() -> int:
    chosen = arguments()
    if chosen.table:
        results = read(chosen.table)
        print(table(results, list(dict.fromkeys(result["peer"] for result in results))))
        return 0
    chosen.peers = chosen.peers or USUAL
    chosen.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="imapwarden-peers-"))
    work.chmod(0o755)
    certificate(work)
    setting = Setting(work, os.environ["PEERS_TOOL"], *chosen.cores.split(","), chosen.port)
    backend = subprocess.Popen(["taskset", "-c", setting.load_core, setting.tool, "backend",
                                "--listen", f"127.0.0.1:{setting.backend}"])
    # Ended from outside, it still ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        wait_for_port(setting.backend)
        assert backend.poll() is None, f"somebody else listens on port {setting.backend}"
        results = rounds(chosen, setting)
    finally:
        backend.terminate()
        backend.wait()
        if chosen.keep:
            say(f"kept {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    head = (f"{time.strftime('%Y-%m-%d')}; {machine()}; {chosen.rounds} rounds of {chosen.seconds} s{', all at once' if chosen.together else ''}; "
            f"{versions(chosen.peers)}.")
    text = f"{head}\n\n{table(results, chosen.peers)}\n"
    (chosen.out / "table.md").write_text(text)
    print(text, end="")
    return 1 if any(result["exit"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
