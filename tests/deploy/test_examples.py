"""The other ways to run it: systemd, Docker, a pod by hand. What reads those files reads them here."""

import json
import os
import re
import shutil
import stat

import jsonschema
import pytest
import yaml

from support import postgres
from support.certificates import self_signed
from support.clients import Client
from support.manifests import breaches_of_restricted, judge, of_kind, pod_of, render
from support.programs import REPOSITORY, imapwarden, run
from support.proxy import Proxy

EXAMPLES = REPOSITORY / "examples"
COMPOSE = yaml.safe_load((EXAMPLES / "docker/docker-compose.yaml").read_text())
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
SIDECAR = [one for one in yaml.safe_load_all((EXAMPLES / "kubernetes/sidecar.yaml").read_text()) if one]
UNIT = EXAMPLES / "systemd/imapwarden.service"


def check(text, tmp_path):
    """Imapwarden's own word on a configuration whose files are here."""
    self_signed(tmp_path / "etc/tls")
    (tmp_path / "etc/tls/tls.key").chmod(0o440)
    config = tmp_path / "imapwarden.yaml"
    config.write_text(text.replace("/etc/imapwarden", str(tmp_path / "etc")).replace("/var/lib/imapwarden", str(tmp_path)))
    return json.loads(run([imapwarden(), "check", "--json", "--config", config]).stdout)


def dovecot_reads(text, tmp_path):
    """What Dovecot's own program makes of a configuration."""
    path = tmp_path / "dovecot.conf"
    path.write_text(text)
    return run(["doveconf", "-c", path, "-n"])


# systemd

@pytest.fixture
def unit(tmp_path):
    """The unit with the program where it is here."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("ExecStart=imapwarden", f"ExecStart={imapwarden()}"))
    return path


def test_systemd_understands_every_line_of_the_unit(unit):
    said = run(["systemd-analyze", "verify", "--man=no", unit], check=False)
    about_us = [line for line in (said.stdout + said.stderr).splitlines() if unit.stem in line]
    assert said.returncode == 0 and about_us == [], said.stderr


def test_systemd_understands_the_socket_beside_the_unit(unit):
    socket = unit.with_suffix(".socket")
    socket.write_text(UNIT.with_suffix(".socket").read_text())
    said = run(["systemd-analyze", "verify", "--man=no", unit, socket], check=False)
    about_us = [line for line in (said.stdout + said.stderr).splitlines() if unit.stem in line]
    assert said.returncode == 0 and about_us == [], said.stderr
    assert "ListenStream=[::]:993" in socket.read_text(), "the default listener"


def test_systemd_says_it_where_a_line_is_wrong(unit):
    unit.write_text(unit.read_text().replace("ProtectClock=yes", "ProtectClocks=yes"))
    said = run(["systemd-analyze", "verify", "--man=no", unit], check=False)
    assert "ProtectClocks" in said.stderr


def test_systemd_finds_the_unit_hardened(unit):
    # In tenths of its exposure level, where 10 is a service without any protection.
    run(["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=16", unit])


def test_the_unit_waits_for_the_drain_and_may_open_enough(unit):
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))
    # drain.timeout of 30 s, and five seconds for the last events.
    assert int(settings["TimeoutStopSec"]) >= 35
    # limits.connections of 10,000, two descriptors for each, and some for everything else.
    assert int(settings["LimitNOFILE"]) >= 2 * 10_000 + 1000
    assert settings["CapabilityBoundingSet"] == settings["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"
    assert settings["ExecReload"] == "/bin/kill -HUP $MAINPID" and settings["Type"] == "notify"
    assert int(settings["WatchdogSec"]) >= 10


def test_the_unit_starts_again_until_the_database_is_back_and_its_sockets_give_up_on_a_start_that_cannot_succeed(unit):
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))
    assert (settings["Restart"], settings["RestartSec"], settings["StartLimitIntervalSec"]) == ("on-failure", "5", "0")
    assert "69" not in settings["RestartPreventExitStatus"].split()
    # With no limit of starts it is the socket's that ends what every waiting connection would begin anew; restarts do not reach it.
    socket = dict(re.findall(r"^(\w+)=(.*)$", UNIT.with_suffix(".socket").read_text(), re.MULTILINE))
    assert (socket["TriggerLimitIntervalSec"], socket["TriggerLimitBurst"]) == ("10s", "5")


def test_the_user_and_the_directories_are_made(tmp_path):
    for name in ("sysusers", "tmpfiles"):
        target = tmp_path / f"usr/lib/{name}.d"
        target.mkdir(parents=True)
        shutil.copy(EXAMPLES / f"systemd/imapwarden.{name}", target / "imapwarden.conf")
    (tmp_path / "etc").mkdir()
    run(["systemd-sysusers", f"--root={tmp_path}", "imapwarden.conf"])
    [user] = [line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("imapwarden:")]
    assert user[5:] == ["/var/lib/imapwarden", "/usr/sbin/nologin"]
    run(["systemd-tmpfiles", f"--root={tmp_path}", "--create", "imapwarden.conf"])
    for path, mode, owner in (("etc/imapwarden", 0o750, 0), ("etc/imapwarden/tls", 0o750, 0),
                              ("var/lib/imapwarden", 0o700, int(user[2])), ("var/log/imapwarden", 0o750, int(user[2]))):
        found = (tmp_path / path).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, owner, int(user[3])), path


def test_the_programs_system_calls_are_on_the_units_list(tmp_path):
    """Traced as the unit's kind of user: from the start through a hand-shake, a command line and SIGHUP to the end."""
    trace = tmp_path / "trace"
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    proxy = Proxy(tmp_path, prefix=["strace", "-f", "-qq", "-o", str(trace), "setpriv", "--reuid=65532", "--regid=65532",
                                    "--clear-groups", "--bounding-set=-all"])
    with proxy:
        run(["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", imapwarden(), "user", "list", "--config",
             proxy.config])
        client = Client(proxy.port)
        assert client.login("nobody", "nothing").startswith("NO ")
        client.close()
        [child] = [int(word) for word in open(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children").read().split()]
        os.kill(child, 1)
        proxy.until(lambda: proxy.told("certificates_reloaded"))
        os.kill(child, 15)
        proxy.process.wait(timeout=40)
    text = trace.read_text()
    # setpriv's own are over once the program runs.
    text = text[text.index("execve(\"" + str(imapwarden())):]
    called = set(re.findall(r"^\d+ +(\w+)\(", text, re.MULTILINE))
    assert {"accept4", "pwrite64", "futex"} <= called
    lists = re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert called - allowed_by(lists) == set()


def allowed_by(lists):
    """The calls that `SystemCallFilter=` lines let through; `~` takes away."""
    def members(group):
        found = set()
        for line in run(["systemd-analyze", "syscall-filter", group]).stdout.splitlines()[1:]:
            word = line.strip()
            if word.startswith("@"):
                found |= members(word)
            elif word and not word.startswith("#"):
                found.add(word)
        return found
    allowed = set()
    for line in lists:
        calls = set().union(*(members(word) if word.startswith("@") else {word} for word in line.lstrip("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


# Docker

def stages():
    """The Dockerfile's stages: instructions with their arguments."""
    found = []
    for line in DOCKERFILE.splitlines():
        if line and not line.startswith("#"):
            word, rest = line.split(" ", 1)
            if word == "FROM":
                found.append([])
            found[-1].append((word, rest.strip()))
    return found


def test_the_image_is_built_in_two_stages_and_is_not_root():
    build, final = stages()
    assert build[0][1] == "rust:1.95-slim-bookworm AS build" and final[0][1] == "debian:bookworm-slim"
    rust = re.search(r'^rust-version = "([^"]+)"', (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE)[1]
    assert f"rust:{rust}-" in build[0][1]
    assert dict(final)["USER"] == "65532:65532"
    assert json.loads(dict(final)["ENTRYPOINT"]) == ["imapwarden"] and json.loads(dict(final)["CMD"]) == ["serve"]
    # Nothing comes from outside after the build.
    assert [rest for word, rest in final if word in ("COPY", "ADD")] == [
        "--from=build /out/imapwarden /usr/local/bin/imapwarden"]


def test_what_the_build_copies_is_a_package_and_all_of_the_context(tmp_path):
    named = [path for word, rest in sum(stages(), []) if word == "COPY" and not rest.startswith("--from=")
             for path in rest.split()[:-1]]
    allowed = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(named) == sorted(allowed)
    for name in named:
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    # As the image's build does, but for making it: a manifest may name what is not there, and only a build finds that out.
    target = os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")
    run(["cargo", "check", "--offline", "--locked", "--bin", "imapwarden"], cwd=tmp_path, within=900,
        env=os.environ | {"CARGO_TARGET_DIR": str(target)})


def test_the_sources_take_in_no_file_that_the_build_lacks():
    allowed = [(REPOSITORY / line[1:]).resolve() for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
               if line.startswith("!")]
    assert not (REPOSITORY / "build.rs").exists()
    for source in (REPOSITORY / "src").rglob("*.rs"):
        for path in re.findall(r'include(?:_str|_bytes)?!\(\s*"([^"]+)"', source.read_text()):
            target = (source.parent / path).resolve()
            assert any(target.is_relative_to(place) for place in allowed), f"{source}: {path}"


def test_the_program_needs_no_library_that_the_image_lacks():
    said = run(["readelf", "--dynamic", imapwarden()]).stdout
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", said))
    # libc6 and libgcc-s1 are essential packages of Debian.
    assert {name for name in needed if not name.startswith("ld-linux")} <= {"libc.so.6", "libm.so.6", "libgcc_s.so.1"}


def test_composes_configurations_are_right(tmp_path):
    contents = {name: config["content"] for name, config in COMPOSE["configs"].items()}
    assert check(contents["imapwarden"], tmp_path)["ok"] is True
    read = dovecot_reads(contents["dovecot"], tmp_path)
    assert "passwd-file" in read.stdout and read.stderr == ""


def test_compose_names_nothing_that_is_not_there_and_exposes_imapwarden_alone():
    services = COMPOSE["services"]
    for name, service in services.items():
        assert set(service.get("networks", ())) <= set(COMPOSE["networks"])
        assert {config["source"] for config in service.get("configs", ())} <= set(COMPOSE["configs"])
        assert {volume.split(":")[0] for volume in service["volumes"]} <= set(COMPOSE["volumes"])
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_started" or "healthcheck" in services[other], other
        assert ("ports" in service) == (name == "imapwarden")
    assert (EXAMPLES / "docker" / services["imapwarden"]["build"] / "Dockerfile").exists()
    assert COMPOSE["networks"]["mail"]["internal"] is True and services["dovecot"]["networks"] == ["mail"]
    assert int(services["imapwarden"]["stop_grace_period"].removesuffix("s")) >= 35


def test_composes_database_has_no_network_and_is_reached_by_its_socket_alone(tmp_path):
    services = COMPOSE["services"]
    database = services["postgres"]
    assert database["network_mode"] == "none" and "networks" not in database and "ports" not in database
    sockets = [volume for service in services.values() for volume in service["volumes"] if volume.startswith("socket:")]
    assert sockets == ["socket:/run/postgresql:ro", "socket:/run/postgresql"]
    keeps = {name: {volume.split(":")[0] for volume in service["volumes"]} for name, service in services.items()}
    assert keeps["imapwarden"] & keeps["postgres"] == {"socket"}, "the key is not where the store is"
    # The URL, with a database of the tests' own at its end.
    config = yaml.safe_load(COMPOSE["configs"]["imapwarden"]["content"])
    with postgres.Cluster() as cluster:
        cluster.database("imapwarden")
        url = config["store"]["url"]
        assert "host=/run/postgresql" in url and f"user={database['environment']['POSTGRES_USER']}" in url
        url = url.replace("/run/postgresql", str(cluster.directory)).replace("user=imapwarden", f"user=warden&port={cluster.port}")
        with Proxy(tmp_path, settings={"store": {"url": url}}) as proxy:
            proxy.cli("user", "add", "alice")
            assert "alice" in proxy.cli("user", "list").stdout
        assert not list(proxy.data.glob("*.db"))


def test_every_image_is_named_with_a_version_that_stays():
    images = [rest.split(" ")[0] for stage in stages() for word, rest in stage if word == "FROM"]
    images += [service["image"] for service in COMPOSE["services"].values() if "build" not in service]
    images += [container["image"] for container in pod_of(of_kind(SIDECAR, "Deployment"))["containers"]
               if not container["image"].startswith("imapwarden:")]
    assert len(images) >= 4
    for image in images:
        _, _, tag = image.rpartition(":")
        assert re.search(r"\d", tag) or tag.startswith("bookworm"), image


def test_the_dockerfile_says_nothing_that_a_linter_would_object_to():
    allowed = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "ENTRYPOINT", "CMD"}
    for stage in stages():
        for word, rest in stage:
            assert word in allowed, f"{word} {rest}"
            if word == "WORKDIR":
                assert rest.startswith("/")
            if word == "RUN":
                command = re.sub(r"--mount=\S+", "", rest)
                assert not re.search(r"\b(sudo|curl|wget|apt-get|chmod 777)\b", command), rest
                # The shell reads it.
                run(["sh", "-n", "-c", command])
    instructions = [word for word, _ in stages()[-1]]
    assert instructions.index("USER") < instructions.index("ENTRYPOINT")
    assert instructions.count("CMD") == instructions.count("ENTRYPOINT") == 1


def test_compose_knows_every_key(tmp_path):
    text = {"type": "string"}
    texts = {"type": "array", "items": text, "uniqueItems": True}
    span = {"type": "string", "pattern": "^[0-9]+(s|m)$"}

    def closed(properties, required=()):
        return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    health = closed({"test": {"type": "array", "items": text, "minItems": 2}, "interval": span, "timeout": span,
                     "start_period": span}, ["test"])
    service = closed({
        "build": text, "image": text, "networks": texts, "network_mode": {"enum": ["none"]}, "ports": texts, "volumes": texts,
        "configs": {"type": "array", "items": closed({"source": text, "target": text}, ["source", "target"])},
        "depends_on": {"type": "object", "additionalProperties": closed(
            {"condition": {"enum": ["service_started", "service_healthy"]}}, ["condition"])},
        "environment": {"type": "object", "additionalProperties": text}, "read_only": {"type": "boolean"}, "cap_drop": texts,
        "security_opt": texts, "stop_grace_period": span, "restart": {"enum": ["unless-stopped"]}, "healthcheck": health}, ["image"])
    jsonschema.validate(COMPOSE, closed({
        "name": text, "services": {"type": "object", "additionalProperties": service},
        "networks": {"type": "object", "additionalProperties": closed({"internal": {"type": "boolean"}})},
        "volumes": {"type": "object", "additionalProperties": closed({})},
        "configs": {"type": "object", "additionalProperties": closed({"content": text}, ["content"])}}, ["services"]))


def test_composes_health_check_tells_ready_from_not(tmp_path):
    kind, *command = COMPOSE["services"]["imapwarden"]["healthcheck"]["test"]
    assert kind == "CMD"
    with Proxy(tmp_path) as proxy:
        here = [word.replace("9993", str(proxy.metrics)) for word in command]
        assert run(here, check=False).returncode == 0
    assert run(here, check=False).returncode != 0


# A pod by hand

def test_every_manifest_of_the_sidecar_is_one_of_its_kind():
    assert len(SIDECAR) >= 6
    for manifest in SIDECAR:
        judge(manifest)


def test_the_sidecars_configurations_are_right(tmp_path):
    assert check(of_kind(SIDECAR, "ConfigMap", "imapwarden")["data"]["imapwarden.yaml"], tmp_path)["ok"] is True
    read = dovecot_reads(of_kind(SIDECAR, "ConfigMap", "dovecot")["data"]["dovecot.conf"], tmp_path)
    assert "listen = 127.0.0.1" in read.stdout and read.stderr == ""


def test_the_sidecar_is_the_charts():
    made = render("--set", "mode=sidecar,sidecar.podSelector.app=mail,tls.secretName=mail-tls",
                  "--set", "config.backends[0].address=127.0.0.1:143", release="imapwarden")
    patch = yaml.safe_load(of_kind(made, "ConfigMap", "imapwarden-sidecar")["data"]["patch.yaml"])["spec"]["template"]["spec"]
    deployment = of_kind(SIDECAR, "Deployment")
    pod = pod_of(deployment)
    assert pod["initContainers"] == patch["initContainers"] and pod["containers"][0] == patch["containers"][0]
    assert all(volume in pod["volumes"] for volume in patch["volumes"])
    assert pod["terminationGracePeriodSeconds"] == patch["terminationGracePeriodSeconds"]
    assert of_kind(SIDECAR, "ConfigMap", "imapwarden")["data"] == of_kind(made, "ConfigMap", "imapwarden")["data"]
    assert deployment["spec"]["strategy"] == {"type": "Recreate"} and deployment["spec"]["replicas"] == 1
    assert breaches_of_restricted({**pod, "containers": pod["containers"][:1], "initContainers": []}) == []


def test_nobody_outside_the_sidecars_pod_reaches_dovecot():
    policy = of_kind(SIDECAR, "NetworkPolicy")["spec"]
    assert [[port["port"] for port in rule["ports"]] for rule in policy["ingress"]] == [[1993], [9993]]
    [_, dovecot] = pod_of(of_kind(SIDECAR, "Deployment"))["containers"]
    assert "ports" not in dovecot
    [port] = of_kind(SIDECAR, "Service")["spec"]["ports"]
    assert port["targetPort"] == "iw-imaps"
