"""The rendered pod, run: users, groups, modes and signals, on a root that nobody can write to."""

import stat
import time

import pytest
import yaml

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

    def make(name):
        [path] = [path for path in VALUES if path.stem == name]
        manifests = render("--values", path, *SCENARIOS[name])
        if name.startswith("sidecar"):
            spec = yaml.safe_load(of_kind(manifests, "ConfigMap", "mail-imapwarden-sidecar")["data"]["patch.yaml"])
            spec = spec["spec"]["template"]["spec"]
        else:
            spec = pod_of(of_kind(manifests, "StatefulSet"))
        config = of_kind(manifests, "ConfigMap", "mail-imapwarden")["data"]["imapwarden.yaml"]
        pod = Pod(tmp_path / "pod", spec, config)
        pods.append(pod)
        pair = self_signed(tmp_path / "pair")
        key_file(tmp_path / "imapwarden.key")
        (tmp_path / "password").write_text("correct horse\n")
        contents = {
            "imapwarden-tls": dict(zip(("tls.crt", "tls.key"), pair)),
            "imapwarden-key": {"imapwarden.key": tmp_path / "imapwarden.key"},
            "imapwarden-file-master": {"password": tmp_path / "password"},
            "imapwarden-file-authorities": {"ca.pem": pair[0]},
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
