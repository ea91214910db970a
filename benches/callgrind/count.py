"""Runs each hot path under callgrind and compares its instructions with the baseline, function by function."""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

BASELINE = Path(__file__).resolve().parent / "baseline.json"
PATHS = ("fetch-literals", "envelope-lines", "commands", "messages", "app-password")
#: More than this is a fault.
GROWTH = 0.03
#: Functions that are shown.
SHOWN = 8
#: A function below this share of its path is not written down.
SMALL = 0.001
#: What the compiler puts behind a name, which changes with every build.
HASH = re.compile(r"(::h[0-9a-f]{16}|'\d+|\.llvm\.\d+)+$")
#: The C library's allocator: what it does depends on what lies in the heap by chance, so that its calls are counted, not its work.
ALLOCATOR = re.compile(r"_int_\w+|[mc]alloc|realloc|free|cfree|unlink_chunk\S*|malloc_consolidate|sysmalloc|systrim\S*|tcache_\w+"
                       r"|_mid_memalign\S*|aligned_alloc|posix_memalign|alloc_perturb|checked_request2size")
#: How an allocation is asked for.
ASKS = {"malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign"}
ALLOCATIONS = "(allocations)"


def counted(path: str) -> tuple[int, Counter]:
    """The instructions of a path, in all and by function."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "callgrind.out"
        # Addresses are the same every time, and so are tables that depend on them.
        command = ["setarch", "--addr-no-randomize", "valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
                   "--collect-atstart=no", "--toggle-collect=callgrind::measured*", os.environ["CALLGRIND_TOOL"], path]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{path}: {done.stderr[-2000:]}")
        return parsed(out.read_text())


def parsed(text: str) -> tuple[int, Counter]:
    """Of callgrind's file: what each function did itself, without those that it called, and how often memory was asked for."""
    names: dict[str, str] = {}
    functions: Counter = Counter()
    function, callee, called = "", "", False
    for line in text.splitlines():
        if found := re.match(r"c?fn=\((\d+)\)(?: (.*))?", line):
            number, name = found.groups()
            if name:
                names[number] = HASH.sub("", name)
            if line.startswith("fn="):
                function = names[number]
            else:
                callee = names[number]
        elif line.startswith("calls="):
            called = True
            if callee in ASKS and not ALLOCATOR.fullmatch(function):
                functions[ALLOCATIONS] += int(line[len("calls="):].split()[0])
        elif line[:1] in "0123456789+-*" and line:
            # What stands behind `calls=` is the cost of those.
            if not called and not ALLOCATOR.fullmatch(function):
                functions[function] += int(line.split()[1])
            called = False
    return sum(functions.values()) - functions[ALLOCATIONS], functions


def machine() -> dict[str, str]:
    """What the numbers depend on besides the code."""
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
    valgrind = subprocess.run(["valgrind", "--version"], capture_output=True, text=True).stdout.strip()
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    vectors = [flag for flag in ("ssse3", "avx", "avx2", "aes", "pclmulqdq", "bmi2", "adx") if f" {flag} " in f"{flags} "]
    return {"rustc": rustc, "valgrind": valgrind, "processor": " ".join([platform.machine(), *vectors])}


def compare(path: str, before: dict, total: int, functions: Counter) -> bool:
    """Prints what changed; true where the path grew too much, in instructions or in allocations."""
    known = Counter(before["functions"])
    change = total / before["instructions"] - 1
    asked, before_asked = functions[ALLOCATIONS], known[ALLOCATIONS]
    more = asked / before_asked - 1 if before_asked else float(asked > 0)
    print(f"{path:16} {total:>14,}  {change:+8.2%}   {asked:>10,} allocations  {more:+8.2%}")
    if max(abs(change), abs(more)) > GROWTH / 10:
        differences = {name: functions[name] - known[name] for name in {*functions, *known}}
        for name in sorted(differences, key=lambda name: -abs(differences[name]))[:SHOWN]:
            if abs(differences[name]) > SMALL * total and name != ALLOCATIONS:
                print(f"    {differences[name]:>+14,}  {name[:140]}  ({known[name]:,} before)")
    return max(change, more) > GROWTH


def main() -> int:
    parser = argparse.ArgumentParser(prog="benches/callgrind/run", description=__doc__)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="of " + " ".join(PATHS))
    parser.add_argument("--update", action="store_true", help="what is counted now is the baseline")
    chosen = parser.parse_args()
    if unknown := set(chosen.paths) - set(PATHS):
        parser.error("no such path: " + " ".join(unknown))
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {"machine": machine(), "paths": {}}
    if baseline["machine"] != machine() and not chosen.update:
        print(f"the baseline is from another machine: {baseline['machine']}, this is {machine()}")
    grown = []
    for path in chosen.paths or PATHS:
        total, functions = counted(path)
        before = baseline["paths"].get(path)
        if before is None:
            print(f"{path:16} {total:>14,}  new")
        elif compare(path, before, total, functions):
            grown.append(path)
        if chosen.update:
            kept = {name: count for name, count in functions.most_common()
                    if count > SMALL * total or name == ALLOCATIONS}
            baseline["paths"][path] = {"instructions": total, "functions": kept}
    if chosen.update:
        BASELINE.write_text(json.dumps(baseline | {"machine": machine()}, indent=1) + "\n")
        return 0
    if grown:
        print(f"more than {GROWTH:.0%} more: {' '.join(grown)}")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
