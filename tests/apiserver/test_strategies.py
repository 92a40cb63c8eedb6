"""Validation as tables of (kind, change to a good object, message), and the rules of generation, status and deletion."""

import copy
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver import strategies
from apiserver.auth.user import UserInfo
from apiserver.resources import table
from apiserver.resources.row import Row
from apiserver.strategies.base import Context
from apiserver.strategies.validation.batch import cron_problem
from minikube_py.api import names
from minikube_py.api.clock import FakeClock
from minikube_py.api.podresources import qos_class
from minikube_py.api.types import Obj

CLOCK = FakeClock()
CTX = Context(UserInfo("ann", groups=("devs",)), CLOCK, lambda *_: None, lambda *_: [])


def strategy(key: str) -> strategies.Strategy:
    row = table.by_plural_key(key)
    assert row is not None
    return strategies.for_row(row)


def pod(**spec: Any) -> Obj:
    made: Obj = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "a:1"}], **spec},
    }  # fmt: skip
    strategy("pods").default(made)
    return made


def container(**fields: Any) -> Obj:
    return pod(containers=[{"name": "c", "image": "a:1", **fields}])


def workload(kind: str = "Deployment", **spec: Any) -> Obj:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}}
    return {
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "w", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec},
    }  # fmt: skip


def service(**spec: Any) -> Obj:
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default"},
        "spec": {"ports": [{"port": 80}], **spec},
    }  # fmt: skip


def thing(kind: str, **fields: Any) -> Obj:
    return {"kind": kind, "metadata": {"name": "x", "namespace": "default"}, **fields}


PORT = {"containerPort": 80, "name": "http"}
EXEC = {"exec": {"command": ["x"]}}
BAD: list[tuple[str, Obj, str]] = [
    ("pods", pod(containers=[]), "spec.containers: Required value"),
    ("pods", container(image=""), "spec.containers[0].image: Required value"),
    ("pods", container(name="Bad"), 'spec.containers[0].name: Invalid value: "Bad": a lowercase RFC 1123 label must consist'),
    ("pods", container(ports=[{"containerPort": 0}]), "spec.containers[0].ports[0].containerPort: Required value"),
    ("pods", container(ports=[PORT, {**PORT, "containerPort": 81}]),
     'spec.containers[0].ports[1].name: Duplicate value: "http"'),
    ("pods", container(ports=[{"containerPort": 70000}]),
     "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"),
    ("pods", container(ports=[{"containerPort": 1, "protocol": "HTTP"}]),
     'spec.containers[0].ports[0].protocol: Unsupported value: "HTTP": supported values: "SCTP", "TCP", "UDP"'),
    ("pods", container(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
     'spec.containers[0].volumeMounts[0].name: Not found: "v"'),
    ("pods", container(env=[{"value": "x"}]), "spec.containers[0].env[0].name: Required value"),
    ("pods", container(env=[{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
     "may not be specified when `value` is not empty"),
    ("pods", container(livenessProbe={**EXEC, "tcpSocket": {"port": 1}}),
     "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"),
    ("pods", container(livenessProbe={"periodSeconds": 1}),
     "spec.containers[0].livenessProbe: Required value: must specify a handler type"),
    ("pods", container(livenessProbe={**EXEC, "successThreshold": 2}),
     "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"),
    ("pods", container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
     'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'),
    ("pods", container(resources={"limits": {"nvidia.com/gpu": "1500m"}}), "must be an integer"),
    ("pods", container(resources={"requests": {"nvidia.com/gpu": "1"}}),
     "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"),
    ("pods", container(resources={"limits": {"gpu": "1"}}), "must be a standard resource for containers"),
    ("pods", pod(restartPolicy="Sometimes"),
     'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"'),
    ("pods", pod(dnsPolicy="None"), "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
    ("pods", pod(tolerations=[{"operator": "Equal", "value": "x"}]), "operator must be Exists when `key` is empty"),
    ("pods", pod(tolerations=[{"key": "a", "tolerationSeconds": 5}]), "effect must be 'NoExecute'"),
    ("pods", pod(volumes=[{"name": "v", "secret": {}}]), "spec.volumes[0].secret.secretName: Required value"),
    ("pods", pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
     "Forbidden: may not specify more than 1 volume type"),
    ("pods", pod(volumes=[{"name": "v"}, {"name": "v"}]), 'spec.volumes[1].name: Duplicate value: "v"'),
    ("pods", pod(initContainers=[{"name": "i", "image": "a:1", "livenessProbe": EXEC}]),
     "may not be set for init containers without restartPolicy=Always"),
    ("pods", pod(initContainers=[{"name": "c", "image": "a:1"}]), 'Duplicate value: "c"'),
    ("pods", pod(ephemeralContainers=[{"name": "e", "image": "a:1"}]),
     "spec.ephemeralContainers: Forbidden: cannot be set on create"),
    ("pods", pod(securityContext={"sysctls": [{"name": "foo-"}]}), "must have at most 253 characters and match regex"),
    ("pods", pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}),
     "must have at least one node selector term"),
    ("pods", pod(nodeSelector={"a b": "c"}), 'spec.nodeSelector: Invalid value: "a b"'),
    ("pods", {**pod(), "metadata": {"name": "p", "labels": {"a": "-"}}}, 'metadata.labels: Invalid value: "-"'),
    ("pods", {**pod(), "metadata": {"name": "p", "finalizers": ["odd"]}},
     "name is neither a standard finalizer name nor is it fully qualified"),
    ("deployments.apps", workload(selector={"matchLabels": {"a": "c"}}),
     'spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`'),
    ("deployments.apps", workload(selector={}), "empty selector is invalid for deployment"),
    ("deployments.apps", workload(replicas=-1),
     "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
    ("deployments.apps", workload(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
     "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"),
    ("deployments.apps", workload(strategy={"type": "Recreate", "rollingUpdate": {}}),
     "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"),
    ("deployments.apps", workload(strategy={"type": "Slow"}),
     'spec.strategy.type: Unsupported value: "Slow": supported values: "Recreate", "RollingUpdate"'),
    ("daemonsets.apps", workload("DaemonSet", updateStrategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}),
     "may not be set when maxUnavailable is non-zero"),
    ("jobs.batch", workload("Job"), 'spec.template.spec.restartPolicy: Unsupported value: "Always"'),
    ("cronjobs.batch", thing("CronJob", spec={"schedule": "61 * * * *", "jobTemplate": {}}),
     'spec.schedule: Invalid value: "61 * * * *": above maximum (59): 61'),
    ("services", service(ports=[]), "spec.ports: Required value"),
    ("services", service(type="Odd"), 'spec.type: Unsupported value: "Odd"'),
    ("services", service(ports=[{"port": 1}, {"port": 2}]), "spec.ports[0].name: Required value"),
    ("services", service(ports=[{"port": 1, "nodePort": 30000}]),
     "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"),
    ("services", service(type="ExternalName"), "spec.externalName: Required value"),
    ("services", {**service(), "metadata": {"name": "1s"}}, 'metadata.name: Invalid value: "1s": a DNS-1035 label'),
    ("secrets", thing("Secret", type="kubernetes.io/tls", data={"tls.crt": ""}), "data[tls.key]: Required value"),
    ("configmaps", thing("ConfigMap", data={"a/b": "x"}), 'data[a/b]: Invalid value: "a/b": a valid config key'),
    ("poddisruptionbudgets.policy", thing("PodDisruptionBudget", spec={"minAvailable": 1, "maxUnavailable": 1}),
     "minAvailable and maxUnavailable cannot be both set"),
    ("roles.rbac.authorization.k8s.io", thing("Role", rules=[{"resources": ["pods"], "apiGroups": [""]}]),
     "rules[0].verbs: Required value: verbs must contain at least one value"),
    ("priorityclasses.scheduling.k8s.io", thing("PriorityClass", value=2 * 10**9),
     "maximum allowed value of a user defined priority is 1000000000"),
    ("ingresses.networking.k8s.io", thing("Ingress", spec={}), "either `defaultBackend` or `rules` must be specified"),
    ("networkpolicies.networking.k8s.io",
     thing("NetworkPolicy", spec={"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]}),
     "must be a strict subset of `cidr`"),
    ("persistentvolumeclaims", thing("PersistentVolumeClaim", spec={"accessModes": ["ReadWriteOnce"]}),
     "spec.resources[storage]: Required value"),
    ("persistentvolumes", thing("PersistentVolume", spec={"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}),
     "spec: Required value: must specify a volume type"),
    ("limitranges", thing("LimitRange", spec={"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}),
     "min value 2 is greater than max value 1"),
    ("leases.coordination.k8s.io", thing("Lease", spec={"leaseDurationSeconds": 0}), "must be greater than 0"),
    ("ipaddresses.networking.k8s.io", thing("IPAddress", spec={"parentRef": {"resource": "services", "name": "s"}}),
     "must be a valid IP address"),
    ("customresourcedefinitions.apiextensions.k8s.io", thing("CustomResourceDefinition", spec={"group": "g.io"}),
     'must be spec.names.plural+"."+spec.group'),
]  # fmt: skip


@pytest.mark.parametrize(("key", "obj", "message"), BAD, ids=[f"{n}-{key}" for n, (key, _, _) in enumerate(BAD)])
def test_what_is_wrong_is_said_in_upstreams_words(key: str, obj: Obj, message: str) -> None:
    obj = copy.deepcopy(obj)
    strategy(key).default(obj)
    found = [f"{cause.field}: {cause.message}" for cause in strategy(key).validate(obj)]
    assert any(message in text for text in found), found


UPDATES: list[tuple[str, Obj, Obj, str]] = [
    ("deployments.apps", workload(), workload(selector={"matchLabels": {"a": "b", "c": "d"}}),
     "spec.selector: Invalid value"),
    ("statefulsets.apps", workload("StatefulSet", serviceName="a"), workload("StatefulSet", serviceName="b"),
     "updates to statefulset spec for fields other than"),
    ("secrets", thing("Secret", immutable=True, data={"a": ""}), thing("Secret", immutable=True, data={"a": "eA=="}),
     "data: Forbidden: field is immutable when `immutable` is set"),
    ("configmaps", thing("ConfigMap", immutable=True), thing("ConfigMap"), "immutable: Forbidden: field is immutable"),
    ("pods", pod(), pod(hostPID=True), "pod updates may not change fields other than `spec.containers[*].image`"),
    ("pods", pod(tolerations=[{"key": "a", "operator": "Exists"}]), pod(),
     "existing toleration can not be modified except its tolerationSeconds"),
    ("pods", pod(activeDeadlineSeconds=5), pod(activeDeadlineSeconds=6), "must be less than or equal to previous value"),
    ("services", service(clusterIP="10.96.0.5", clusterIPs=["10.96.0.5"]),
     service(clusterIP="10.96.0.6", clusterIPs=["10.96.0.6"]), "may not change once set"),
    ("persistentvolumeclaims", thing("PersistentVolumeClaim", spec={"accessModes": ["ReadWriteOnce"]}),
     thing("PersistentVolumeClaim", spec={"accessModes": ["ReadOnlyMany"]}), "spec is immutable after creation"),
    ("priorityclasses.scheduling.k8s.io", thing("PriorityClass", value=1), thing("PriorityClass", value=2),
     "value: Forbidden: may not be changed in an update."),
    ("rolebindings.rbac.authorization.k8s.io", thing("RoleBinding", roleRef={"name": "a"}),
     thing("RoleBinding", roleRef={"name": "b"}), "cannot change roleRef"),
    ("controllerrevisions.apps", thing("ControllerRevision", data={"a": 1}), thing("ControllerRevision", data={"a": 2}),
     "data: Invalid value"),
    ("storageclasses.storage.k8s.io", thing("StorageClass", provisioner="a.b/c"),
     thing("StorageClass", provisioner="a.b/d"), "provisioner: Forbidden: updates to provisioner are forbidden."),
]  # fmt: skip


@pytest.mark.parametrize(("key", "old", "new", "message"), UPDATES, ids=[row[0] for row in UPDATES])
def test_what_may_not_change(key: str, old: Obj, new: Obj, message: str) -> None:
    old, new = copy.deepcopy(old), copy.deepcopy(new)
    for obj in (old, new):
        strategy(key).default(obj)
    found = [f"{cause.field}: {cause.message}" for cause in strategy(key).validate_update(new, old)]
    assert any(message in text for text in found), found


def test_a_pods_images_deadline_and_more_tolerations_may_change() -> None:
    old = pod()
    new = container(image="b:2")
    new["spec"] |= {"activeDeadlineSeconds": 60, "tolerations": [{"key": "a", "operator": "Exists"}]}
    assert strategy("pods").validate_update(new, old) == []


def test_what_is_probably_not_meant_is_a_warning() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    port = {"containerPort": 80, "protocol": "TCP"}
    odd = container(env=env, ports=[port, port], resources={"limits": {"memory": "1500m"}})
    odd["spec"]["nodeSelector"] = {"beta.kubernetes.io/os": "linux"}
    assert strategy("pods").validate(odd) == []
    assert strategy("pods").warnings(odd) == [
        'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead',
        'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply',
        "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
        'spec.containers[0].resources.limits[memory]: fractional byte value "1500m" is invalid, must be an integer',
        'spec.containers[0].resources.requests[memory]: fractional byte value "1500m" is invalid, must be an integer',
    ]
    deployed = workload()
    deployed["spec"]["template"]["spec"] = odd["spec"]
    assert (
        strategy("deployments.apps").warnings(deployed)[1].startswith("spec.template.spec.containers[0].env[1]: hides")
    )
    nameless = strategy("pods").warnings(container(env=[{}, {}]))  # refused besides, in words of its own
    assert nameless == [
        'spec.containers[0].env[1]: hides previous definition of "", which may be dropped when using apply'
    ]


# ---- generation and status -------------------------------------------------------------------------------------------


def created(key: str, obj: Obj) -> Obj:
    made = copy.deepcopy(obj)
    strategy(key).default(made)
    strategy(key).prepare_create(made, CTX)
    return made


def test_generation_is_the_servers_own() -> None:
    made = created(
        "deployments.apps", {**workload(), "metadata": {"name": "w", "generation": 7}, "status": {"replicas": 9}}
    )
    assert made["metadata"]["generation"] == 1
    assert made["status"] == {}
    same, more = copy.deepcopy(made), copy.deepcopy(made)
    same["metadata"]["generation"] = 40
    more["spec"]["replicas"] = 5
    strategy("deployments.apps").prepare_update(same, made, CTX)
    strategy("deployments.apps").prepare_update(more, made, CTX)
    assert (same["metadata"]["generation"], more["metadata"]["generation"]) == (1, 2)


def test_main_endpoint_and_status_write_only_their_half() -> None:
    old = created("pods", pod())
    for write, kept, changed in (("prepare_update", "status", "spec"), ("prepare_status_update", "spec", "status")):
        new = copy.deepcopy(old)
        new["spec"]["nodeName"] = "n"
        new["status"]["phase"] = "Running"
        new["metadata"]["annotations"] = {"a": "b"}
        arguments = (new, old, CTX) if write == "prepare_update" else (new, old)
        getattr(strategy("pods"), write)(*arguments)
        assert new[kept] == old[kept]
        assert new[changed] != old[changed]
        assert new["metadata"]["annotations"] == {"a": "b"}


def test_views_take_only_what_they_are_for() -> None:
    old = created("pods", container(resources={"requests": {"cpu": "1"}}))
    resized = copy.deepcopy(old)
    resized["spec"]["containers"][0] |= {"image": "other", "resources": {"requests": {"cpu": "2"}}}
    strategy("pods").prepare_view("resize", resized, old, CTX)
    assert resized["spec"]["containers"][0]["image"] == "a:1"
    assert resized["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "2"}}
    assert resized["metadata"]["generation"] == 2
    assert strategy("pods").validate_view("resize", resized, old) == []
    guaranteed = copy.deepcopy(old)
    guaranteed["spec"]["containers"][0]["resources"] = {}
    strategy("pods").prepare_view("resize", guaranteed, old, CTX)
    assert [c.field for c in strategy("pods").validate_view("resize", guaranteed, old)] == [
        "spec.containers[0].resources.requests"
    ]


def test_jobs_select_by_their_own_uid() -> None:
    job = {"kind": "Job", "metadata": {"name": "j", "uid": "u-1"}, "spec": {"template": {"spec": {"containers": []}}}}
    made = created("jobs.batch", job)
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels["job-name"] == labels["batch.kubernetes.io/job-name"] == "j"


def test_namespaces_are_born_active_and_held() -> None:
    made = created("namespaces", {"kind": "Namespace", "metadata": {"name": "n"}, "spec": {}, "status": {"phase": "X"}})
    assert made["spec"] == {"finalizers": ["kubernetes"]}
    assert made["status"] == {"phase": "Active"}
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}


# ---- deletion --------------------------------------------------------------------------------------------------------


def running(**spec: Any) -> Obj:
    made = pod(nodeName="n", **spec)
    made["metadata"]["generation"] = 1
    made["status"] = {"phase": "Running"}
    return made


def test_a_running_pod_gets_its_grace_and_it_can_only_shrink() -> None:
    mine = running(terminationGracePeriodSeconds=20)
    assert strategy("pods").before_delete(mine, {}, CLOCK) == "marked"
    assert mine["metadata"]["deletionGracePeriodSeconds"] == 20
    assert mine["metadata"]["generation"] == 2
    first = mine["metadata"]["deletionTimestamp"]
    assert strategy("pods").before_delete(mine, {"gracePeriodSeconds": 60}, CLOCK) == "pending"
    assert strategy("pods").before_delete(mine, {}, CLOCK) == "pending"
    assert strategy("pods").before_delete(mine, {"gracePeriodSeconds": 5}, CLOCK) == "marked"
    assert mine["metadata"]["deletionTimestamp"] < first
    assert strategy("pods").before_delete(mine, {"gracePeriodSeconds": 0}, CLOCK) == "now"


@pytest.mark.parametrize("change", [{"spec": {"containers": []}}, {"status": {"phase": "Succeeded"}}])
def test_a_pod_nobody_runs_goes_at_once(change: Obj) -> None:
    assert strategy("pods").before_delete({**running(), **change}, {}, CLOCK) == "now"


def test_other_kinds_have_no_grace() -> None:
    assert strategy("configmaps").before_delete(thing("ConfigMap"), {"gracePeriodSeconds": 9}, CLOCK) == "now"


# ---- quality of service, names, schedules ----------------------------------------------------------------------------

LEVELS = [{}, {"cpu": "1"}, {"cpu": "1", "memory": "1Gi"}]


@pytest.mark.parametrize(("requests", "limits"), list(itertools.product(LEVELS, LEVELS)))
def test_quality_of_service(requests: Obj, limits: Obj) -> None:
    made = container(resources={"requests": dict(requests), "limits": dict(limits)})
    full = limits == LEVELS[2]
    expected = "BestEffort" if not requests and not limits else "Guaranteed" if full else "Burstable"
    assert qos_class(made) == expected


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True))
def test_labels_are_subdomains_and_values(name: str) -> None:
    assert names.label(name) == names.subdomain(name) == names.label_value(name) == names.qualified(name) == ""


@given(st.text(max_size=12))
def test_a_name_rule_never_fails(text: str) -> None:
    for rule in (names.label, names.subdomain, names.label_1035, names.qualified, names.label_value, names.env_name,
                 names.port_name, names.config_key, names.path_segment, names.ip, names.cidr):  # fmt: skip
        assert isinstance(rule(text), str)


@pytest.mark.parametrize(
    "schedule", ["* * * * *", "*/5 1-3 1,15 jan-mar MON", "@hourly", "@every 1h30m", "0 0 ? * 0-6/2"]
)
def test_good_schedules(schedule: str) -> None:
    assert cron_problem(schedule) == ""


@pytest.mark.parametrize("schedule", ["* * * *", "60 * * * *", "5-1 * * * *", "*/0 * * * *", "@never", "x * * * *"])
def test_bad_schedules(schedule: str) -> None:
    assert cron_problem(schedule)


# ---- every kind ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", table.ROWS, ids=lambda row: row.qualified + "-" + row.version)
def test_hooks_survive_the_emptiest_object(row: Row) -> None:
    made: Obj = {"apiVersion": row.api_version, "kind": row.kind, "metadata": {"name": "x", "uid": "u"}}
    hooks = strategies.for_row(row)
    hooks.default(made)
    assert isinstance(hooks.fields(made), dict)
    assert all(isinstance(value, str) for value in hooks.fields(made).values())
    assert hooks.field_names() == frozenset(hooks.fields(made))
    hooks.prepare_create(made, CTX)
    assert isinstance(hooks.validate(made), list)
    again = copy.deepcopy(made)
    hooks.prepare_update(again, made, CTX)
    assert isinstance(hooks.validate_update(again, made), list)
    hooks.prepare_status_update(again, made)
    assert isinstance(hooks.validate_status_update(again, made), list)
    assert again["metadata"].get("generation") == made["metadata"].get("generation")
