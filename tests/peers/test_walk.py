"""docs/rules.md, "In fifteen minutes", as somebody new takes it: every file and every command of it, in order, at a real Dovecot."""

import json
import os
import re
import subprocess
import time

import pytest

from harness.backend import ALICE, PASSWORDS
from harness.process import answers, free_port
from harness.proxy import REPOSITORY, binary

#: A block of the page, indented by its step, and what it is written in.
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    page = (REPOSITORY / "docs" / "rules.md").read_text()
    section = page.partition("\n## In fifteen minutes\n")[2].partition("\n## ")[0]
    return [(kind, re.sub(f"^{indent}", "", text, flags=re.MULTILINE)) for indent, kind, text in BLOCK.findall(section)]


class Shell:
    """One shell for all commands, as at a terminal; ends what it has started."""

    def __init__(self, directory):
        environment = {"HOME": str(directory), "PATH": f"{binary().resolve().parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        self.child = subprocess.Popen(["bash", "-m"], cwd=directory, env=environment, text=True, start_new_session=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(self, command: str) -> str:
        """What a command said; it must succeed."""
        self.child.stdin.write(f"{command}\necho \"it ended with $?\"\n")
        self.child.stdin.flush()
        said = []
        for line in self.child.stdout:
            if line.startswith("it ended with "):
                assert line == "it ended with 0\n", f"{command}\n{''.join(said)}{line}"
                return "".join(said)
            said.append(line)
        raise AssertionError(f"the shell is gone: {command}\n{''.join(said)}")

    def close(self) -> None:
        self.child.stdin.write("kill $(jobs -p) 2> /dev/null; wait\n")
        self.child.stdin.close()
        self.child.wait(40)


@pytest.fixture
def shell(tmp_path):
    made = Shell(tmp_path)
    yield made
    made.close()


def commands(block: str) -> list[str]:
    """The commands of a block: one a line, but for loops."""
    found = []
    for line in block.splitlines():
        if found and found[-1].startswith("for ") and not found[-1].endswith("done"):
            found[-1] += "\n" + line
        else:
            found.append(line)
    return found


def test_a_rule_is_written_tested_replayed_shadowed_enforced_and_explained_as_the_page_says(stage, shell, tmp_path):
    backend, port = stage.backend("dovecot"), free_port()
    #: What somebody reads on the way and types where the page says so.
    typed = {"127.0.0.1:143": f"127.0.0.1:{backend.port}", "127.0.0.1:1993": f"127.0.0.1:{port}"}
    said: dict[str, list[str]] = {}
    sessions = 0
    for kind, block in blocks():
        for word, instead in typed.items():
            block = block.replace(word, instead)
        if kind == "yaml":
            (tmp_path / "rules").mkdir()
            (tmp_path / "rules" / "new-device-deletes.yaml").write_text(block)
        elif kind == "yml":
            (tmp_path / "imapwarden.yaml").write_text(block)
        elif kind == "sh":
            for command in commands(block):
                if "app-password create" in command:
                    # What is typed at its prompt.
                    command += f" --password-stdin <<< '{PASSWORDS[ALICE]}'"
                if "curl " in command:
                    sessions += rounds(command)
                elif "events.jsonl" in command:
                    # Events are written by a thread of their own, some milliseconds later: nobody types so fast.
                    wait_until(lambda: ended(tmp_path / "events.jsonl") == sessions, "sessions have no end")
                output = shell.run(command)
                said.setdefault(" ".join(command.split()[:3]), []).append(output)
                if command.startswith("imapwarden serve"):
                    wait_until(lambda: answers(port), "it does not listen")
                if "app-password create" in command:
                    typed["ID"], typed["APP-PASSWORD"] = shown(output)
    assert [output.count("passed") for output in said["imapwarden policy test"]] == [1, 1], said
    # The page shows what this says, but for the times.
    shown_there = next(block for kind, block in blocks() if kind == "text")
    assert without_times(shown_there) in without_times(said["imapwarden policy replay"][0]), said["imapwarden policy replay"]
    reported, = [json.loads(line) for line in said["grep new-device-deletes events.jsonl"][0].splitlines()]
    assert reported["event"]["action"] == "alert_raised"
    assert reported["imapwarden"]["decision"]["mode"] == "shadow"
    refused, = [outputs for start, outputs in said.items() if start.startswith("curl ")]
    assert refused[0].endswith("refused\n"), refused
    last = [json.loads(line) for line in said["tail -n 3"][0].splitlines()]
    assert [event["event"]["reason"] for event in last if event["event"]["action"] == "command_refused"] == ["read_only"], last
    explained = said["imapwarden explain command"][0]
    assert re.search(r"new-device-deletes.*rules/new-device-deletes\.yaml:\d+", explained), explained


def rounds(command: str) -> int:
    """How often a command is run: a loop says so."""
    loop = re.match(r"for \w+ in (.*?);", command)
    return len(loop[1].split()) if loop else 1


def ended(events) -> int:
    """How many sessions' ends have been told."""
    return events.read_text().count('"action":"session_ended"')


def wait_until(what, otherwise: str, within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not what():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def shown(output: str) -> tuple[str, str]:
    """The id and the app password that were printed."""
    found = re.search(r"^App password (\S+) of .*?^    (\S+)$", output, re.MULTILINE | re.DOTALL)
    assert found, output
    return found[1], found[2]


def without_times(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
