"""The chart: what helm makes of it, judged by schemas, by the Pod Security Standard, and by imapwarden itself."""

import json
import re

import pytest
import yaml

from support.certificates import key_file, self_signed
from support.manifests import VALUES, breaches_of_restricted, judge, of_kind, pod_of, render
from support.programs import CHART, REPOSITORY, helm, imapwarden, kubectl, run

MAIL_SERVER = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "dovecot"},
    "spec": {
        "replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": "dovecot"}},
        "template": {
            "metadata": {"labels": {"app": "dovecot"}},
            "spec": {"containers": [{
                "name": "dovecot", "image": "dovecot/dovecot:2.3.21",
                "ports": [{"name": "imap", "containerPort": 143}, {"name": "imaps", "containerPort": 993}],
                "volumeMounts": [{"name": "mail", "mountPath": "/srv/mail"}]}],
                "volumes": [{"name": "mail", "persistentVolumeClaim": {"claimName": "mail"}}]}}}}


CLOSED = "networkPolicy.mailServer.enabled=true"


def scenario(name):
    [path] = [path for path in VALUES if path.stem == name]
    return render("--values", path)


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem)
def test_helm_finds_nothing_to_complain_of(path):
    said = helm("lint", CHART, "--strict", "--values", path).stdout
    assert "0 chart(s) failed" in said and "WARNING" not in said, said


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem)
def test_every_manifest_is_one_of_its_kind_in_every_version(path):
    manifests = render("--values", path, release="a-release-with-quite-a-long-name-for-a-release-53ch")
    assert len(manifests) >= 4
    for manifest in manifests:
        judge(manifest)


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem)
def test_imapwarden_finds_the_rendered_configuration_right(path, tmp_path):
    text = of_kind(render("--values", path), "ConfigMap", "mail-imapwarden")["data"]["imapwarden.yaml"]
    here = text.replace("/etc/imapwarden", str(tmp_path / "etc")).replace("/var/lib/imapwarden", str(tmp_path / "data"))
    self_signed(tmp_path / "etc" / "tls")
    key_file(tmp_path / "etc" / "key" / "imapwarden.key")
    for place, content in (("store/url", "postgresql://app:secret@mail-db-rw.mail.svc:5432/app\n"),
                           ("store-password/password", "secret\n"),
                           ("store-authority/ca.crt", (tmp_path / "etc/tls/tls.crt").read_text())):
        (tmp_path / "etc" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "etc" / place).write_text(content)
    if "danger_plaintext" in here:
        (tmp_path / "etc/store/url").write_text("postgresql://app@10.0.0.7/app?sslmode=disable\n")
    for named in re.findall(r"(\S*/files/\S+)", here):
        place = tmp_path / "etc" / named.split("/etc/")[1]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("correct horse\n" if place.name == "password" else (tmp_path / "etc/tls/tls.crt").read_text())
    for file in (tmp_path / "etc").rglob("*"):
        if file.is_file():
            file.chmod(0o440)
    config = tmp_path / "imapwarden.yaml"
    config.write_text(here)
    said = run([imapwarden(), "check", "--json", "--config", config])
    assert json.loads(said.stdout)["ok"] is True


def test_what_the_values_say_arrives_in_the_configuration_unchanged():
    config = yaml.safe_load(of_kind(scenario("load-balancer"), "ConfigMap", "mail-imapwarden")["data"]["imapwarden.yaml"])
    assert config["limits"] == {"connections": 1000000, "ban_after": "off"}
    assert config["backends"][0]["proxy_protocol"] == "off"
    assert config["second_factor"]["enrol_by"] == "2027-03-31"
    assert [(one["address"], one["tls"], one["proxy_protocol_from"]) for one in config["listeners"]] == [
        ("[::]:1993", "implicit", ["10.0.0.0/8", "fd00::/8"]), ("[::]:1143", "starttls", ["10.0.0.0/8", "fd00::/8"])]
    assert config["tls"]["client_certificates"] == "off" and len(config["tls"]["certificates"]) == 1


@pytest.mark.parametrize("name", ["minimal", "load-balancer", "master-user"])
def test_the_pod_keeps_the_restricted_standard_and_writes_to_its_volume_alone(name):
    pod = pod_of(of_kind(scenario(name), "StatefulSet"))
    assert breaches_of_restricted(pod) == []
    assert pod["automountServiceAccountToken"] is False
    [container] = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    writable = [mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["imapwarden-data"]
    secrets = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    assert all(secret["defaultMode"] == 0o440 for secret in secrets)


def test_the_judge_of_pods_can_say_no():
    pod = json.loads(json.dumps(pod_of(of_kind(scenario("minimal"), "StatefulSet"))))
    pod["containers"][0]["securityContext"]["capabilities"] = {"drop": ["ALL"], "add": ["SYS_PTRACE"]}
    pod["hostNetwork"] = True
    assert breaches_of_restricted(pod) == ["hostNetwork", "imapwarden: capabilities"]
    with pytest.raises(Exception, match="replicass"):
        judge({**of_kind(scenario("minimal"), "StatefulSet"), "replicass": 1})


@pytest.mark.parametrize("name", ["minimal", "load-balancer", "master-user"])
def test_there_is_one_pod_with_time_enough_for_its_end(name):
    manifests = scenario(name)
    workload = of_kind(manifests, "StatefulSet")
    assert workload["spec"]["replicas"] == 1
    assert not [one for one in manifests if one["kind"] == "HorizontalPodAutoscaler"]
    pod = pod_of(workload)
    config = yaml.safe_load(of_kind(manifests, "ConfigMap", "mail-imapwarden")["data"]["imapwarden.yaml"])
    drain = int(config["drain"]["timeout"].removesuffix("s"))
    [_, pause] = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    # Behind the drain come the last events, up to five seconds.
    assert pod["terminationGracePeriodSeconds"] >= int(pause) + drain + 5


def test_with_a_database_there_are_as_many_pods_as_are_asked_for_and_none_needs_a_volume():
    manifests = scenario("postgres")
    assert not [one for one in manifests if one["kind"] in ("StatefulSet", "PersistentVolumeClaim", "HorizontalPodAutoscaler")]
    workload = of_kind(manifests, "Deployment")
    assert workload["spec"]["replicas"] == 3
    assert of_kind(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    pod = pod_of(workload)
    assert breaches_of_restricted(pod) == []
    assert {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume} == {"imapwarden-data"}
    assert pod["topologySpreadConstraints"][0]["labelSelector"] == workload["spec"]["selector"]
    drained = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1]) + 30 + 5
    assert pod["terminationGracePeriodSeconds"] >= drained


def test_pods_by_need_are_counted_by_the_autoscaler_alone():
    manifests = scenario("postgres-password")
    workload = of_kind(manifests, "Deployment")
    # A number here would undo the autoscaler's at every upgrade.
    assert "replicas" not in workload["spec"]
    scaler = of_kind(manifests, "HorizontalPodAutoscaler")["spec"]
    target = {"apiVersion": workload["apiVersion"], "kind": workload["kind"], "name": workload["metadata"]["name"]}
    assert scaler["scaleTargetRef"] == target and (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 9)


@pytest.mark.parametrize("name", ["postgres", "postgres-password"])
def test_where_the_database_is_and_its_password_stand_in_secrets_alone(name):
    manifests = scenario(name)
    for manifest in manifests:
        if manifest["kind"] == "ConfigMap":
            assert not re.search(r"postgres(ql)?://|password:", json.dumps(manifest)), manifest["metadata"]["name"]
    pod = pod_of(of_kind(manifests, "Deployment"))
    config = yaml.safe_load(of_kind(manifests, "ConfigMap", "mail-imapwarden")["data"]["imapwarden.yaml"])["store"]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for key in [key for key in config if key.endswith("_file")]:
        place, file = config[key].rsplit("/", 1)
        secret = volumes[mounts[place]]["secret"]
        assert secret["defaultMode"] == 0o440 and [item["path"] for item in secret["items"]] == [file]
    assert not [one for one in pod["containers"] if "env" in one or "envFrom" in one]


def test_where_egress_is_shut_the_database_is_reached_all_the_same():
    egress = of_kind(scenario("postgres"), "NetworkPolicy")["spec"]["egress"]
    assert egress[-1] == {"ports": [{"port": 5432, "protocol": "TCP"}],
                          "to": [{"podSelector": {"matchLabels": {"cnpg.io/cluster": "mail-db"}}}]}
    assert len(egress) == 3
    sqlite = of_kind(scenario("load-balancer"), "NetworkPolicy", "mail-imapwarden")["spec"]["egress"]
    assert sqlite == [{}], "nothing is opened for a database that there is not"
    # Where nothing is shut, nothing needs to be opened.
    assert of_kind(scenario("postgres-password"), "NetworkPolicy")["spec"]["policyTypes"] == ["Ingress"]


def test_while_a_store_is_taken_over_a_job_runs_and_no_pod():
    [path] = [path for path in VALUES if path.stem == "postgres"]
    manifests = render("--values", path, "--set", "store.migrateFrom=mail-imapwarden-data,autoscaling.enabled=true")
    assert of_kind(manifests, "Deployment")["spec"]["replicas"] == 0
    assert not [one for one in manifests if one["kind"] == "HorizontalPodAutoscaler"]
    job = of_kind(manifests, "Job")
    judge(job)
    pod = pod_of(job)
    assert breaches_of_restricted(pod) == []
    [claim] = [volume["persistentVolumeClaim"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    assert claim == {"claimName": of_kind(scenario("minimal"), "PersistentVolumeClaim")["metadata"]["name"]}
    # No Service leads to it.
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] != of_kind(manifests, "Service", "mail-imapwarden")["spec"]["selector"]["app.kubernetes.io/name"]


def test_beside_a_mail_server_the_database_takes_the_place_of_the_volume():
    [path] = [path for path in VALUES if path.stem == "postgres"]
    manifests = render("--values", path, "--set", "replicaCount=1,mode=sidecar,sidecar.podSelector.app=dovecot")
    patch = yaml.safe_load(of_kind(manifests, "ConfigMap", "mail-imapwarden-sidecar")["data"]["patch.yaml"])
    pod = patch["spec"]["template"]["spec"]
    assert "initContainers" not in pod and not [one for one in pod["volumes"] if "persistentVolumeClaim" in one]


def test_a_changed_configuration_starts_the_pod_anew_and_nothing_else_does():
    def checksum(*options):
        workload = of_kind(render("--values", VALUES[0], *options), "StatefulSet")
        return workload["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
    assert VALUES[0].stem == "load-balancer"
    assert checksum() == checksum("--set", "service.port=10993")
    assert checksum() != checksum("--set", "config.relay.idle_timeout=40m")


def test_only_imapwarden_reaches_the_mail_servers_port():
    manifests = scenario("load-balancer")
    policy = of_kind(manifests, "NetworkPolicy", "mail-imapwarden-mail-server")["spec"]
    assert policy["podSelector"] == {"matchLabels": {"app": "dovecot"}} and policy["policyTypes"] == ["Ingress"]
    to_imap = [rule for rule in policy["ingress"] if any(port["port"] == 143 for port in rule["ports"])]
    ours = of_kind(manifests, "StatefulSet")["spec"]["selector"]
    assert [rule["from"] for rule in to_imap] == [[{"podSelector": ours}]]
    # A rule without ports would open every one of them, and so would an empty rule.
    assert all(rule.get("ports") for rule in policy["ingress"])


def test_beside_the_mail_server_nobody_reaches_its_port():
    policy = of_kind(scenario("sidecar"), "NetworkPolicy")["spec"]
    assert policy["podSelector"] == {"matchLabels": {"app": "dovecot"}}
    assert [[port["port"] for port in rule["ports"]] for rule in policy["ingress"]] == [[1993], [9993], [25]]
    # Unasked, the chart does not shut the ports of somebody else's pod.
    assert not [one for one in scenario("sidecar-fsgroup") if one["kind"] == "NetworkPolicy"]


def test_services_lead_to_the_ports_of_the_pod_and_metrics_to_no_load_balancer():
    manifests = scenario("load-balancer")
    [container] = pod_of(of_kind(manifests, "StatefulSet"))["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    mail = of_kind(manifests, "Service", "mail-imapwarden")["spec"]
    assert {port["port"]: ports[port["targetPort"]] for port in mail["ports"]} == {993: 1993, 143: 1143}
    assert mail["externalTrafficPolicy"] == "Local"
    metrics = of_kind(manifests, "Service", "mail-imapwarden-metrics")
    assert metrics["spec"]["type"] == "ClusterIP" and metrics["spec"]["clusterIP"] == "None"
    assert [ports[port["targetPort"]] for port in metrics["spec"]["ports"]] == [9993]
    monitor = of_kind(manifests, "ServiceMonitor")["spec"]
    labels = metrics["metadata"]["labels"]
    assert all(labels[name] == value for name, value in monitor["selector"]["matchLabels"].items())
    assert [end["port"] for end in monitor["endpoints"]] == [port["name"] for port in metrics["spec"]["ports"]]


def test_rules_and_dashboard_are_those_of_the_examples():
    manifests = scenario("load-balancer")
    rules = yaml.safe_load((REPOSITORY / "examples/prometheus/alerts.yaml").read_text())
    assert of_kind(manifests, "PrometheusRule")["spec"] == rules
    dashboard = json.loads((REPOSITORY / "examples/grafana/imapwarden.json").read_text())
    shown = of_kind(manifests, "ConfigMap", "mail-imapwarden-dashboard")["data"]["imapwarden.json"]
    assert json.loads(shown) == dashboard


@pytest.mark.parametrize("name", ["sidecar", "sidecar-fsgroup"])
def test_the_sidecar_patch_adds_to_the_mail_servers_pod_and_takes_nothing(name, tmp_path):
    manifests = scenario(name)
    assert not [one for one in manifests if one["kind"] in ("StatefulSet", "Deployment", "PodDisruptionBudget")]
    patch = tmp_path / "patch.yaml"
    patch.write_text(of_kind(manifests, "ConfigMap", "mail-imapwarden-sidecar")["data"]["patch.yaml"])
    before = tmp_path / "deployment.json"
    before.write_text(json.dumps(MAIL_SERVER))

    def patched(path):
        return json.loads(kubectl("patch", "--local", "-f", path, "--patch-file", patch, "-o", "json").stdout)
    after = patched(before)
    judge(after)
    pod = pod_of(after)
    [ours, theirs] = pod["containers"]
    assert [ours["name"], theirs] == ["imapwarden", MAIL_SERVER["spec"]["template"]["spec"]["containers"][0]]
    assert {"mail", "imapwarden-data"} <= {volume["name"] for volume in pod["volumes"]}
    ports = [port["name"] for container in pod["containers"] for port in container["ports"]]
    assert len(set(ports)) == len(ports)
    of_root = [container["name"] for container in pod.get("initContainers", [])]
    assert of_root == ([] if name == "sidecar-fsgroup" else ["imapwarden-owner"])
    assert pod.get("securityContext", {}).get("fsGroup") == (5000 if name == "sidecar-fsgroup" else None)
    assert breaches_of_restricted({**pod, "containers": [ours], "initContainers": []}) == []
    assert after["spec"]["template"]["metadata"]["labels"] == {"app": "dovecot"}
    # Patched again, as after every upgrade, it stays the same.
    again = tmp_path / "again.json"
    again.write_text(json.dumps(after))
    assert patched(again)["spec"] == after["spec"]


@pytest.mark.parametrize(("options", "said"), [
    ((), "config.backends must be given"),
    (("--set", "config.data_directory=/x"), "config.data_directory is written by the chart"),
    (("--set", "config.listeners[0].address=x"), "config.listeners is written by the chart"),
    (("--set", "config.tls.certificates[0].key_file=x"), "set tls.secretName"),
    (("--set", "config.limits.ban_after=false"), "got boolean"),
    (("--set", "replicaCount=3"), "the store is one SQLite file, which one pod alone may use"),
    (("--set", "replicaCount=0"), "replicaCount"),
    (("--set", "autoscaling.enabled=true"), "autoscaling.enabled needs a store that several pods share"),
    (("--set", "store.migrateFrom=x"), "store has no effect without store.url.secretName"),
    (("--set", "store.password.secretName=x"), "store has no effect without store.url.secretName"),
    (("--set", "store.url.secretName=x"), "keyFile.secretName must be given with store.url"),
    (("--set", "store.url.secretName=x,keyFile.secretName=x"), "tls.secretName or tls.certManager must be given"),
    (("--set", "store.url.secretName=x,keyFile.secretName=x,tls.secretName=x,mode=sidecar,sidecar.podSelector.a=x,replicaCount=2"),
     "no effect in sidecar mode"),
    (("--set", "store.url.secretName=x,keyFile.secretName=x,tls.secretName=x,store.authority.secretName=x,"
               "store.authority.configMapName=x"), "not in both"),
    (("--set", "store.url.secretName=x,keyFile.secretName=x,tls.secretName=x,autoscaling.minReplicas=9"), "more than"),
    (("--set", "store.url.value=postgres://u@h/d"), "additional properties 'value'"),
    (("--set", "config.store.url=postgres://u@h/d"), "config.store is written by the chart"),
    (("--set", "mode=sidecar"), "sidecar.podSelector must be given"),
    (("--set", "networkPolicy.mailServer.enabled=true"), "networkPolicy.mailServer.podSelector must be given"),
    (("--set", "tls.certManager.enabled=true"), "dnsNames must be given"),
    (("--set", "proxyProtocol.from[0]=10.0.0.1"), "proxyProtocol/from"),
    (("--set", "persistence.accessMode=ReadWriteMany"), "accessMode"),
    (("--set", "files.master.secretName=a,files.master.configMapName=b"), "files/master"),
])
def test_values_that_make_no_sense_are_refused_with_a_word_of_help(options, said):
    backend = ("--set", "config.backends[0].address=127.0.0.1:143") if options else ()
    done = render(*backend, *options, check=False)
    assert done.returncode != 0 and said in done.stderr, done.stderr


def test_every_value_stands_in_the_schema_and_every_key_of_the_schema_has_a_value():
    def leaves(schema, values, path=""):
        known = set(schema.get("properties", {}))
        if schema.get("additionalProperties") is not False:
            return
        given = set(values or {})
        assert known - {"global"} == given, f"{path or '.'}: {known ^ given}"
        for name, inner in schema["properties"].items():
            if inner.get("type") == "object":
                leaves(inner, values.get(name), f"{path}.{name}")
    schema = json.loads((CHART / "values.schema.json").read_text())
    leaves(schema, yaml.safe_load((CHART / "values.yaml").read_text()))


@pytest.mark.parametrize(("options", "said"), [
    (("--set", "mode=sidecar,sidecar.podSelector.app=x"), "patch deployment MAIL-SERVER"),
    ((), "rollout status statefulset/mail-imapwarden"),
    ((), "WARNING: nothing here keeps others from the mail server's port 143"),
    ((), "No certificate is configured"),
    (("--set", "store.url.secretName=x,keyFile.secretName=x,tls.secretName=x"), "rollout status deployment/mail-imapwarden"),
    (("--set", "store.url.secretName=x,keyFile.secretName=x,tls.secretName=x,store.migrateFrom=old"), "job/mail-imapwarden-migrate"),
    (("--set", "service.type=NodePort,service.externalTrafficPolicy=Cluster"), "WARNING: externalTrafficPolicy is Cluster"),
    (("--set", f"{CLOSED},networkPolicy.mailServer.podSelector.app=x"), "are closed but 143, to imapwarden alone: list"),
    (("--set", f"{CLOSED},mode=sidecar,sidecar.podSelector.app=x"), "are closed but imapwarden's own: list"),
])
def test_the_notes_say_what_to_do_next_and_what_is_weak(options, said):
    assert said in notes(*options)


def test_the_notes_are_silent_about_closed_ports_where_somebody_has_thought_of_them():
    assert "openPorts" not in notes("--set", f"{CLOSED},networkPolicy.mailServer.podSelector.app=x",
                                    "--set", "networkPolicy.mailServer.openPorts={25}")


def notes(*options):
    done = helm("install", "mail", CHART, "--dry-run=client", "--set", "config.backends[0].address=127.0.0.1:143", *options)
    return done.stdout.split("NOTES:")[1]


def test_what_helm_uninstall_must_not_take_is_kept():
    claim = of_kind(scenario("minimal"), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_the_charts_version_is_the_programs():
    program = run([imapwarden(), "--version"]).stdout.split()[1]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == program
