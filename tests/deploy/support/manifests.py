"""Renders the chart, and judges manifests."""

from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

from support.programs import CHART, helm

VALUES = sorted((Path(__file__).resolve().parents[1] / "values").glob("*.yaml"))
#: The oldest that the chart allows, and newer ones.
VERSIONS = ("1.27", "1.30", "1.33", "1.37")


def render(*options, release="mail", check=True):
    """The chart's manifests as helm makes them."""
    done = helm("template", release, CHART, "--namespace", "mail", *options, check=check)
    return done if not check else [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def of_kind(manifests, kind, name=None):
    """The one manifest of a kind (and a name)."""
    [found] = [one for one in manifests if one["kind"] == kind and name in (None, one["metadata"]["name"])]
    return found


def _closed(properties, required=()):
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_SELECTOR = _closed({"matchLabels": _TEXTS}, ["matchLabels"])
_RULE = _closed({"alert": _TEXT, "expr": _TEXT, "for": _TEXT, "labels": _TEXTS, "annotations": _TEXTS}, ["alert", "expr"])
#: As far as the chart uses them: the kinds that Kubernetes itself does not know.
FOREIGN = {
    "cert-manager.io/v1 Certificate": _closed({
        "secretName": _TEXT, "dnsNames": {"type": "array", "items": _TEXT, "minItems": 1}, "duration": _TEXT,
        "renewBefore": _TEXT, "issuerRef": _closed({"name": _TEXT, "kind": _TEXT, "group": _TEXT}, ["name"]),
        "privateKey": _closed({"algorithm": {"enum": ["RSA", "ECDSA", "Ed25519"]}, "size": {"type": "integer"},
                               "rotationPolicy": {"enum": ["Never", "Always"]}})}, ["secretName", "issuerRef", "dnsNames"]),
    "monitoring.coreos.com/v1 ServiceMonitor": _closed({
        "selector": _SELECTOR, "namespaceSelector": _closed({"matchNames": {"type": "array", "items": _TEXT}}),
        "endpoints": {"type": "array", "minItems": 1, "items": _closed({
            "port": _TEXT, "path": _TEXT, "interval": _TEXT,
            "relabelings": {"type": "array", "items": _closed({"targetLabel": _TEXT, "replacement": _TEXT})}}, ["port"])}},
        ["selector", "endpoints"]),
    "monitoring.coreos.com/v1 PrometheusRule": _closed({
        "groups": {"type": "array", "minItems": 1, "items": _closed({
            "name": _TEXT, "interval": _TEXT, "rules": {"type": "array", "items": _RULE, "minItems": 1}},
            ["name", "rules"])}}, ["groups"]),
}


def judge(manifest):
    """Fails unless the manifest is one of its kind, without a field that nobody knows."""
    what = f"{manifest['apiVersion']} {manifest['kind']}"
    assert len(manifest["metadata"]["name"]) <= 63
    if what in FOREIGN:
        jsonschema.validate(manifest["spec"], FOREIGN[what])
        assert set(manifest) == {"apiVersion", "kind", "metadata", "spec"}
        return
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def pod_of(workload):
    return workload["spec"]["template"]["spec"]


def containers_of(pod):
    return [*pod.get("initContainers", []), *pod["containers"]]


def breaches_of_restricted(pod):
    """What the "restricted" Pod Security Standard says against a pod."""
    wrong = [f"host{what}" for what in ("Network", "PID", "IPC") if pod.get(f"host{what}")]
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    wrong += [f"volume {volume['name']}" for volume in pod.get("volumes", []) if not (set(volume) - {"name"}) <= allowed]
    for container in containers_of(pod):
        own = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
        good = {
            "runAsNonRoot": own.get("runAsNonRoot") is True,
            "runAsUser": own.get("runAsUser") != 0,
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "privileged": not own.get("privileged"),
            "seccomp": own.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "capabilities": own.get("capabilities", {}).get("drop") == ["ALL"]
                            and set(own["capabilities"].get("add", [])) <= {"NET_BIND_SERVICE"},
            "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
        }
        wrong += [f"{container['name']}: {what}" for what, holds in good.items() if not holds]
    return wrong
