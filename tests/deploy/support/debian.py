"""The Debian package as Cargo.toml describes it, built by dpkg-deb from the program that is tested; and a system to install it in.

`cargo deb` builds the released one from the same lines; it needs minutes for itself.
"""

import shutil
import subprocess
import tomllib
from pathlib import Path

from support.programs import REPOSITORY, imapwarden, run

PACKAGE = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]
METADATA = PACKAGE["metadata"]["deb"]


def assets():
    """Source, place and mode of each file."""
    for source, place, mode in METADATA["assets"]:
        if source == "target/release/imapwarden":
            found = [imapwarden()]
        else:
            found = sorted(path for path in REPOSITORY.glob(source) if path.is_file())
        assert found, f"there is no {source}"
        for path in found:
            yield path, Path(place) / path.name if place.endswith("/") else Path(place), int(mode, 8)


def build(directory, version=PACKAGE["version"], changes=()):
    """A package; its path. `changes` are other contents by place."""
    tree = directory / f"tree-{version}"
    for source, place, mode in assets():
        target = tree / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source == imapwarden():
            # As `cargo deb` does it.
            run(["strip", "-o", target, source])
        else:
            shutil.copyfile(source, target)
        target.chmod(mode)
    for place, text in dict(changes).items():
        (tree / place).write_text(text)
    control = tree / "DEBIAN"
    control.mkdir()
    architecture = run(["dpkg", "--print-architecture"]).stdout.strip()
    depends = METADATA["depends"].replace("$auto", "libc6")
    description = "\n".join(f" {line}" for line in METADATA["extended-description"].splitlines())
    (control / "control").write_text(
        f"Package: {PACKAGE['name']}\nVersion: {version}-1\nArchitecture: {architecture}\nDepends: {depends}\n"
        f"Section: {METADATA['section']}\nPriority: {METADATA['priority']}\nMaintainer: {METADATA['maintainer']}\n"
        f"Description: {PACKAGE['description']}\n{description}\n")
    (control / "conffiles").write_text("".join(f"{path}\n" for path in METADATA["conf-files"]))
    for script in (REPOSITORY / METADATA["maintainer-scripts"]).iterdir():
        shutil.copy(script, control / script.name)
    package = directory / f"imapwarden_{version}.deb"
    run(["dpkg-deb", "--root-owner-group", "--build", "-Znone", tree, package])
    return package


class Machine:
    """This system with a layer above it that takes every change, so that packages may come and go."""

    #: Waits for its end in the layered system.
    HOLD = r"""
    set -eu
    mount -t tmpfs none "$1"
    mkdir "$1/upper" "$1/work" "$1/root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
    mount -t proc proc "$1/root/proc"
    mount --rbind /dev "$1/root/dev"
    # What tells scripts that systemd runs the machine is not there.
    mount -t tmpfs none "$1/root/run"
    mkdir "$1/root/packages"
    mount --bind "$2" "$1/root/packages"
    echo ready
    cat > /dev/null
    """

    def __init__(self, directory: Path, packages: Path):
        self.directory, self.packages = directory, packages

    def __enter__(self):
        self.directory.mkdir()
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", self.HOLD, "sh", self.directory, self.packages],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        [child] = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.inside = child
        return self

    def run(self, *words, check=True):
        root = f"/proc/{self.inside}/root{self.directory}/root"
        return run(["nsenter", f"--target={self.inside}", "--mount", "--pid", f"--root={root}", "--wd=/", *words], check=check,
                   within=300, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"})

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=30)
