"""Where the programs are that the tests call, and how they are called."""

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
CHART = REPOSITORY / "helm" / "imapwarden"
TOOLS = Path(os.environ.get("DEPLOY_CACHE", REPOSITORY / ".cache" / "deploy"))


def run(command, *, stdin=None, check=True, within=60, **options):
    """Runs a command; what it said is in the failure."""
    done = subprocess.run([str(word) for word in command], input=stdin, capture_output=True, text=True, timeout=within,
                          **options)
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def imapwarden() -> Path:
    """The built program: `IMAPWARDEN`, or the newest build below the target directory."""
    if named := os.environ.get("IMAPWARDEN"):
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    built = [path for kind in ("release", "debug") if (path := target / kind / "imapwarden").exists()]
    assert built, f"no imapwarden below {target}: run `cargo build` first"
    return max(built, key=lambda path: path.stat().st_mtime)


def helm(*words, check=True):
    """Helm, with no configuration of its own and no cluster."""
    environment = {**os.environ, "HELM_CACHE_HOME": "/nonexistent", "HELM_CONFIG_HOME": "/nonexistent",
                   "HELM_DATA_HOME": "/nonexistent", "KUBECONFIG": "/nonexistent"}
    return run([TOOLS / "helm", *words], check=check, env=environment)


def kubectl(*words, stdin=None, check=True):
    return run([TOOLS / "kubectl", *words], stdin=stdin, check=check, env={**os.environ, "KUBECONFIG": "/nonexistent"})
