"""Commands in documentation, as their readers would type them."""

import re
import shlex


def commands(text):
    """Each command of the shell blocks, continued lines joined, with its comment and prompt gone; those joined by && apart."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            for command in re.split(r" && ", re.sub(r"\s+#.*$", "", line).strip()):
                if command and not command.startswith("#"):
                    yield command


def words(command):
    return shlex.split(command)


def section(text, heading):
    """What stands below a heading, up to the next of its level."""
    level = heading.split(" ")[0]
    return re.search(rf"^{re.escape(heading)}\n(.*?)(?=^{level} |\Z)", text, re.MULTILINE | re.DOTALL)[1]
