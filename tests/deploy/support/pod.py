"""Runs the container of a rendered pod as a kubelet would, as far as files, users and signals go: a root that nobody can write
to, the mounts of the pod, the user and group of its security context, no capability, and the program as process 1."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from support.programs import imapwarden, run

#: Run inside new mount and process namespaces: $1 is the root, then `PLACE SOURCE MODE` for each mount, `--`, and the command.
INSIDE = r"""
set -eu
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
for system in usr etc/ssl; do mount --bind "/$system" "$root/$system"; mount -o remount,bind,ro "$root/$system"; done
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
while [ "$1" != -- ]; do
    mount --bind "$2" "$root$1"
    if [ "$3" = ro ]; then mount -o remount,bind,ro "$root$1"; fi
    shift 3
done
shift
mount -o remount,bind,ro "$root"
exec chroot "$root" "$@"
"""


def free_ports(count):
    """As many different ones."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


def free_port():
    [port] = free_ports(1)
    return port


class Pod:
    """One pod: its volumes, and its containers as they are started."""

    def __init__(self, directory: Path, spec: dict, config: str):
        self.spec, self.directory = spec, directory
        self.fs_group = spec.get("securityContext", {}).get("fsGroup")
        self.port, self.metrics = free_ports(2)
        self.sources = {}
        directory.mkdir(parents=True)
        for volume in spec["volumes"]:
            self.sources[volume["name"]] = directory / "volumes" / volume["name"]
            self.sources[volume["name"]].mkdir(parents=True)
        config = config.replace(":1993", f":{self.port}").replace(":9993", f":{self.metrics}").replace("[::]", "127.0.0.1")
        (self.sources["imapwarden-config"] / "imapwarden.yaml").write_text(config)
        self.own_volume()
        self.process = None

    def own_volume(self, always=False):
        """What a kubelet does with an fsGroup: the volume's root at the first mount, or everything each time."""
        data = self.sources["imapwarden-data"]
        if self.fs_group is None:
            return
        everything = [data, *data.rglob("*")] if always else [data]
        for path in everything:
            os.chown(path, -1, self.fs_group)
            path.chmod(path.stat().st_mode & 0o7777 | (0o2770 if path.is_dir() else 0o660))

    def fill_secret(self, volume, files, version):
        """Files as a kubelet mounts them: behind a symbolic link that is swapped as a whole."""
        root = self.sources[volume]
        content = root / f"..{version}"
        content.mkdir()
        for name, source in files.items():
            shutil.copy(source, content / name)
            (content / name).chmod(0o440)
            os.chown(content / name, 0, self.fs_group or 0)
            if not (root / name).is_symlink():
                (root / name).symlink_to(f"..data/{name}")
        (root / "..new").symlink_to(content.name)
        (root / "..new").rename(root / "..data")

    def _command(self, container):
        own = {**self.spec.get("securityContext", {}), **container["securityContext"]}
        root = self.directory / f"root-{container['name']}"
        if not root.exists():
            for place in ("usr", "etc/ssl", "proc", "dev", "opt"):
                (root / place).mkdir(parents=True)
            for link in ("bin", "sbin", "lib", "lib64"):
                (root / link).symlink_to(f"usr/{link}")
            (root / "opt" / "imapwarden").touch()
        mounts = ["/opt/imapwarden", imapwarden(), "ro"]
        for mount in container["volumeMounts"]:
            source = self.sources[mount["name"]] / mount.get("subPath", "")
            place = root / mount["mountPath"].lstrip("/")
            if source.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            mounts += [mount["mountPath"], source, "ro" if mount.get("readOnly") else "rw"]
        capabilities = "".join(f",+{name.lower()}" for name in own["capabilities"].get("add", []))
        user = ["setpriv", f"--reuid={own['runAsUser']}", f"--regid={own['runAsGroup']}",
                f"--groups={self.fs_group}" if self.fs_group else "--clear-groups",
                f"--bounding-set=-all{capabilities}", "--inh-caps=-all", "--no-new-privs"]
        words = container.get("command", ["imapwarden"]) + container.get("args", [])
        # Kubernetes would take these for variables of its own.
        assert not any(re.search(r"\$[($]", word) for word in words)
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", INSIDE, "sh", root, *mounts, "--",
                *user, *words]

    def initialise(self):
        for container in self.spec.get("initContainers", []):
            run(self._command(container))

    def start(self, **environment):
        [container] = [one for one in self.spec["containers"] if one["name"] == "imapwarden"]
        self.log = self.directory / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([str(word) for word in self._command(container)], stdout=log, stderr=log,
                                            env={"PATH": "/opt:/usr/bin:/bin:/usr/sbin:/sbin", **environment})

    def run(self, check=True):
        """Runs a container to its end, as a Job does."""
        [container] = self.spec["containers"]
        return run(self._command(container), check=check, env={"PATH": "/opt:/usr/bin:/bin:/usr/sbin:/sbin"})

    def execute(self, *words, stdin=None):
        """What `kubectl exec` does: a program beside the one that runs, as the same user."""
        process = self.first_process()
        status, _ = self.about()
        user, group = status["Uid"].split()[0], status["Gid"].split()[0]
        groups = [f"--groups={self.fs_group}"] if self.fs_group else ["--clear-groups"]
        return run(["nsenter", f"--target={process}", "--mount", "--pid", f"--root=/proc/{process}/root", "--wd=/", "setpriv",
                    f"--reuid={user}", f"--regid={group}", *groups, *words], stdin=stdin,
                   env={"PATH": "/opt:/usr/bin:/bin:/usr/sbin:/sbin"})

    def ready(self, within=20.0):
        """True once it is; False where it has ended instead."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/readyz", timeout=2) as answer:
                    return answer.status == 200
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise AssertionError(self.said())

    def said(self):
        return self.log.read_text(errors="replace")

    def certificate(self):
        """What a client is shown now, in PEM."""
        return ssl.get_server_certificate(("127.0.0.1", self.port), timeout=5).strip()

    def first_process(self):
        """Process 1 of the container, as seen from here."""
        [child] = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(child)

    def about(self):
        """What the kernel says of process 1: its status, and how each place is mounted for it."""
        process = Path(f"/proc/{self.first_process()}")
        status = dict(re.split(r":\s*", line, maxsplit=1) for line in (process / "status").read_text().splitlines())
        mounts = {line.split()[4]: line.split()[5] for line in (process / "mountinfo").read_text().splitlines()}
        return status, mounts

    def terminate(self):
        """SIGTERM to process 1; its exit code."""
        os.kill(self.first_process(), signal.SIGTERM)
        return self.process.wait(timeout=40)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=10)
