"""The rendered pod, run: users, groups, modes and signals, on a root that nobody can write to."""

import json
import stat
import time

import pytest
import yaml

from support import postgres
from support.certificates import key_file, self_signed
from support.manifests import VALUES, of_kind, pod_of, render
from support.pod import Pod

#: Besides a scenario's values: no backend is asked here, but its files are read.
SCENARIOS = {
    "minimal": (),
    "master-user": (),
    "sidecar": (),
    "sidecar-fsgroup": ("--set", "tls.secretName=mail-tls"),
}


@pytest.fixture
def start(tmp_path):
    pods = []

    def make(name, *options, kind=None, secrets=()):
        [path] = [path for path in VALUES if path.stem == name]
        manifests = render("--values", path, *SCENARIOS.get(name, ()), *options)
        if name.startswith("sidecar"):
            spec = yaml.safe_load(of_kind(manifests, "ConfigMap", "mail-imapwarden-sidecar")["data"]["patch.yaml"])
            spec = spec["spec"]["template"]["spec"]
        else:
            spec = pod_of(of_kind(manifests, kind or "StatefulSet"))
        config = of_kind(manifests, "ConfigMap", "mail-imapwarden")["data"]["imapwarden.yaml"]
        pod = Pod(tmp_path / f"pod{len(pods)}", spec, config)
        pods.append(pod)
        pair = tmp_path / "pair/tls.crt", tmp_path / "pair/tls.key"
        if not pair[0].exists():
            self_signed(tmp_path / "pair")
        if not (tmp_path / "imapwarden.key").exists():
            key_file(tmp_path / "imapwarden.key")
        (tmp_path / "password").write_text("correct horse\n")
        contents = {
            "imapwarden-tls": dict(zip(("tls.crt", "tls.key"), pair)),
            "imapwarden-key": {"imapwarden.key": tmp_path / "imapwarden.key"},
            "imapwarden-file-master": {"password": tmp_path / "password"},
            "imapwarden-file-authorities": {"ca.pem": pair[0]}, **dict(secrets),
        }
        for volume, files in contents.items():
            if volume in pod.sources:
                pod.fill_secret(volume, files, "first")
        pod.initialise()
        return pod
    # The pods' users must get through.
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    yield make
    for pod in pods:
        pod.kill()


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_starts_ends_and_starts_again_with_what_it_kept(start, name):
    pod = start(name)
    for _ in range(2):
        pod.start()
        assert pod.ready(), pod.said()
        assert pod.certificate().startswith("-----BEGIN")
        status, mounts = pod.about()
        assert status["Uid"].split() == ["65532"] * 4 and status["NoNewPrivs"] == "1"
        assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh")} == {"0" * 16}
        assert mounts["/"].startswith("ro") and mounts["/var/lib/imapwarden"].startswith("rw")
        assert pod.terminate() == 0, pod.said()
    data = pod.sources["imapwarden-data"]
    kept = {path.name for path in data.iterdir()}
    assert "imapwarden.db" in kept and "control.sock" not in kept
    assert ("imapwarden.key" in kept) == (name != "master-user")
    for path in data.glob("imapwarden.*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.stat().st_uid == 65532


def test_a_renewed_certificate_is_shown_without_a_restart(start, tmp_path):
    pod = start("sidecar")
    pod.start(FOLLOW_SECONDS="0.2")
    assert pod.ready(), pod.said()
    first, process = pod.certificate(), pod.first_process()
    renewed = self_signed(tmp_path / "renewed")
    pod.fill_secret("imapwarden-tls", dict(zip(("tls.crt", "tls.key"), renewed)), "second")
    deadline = time.monotonic() + 20
    while pod.certificate() == first:
        assert time.monotonic() < deadline, pod.said()
        time.sleep(0.1)
    assert pod.certificate() == renewed[0].read_text().strip()
    assert pod.first_process() == process and "certificates_reloaded" in pod.said()
    assert pod.terminate() == 0


def test_a_volume_that_is_opened_to_its_group_at_each_start_would_stop_it(start):
    """Why the chart asks for fsGroupChangePolicy: OnRootMismatch."""
    pod = start("minimal")
    assert pod.spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    pod.start()
    assert pod.ready() and pod.terminate() == 0
    pod.own_volume(always=True)
    pod.start()
    assert not pod.ready()
    assert "imapwarden.key" in pod.said() and "chmod 600" in pod.said()


@pytest.fixture(scope="module")
def cluster():
    with postgres.Cluster() as running:
        yield running


def of_database(cluster, name, tmp_path):
    """The Secrets of a new database."""
    url = tmp_path / f"{name}.url"
    url.write_text(cluster.database(name))
    return {"imapwarden-store": {"url": url}, "imapwarden-store-authority": {"ca.crt": cluster.certificate}}


def users(pod):
    return [user["name"] for user in json.loads(pod.execute("imapwarden", "user", "list", "--json").stdout)]


def test_replicas_share_what_is_in_the_database_and_keep_nothing_on_a_volume(start, cluster, tmp_path):
    secrets = of_database(cluster, "shared", tmp_path)
    pods = [start("postgres", kind="Deployment", secrets=secrets) for _ in range(2)]
    for pod in pods:
        pod.start()
    for pod in pods:
        assert pod.ready(), pod.said()
        assert postgres.PASSWORD not in pod.said() and "correct%20horse" not in pod.said()
    pods[0].execute("imapwarden", "user", "add", "alice")
    assert users(pods[1]) == ["alice"]
    assert pods[0].certificate() == pods[1].certificate()
    for pod in pods:
        assert pod.terminate() == 0, pod.said()
        assert list(pod.sources["imapwarden-data"].iterdir()) == []


def test_a_store_of_one_pod_moves_to_the_database_once_nobody_uses_it(start, cluster, tmp_path):
    before = start("minimal")
    before.start()
    assert before.ready(), before.said()
    before.execute("imapwarden", "user", "add", "alice")
    # As docs/kubernetes.md has it: the key of the volume becomes a Secret.
    key = before.execute("cat", "/var/lib/imapwarden/imapwarden.key").stdout
    (tmp_path / "imapwarden.key").write_text(key)
    secrets = of_database(cluster, "moved", tmp_path)
    job = start("postgres", "--set", "store.migrateFrom=mail-imapwarden-data", kind="Job", secrets=secrets)
    job.sources["imapwarden-data"] = before.sources["imapwarden-data"]
    refused = job.run(check=False)
    assert refused.returncode != 0 and "stop the running imapwarden first" in refused.stderr
    assert before.terminate() == 0
    assert "users" in job.run().stdout
    again = job.run(check=False)
    assert again.returncode != 0 and "not empty" in again.stderr
    after = start("postgres", kind="Deployment", secrets=secrets)
    after.start()
    assert after.ready(), after.said()
    assert users(after) == ["alice"]
    assert after.terminate() == 0
