"""Pod security: each check in upstream's words, the three modes, namespaces' labels, and who is exempt."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.admission.pod_security_checks import LATEST, broken
from minikube_py.api.types import Obj
from tests.apiserver.wire import MERGE, Wire, deployment
from tests.conftest import APIServer
from tests.harness import eventually

SERIAL = itertools.count(1)
LABEL = "pod-security.kubernetes.io/"
CAREFUL: Obj = {
    "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


def said(level: str, version: int = LATEST, annotations: Obj | None = None, **spec: Any) -> str:
    """What a pod breaks; its one container is careful unless `containers` says otherwise."""
    spec.setdefault("containers", [{"name": "c", "securityContext": CAREFUL}])
    return ", ".join(map(str, broken(level, version, {"annotations": annotations or {}}, spec)))


def containers(*contexts: Obj) -> list[Obj]:
    return [
        {"name": name, "securityContext": CAREFUL | context} for name, context in zip("abc", contexts, strict=False)
    ]


ROOT = {"runAsUser": 0}
PROBE = {"name": "c", "securityContext": CAREFUL, "livenessProbe": {"httpGet": {"host": "10.0.0.1", "port": 80}}}
CASES: list[tuple[str, int, Obj, str]] = [
    ("baseline", LATEST, {}, ""),
    ("restricted", LATEST, {}, ""),
    ("baseline", LATEST, {"hostNetwork": True, "hostIPC": True}, "host namespaces (hostNetwork=true, hostIPC=true)"),
    ("baseline", LATEST, {"containers": containers({"privileged": True}, {"privileged": True})},
     'privileged (containers "a", "b" must not set securityContext.privileged=true)'),
    ("baseline", LATEST, {"containers": containers({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}})},
     'non-default capabilities (container "a" must not include "NET_ADMIN" in securityContext.capabilities.add)'),
    ("restricted", LATEST, {"containers": containers({"capabilities": {"add": ["CHOWN"]}})},
     'unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]; container "a" must not '
     'include "CHOWN" in securityContext.capabilities.add)'),
    ("baseline", LATEST, {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, 'hostPath volumes (volume "v")'),
    ("restricted", LATEST, {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
     'restricted volume types (volume "v" uses restricted volume type "hostPath")'),
    ("baseline", LATEST, {"containers": [{"name": "c", "ports": [{"hostPort": 80}, {"hostPort": 443}]}]},
     'hostPort (container "c" uses hostPorts 443, 80)'),
    ("baseline", LATEST, {"containers": [PROBE]},
     'probe or lifecycle host (container "c" uses probe or lifecycle host "10.0.0.1")'),
    ("baseline", 33, {"containers": [PROBE]}, ""),
    ("baseline", LATEST, {"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "u"}}},
     'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set)'),
    ("baseline", 30, {"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}},
     'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "container_engine_t")'),
    ("baseline", LATEST, {"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}}, ""),
    ("baseline", LATEST, {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
     'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")'),
    ("baseline", LATEST, {"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}},
     "forbidden sysctls (kernel.msgmax)"),
    ("baseline", 31, {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}},
     "forbidden sysctls (net.ipv4.tcp_rmem)"),
    ("baseline", LATEST, {"securityContext": {"windowsOptions": {"hostProcess": True}}},
     "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)"),
    ("baseline", LATEST, {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
     'forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")'),
    ("baseline", LATEST, {"containers": containers({"procMount": "Unmasked"})},
     'procMount (container "a" must not set securityContext.procMount to "Unmasked")'),
    ("baseline", LATEST, {"hostUsers": False, "containers": containers({"procMount": "Unmasked"})}, ""),
    ("restricted", LATEST, {"hostUsers": False, "containers": containers({"procMount": "Unmasked"})},
     'procMount (container "a" must not set securityContext.procMount to "Unmasked")'),
    ("restricted", LATEST, {"containers": containers({"runAsNonRoot": None})},
     'runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true)'),
    ("restricted", LATEST, {"securityContext": {"runAsNonRoot": False}, "containers": containers({"runAsNonRoot": False})},
     'runAsNonRoot != true (pod and container "a" must not set securityContext.runAsNonRoot=false)'),
    ("restricted", LATEST, {"securityContext": ROOT, "containers": containers(ROOT)},
     'runAsUser=0 (pod and container "a" must not set runAsUser=0)'),
    ("restricted", 22, {"securityContext": ROOT}, ""),
    ("restricted", LATEST, {"hostUsers": False, "securityContext": ROOT}, ""),
    ("restricted", LATEST, {"containers": containers({"seccompProfile": None})},
     'seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'),
    ("restricted", LATEST, {"os": {"name": "windows"}, "containers": [{"securityContext": {"runAsNonRoot": True}}]}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("level", "version", "spec", "expected"), CASES)
def test_each_check_says_what_upstreams_says(level: str, version: int, spec: Obj, expected: str) -> None:
    assert said(level, version, **spec) == expected


def test_old_annotations_count_where_they_did() -> None:
    key = "container.apparmor.security.beta.kubernetes.io/c"
    found = said("baseline", annotations={key: "unconfined"})
    assert (
        found == f'forbidden AppArmor profile (annotation must not set AppArmor profile type to "{key}="unconfined"")'
    )
    assert said("baseline", annotations={key: "localhost/mine"}) == ""
    key = "seccomp.security.alpha.kubernetes.io/pod"
    assert said("baseline", 18, {key: "unconfined"}) == f'seccompProfile (forbidden annotation {key}="unconfined")'
    assert said("baseline", annotations={key: "unconfined"}) == ""


# ---- on the wire -----------------------------------------------------------------------------------------------------


class Namespace:
    """A namespace with labels, and pods to put into it."""

    def __init__(self, wire: Wire, **labels: str) -> None:
        self.wire, self.name = wire, f"ps-{next(SERIAL)}"
        self.path = f"/api/v1/namespaces/{self.name}"
        marked = {LABEL + key.replace("_", "-"): value for key, value in labels.items()}
        wire.ok("POST", "/api/v1/namespaces", {"metadata": {"name": self.name, "labels": marked}})

    def pod(self, name: str = "p", who: Wire | None = None, **spec: Any) -> Any:
        spec = {"containers": [{"name": "c", "image": "a:1"}], **spec}
        body = {"metadata": {"name": name}, "spec": spec}
        return (who or self.wire)("POST", f"{self.path}/pods", body)


def warnings(answer: Any) -> str:
    return str(answer.headers.get("warning", ""))


def test_warn_warns_and_enforce_refuses(wire: Wire) -> None:
    place = Namespace(wire, enforce="baseline", warn="restricted", warn_version="v1.20")
    accepted = place.pod()
    assert accepted.status == 201
    assert 'would violate PodSecurity \\"restricted:v1.20\\": allowPrivilegeEscalation != false' in warnings(accepted)
    refused = place.pod("q", hostPID=True)
    assert refused.status == 403 and not warnings(refused)
    assert refused.body["message"] == (
        'pods "q" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)'
    )


def test_enforcing_warns_those_who_make_what_makes_pods(wire: Wire) -> None:
    place = Namespace(wire, enforce="restricted")
    made = wire("POST", f"/apis/apps/v1/namespaces/{place.name}/deployments", deployment("d"))
    assert made.status == 201 and 'would violate PodSecurity \\"restricted:latest\\"' in warnings(made)
    template = {"spec": {"containers": [{"name": "c", "image": "a:1"}], "restartPolicy": "Never"}}
    spec = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}}
    made = wire("POST", f"/apis/batch/v1/namespaces/{place.name}/cronjobs", {"metadata": {"name": "c"}, "spec": spec})
    assert made.status == 201 and "would violate" in warnings(made)


def test_audit_tells_the_log_alone(apiserver: APIServer, wire: Wire) -> None:
    place = Namespace(wire, audit="baseline")
    answer = place.pod("logged", hostIPC=True)
    assert answer.status == 201 and not warnings(answer)

    def event() -> Obj | None:
        lines = (apiserver.directory / "audit.log").read_text().splitlines()
        return next((json.loads(line) for line in lines if f"{place.path}/pods" in line), None)

    noted = eventually(event)["annotations"]
    assert noted[f"{LABEL}enforce-policy"] == "privileged:latest"
    assert (
        noted[f"{LABEL}audit-violations"]
        == 'would violate PodSecurity "baseline:latest": host namespaces (hostIPC=true)'
    )


def test_only_changes_that_matter_are_looked_at_again(wire: Wire) -> None:
    place = Namespace(wire)
    place.pod(hostPID=True)
    wire.ok("PATCH", place.path, {"metadata": {"labels": {f"{LABEL}enforce": "baseline"}}}, content_type=MERGE)
    patched = wire("PATCH", f"{place.path}/pods/p", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    assert patched.status == 200
    image = {"spec": {"containers": [{"name": "c", "image": "a:2"}]}}
    refused = wire("PATCH", f"{place.path}/pods/p", image, content_type="application/strategic-merge-patch+json")
    assert refused.status == 403


def test_labels_that_make_no_sense(wire: Wire) -> None:
    labels = {f"{LABEL}enforce": "baselin", f"{LABEL}warn-version": "1.20"}
    answer = wire("POST", "/api/v1/namespaces", {"metadata": {"name": "ps-odd", "labels": labels}})
    assert answer.status == 422
    assert "must be one of privileged, baseline, restricted" in answer.body["message"]
    assert 'must be \\"latest\\" or \\"v1.x\\"' in json.dumps(answer.body["message"])


def test_a_stricter_label_names_the_pods_that_miss_it(wire: Wire) -> None:
    place = Namespace(wire)
    for name in ("b", "a"):
        place.pod(name, hostPID=True)
    place.pod("fine")
    label = {"metadata": {"labels": {f"{LABEL}enforce": "baseline"}}}
    found = warnings(wire("PATCH", place.path, label, content_type=MERGE))
    assert (
        f'existing pods in namespace \\"{place.name}\\" violate the new PodSecurity enforce level \\"baseline:latest\\"'
        in found
    )
    assert "a (and 1 other pod): host namespaces" in found
    label["metadata"]["labels"][f"{LABEL}enforce"] = "privileged"
    assert not warnings(wire("PATCH", place.path, label, content_type=MERGE))


# ---- configured ------------------------------------------------------------------------------------------------------

CONFIGURATION: Obj = {
    "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
    "plugins": [{"name": "PodSecurity", "configuration": {
        "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
        "defaults": {"enforce": "baseline", "enforce-version": "v1.30"},
        "exemptions": {"namespaces": ["ps-free"], "usernames": ["trusted"], "runtimeClasses": ["vm"]},
    }}],
}  # fmt: skip


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    directory = tmp_path_factory.mktemp("pod-security")
    file = directory / "admission.yaml"
    file.write_text(yaml.safe_dump(CONFIGURATION))
    server = APIServer(directory, "--admission-control-config-file", str(file))
    try:
        server.start()
        yield Wire(server.url, server.ca_file, server.token)
    finally:
        server.stop()


def test_defaults_and_exemptions(configured: Wire) -> None:
    place = Namespace(configured)
    refused = place.pod(hostPID=True)
    assert 'violates PodSecurity "baseline:v1.30"' in refused.body["message"]
    configured.ok("POST", "/apis/node.k8s.io/v1/runtimeclasses", {"metadata": {"name": "vm"}, "handler": "vm"})
    assert place.pod("in-vm", hostPID=True, runtimeClassName="vm").status == 201
    headers = {"Impersonate-User": "trusted", "Impersonate-Group": "system:masters"}
    body = {
        "metadata": {"name": "by-trusted"},
        "spec": {"hostPID": True, "containers": [{"name": "c", "image": "a:1"}]},
    }
    assert configured("POST", f"{place.path}/pods", body, headers=headers).status == 201
    configured.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "ps-free"}})
    assert configured("POST", "/api/v1/namespaces/ps-free/pods", body).status == 201


def test_a_wrong_file_ends_the_start_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "admission.yaml"
    file.write_text("kind: Other")
    server = APIServer(tmp_path, "--admission-control-config-file", str(file))
    with pytest.raises(AssertionError, match="it exited with 1"):
        server.start()
    log = (tmp_path / "apiserver.log").read_text()
    assert (
        f"apiserver: --admission-control-config-file {file}: kind: AdmissionConfiguration" in log
        and "Traceback" not in log
    )
