"""Dynamic resource allocation on real Docker: our example driver registers over real sockets, and pods see their devices."""

import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubelet.devices import gpu_file
from kubelet.dra import cdi, drivers
from kubelet.dra.drivers import ClaimError
from kubelet.options import Options
from minikube_py.api import resourceclaims as rc
from minikube_py.api import yaml
from minikube_py.api.clock import REAL
from minikube_py.api.gvr import DEVICECLASSES, PODS, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES, RESOURCESLICES
from minikube_py.api.types import Obj
from minikube_py.client.informer import SharedInformers
from tests import harness
from tests.controllers.play import running
from tests.harness import eventually
from tests.kubelet.conftest import Nodes, container, is_ready
from tests.kubelet.test_persistent_volumes import events, told
from tests.scheduler.build import options as scheduler_options
from tests.scheduler.devices import claim, device_class, request, template


def _example() -> Any:
    spec = importlib.util.spec_from_file_location("dra_driver", harness.ROOT / "examples" / "dra_driver.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["dra_driver"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLE = _example()
CARDS = gpu_file.parse(yaml.load((harness.ROOT / "examples" / "gpus.yaml").read_text()), "test").cards
SHOW = "env | grep ^GPU_DEVICE | sort > /dev/termination-log"


class Driver:
    """The example driver on one node, with a class of its own name."""

    def __init__(self, nodes: Nodes, node: Options, name: str) -> None:
        self.nodes, self.node, self.name, self.cdi = nodes, node, name, Path(node.cdi_spec_dirs[0])
        self.service = EXAMPLE.Driver(nodes.client, name, node.node_name, CARDS, self.cdi)
        self.stop: Callable[[], None] = lambda: None

    def start(self) -> None:
        self.stop = EXAMPLE.serve(self.service, Path(self.node.root_dir))

    def registered(self) -> bool:
        try:
            self.nodes.running[self.node.node_name].drivers.get(self.name)
        except ClaimError:
            return False
        return True

    def calls(self, method: str) -> list[str]:
        return [name for called, names in self.service.calls for name in names if called == method]


@pytest.fixture(scope="module")
def gpu_node(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Options:
    return nodes.start(nodes.options(3, cdi_spec_dirs=(str(tmp_path_factory.mktemp("cdi")),)))


@pytest.fixture
def driver(nodes: Nodes, gpu_node: Options, namespace: str) -> Iterator[Driver]:
    yield from _driven(nodes, gpu_node, namespace)


def _driven(nodes: Nodes, node: Options, namespace: str) -> Iterator[Driver]:
    """With a scheduler and the claims' controller that serve this namespace's pods."""
    from controllers.scheduler.main import start

    one = Driver(nodes, node, f"{namespace}.example.com")
    nodes.client.create(DEVICECLASSES, device_class(namespace, f"device.driver == '{one.name}'"))
    one.start()
    informers = SharedInformers(nodes.client)
    scheduler = start(nodes.client, informers, REAL, scheduler_options(namespace))
    informers.start()
    with running(nodes.client, "resource-claim"):
        eventually(one.registered, what="registered")
        yield one
    scheduler.stop(1)
    informers.stop()
    one.stop()
    nodes.client.delete(DEVICECLASSES, namespace)
    nodes.client.delete(RESOURCESLICES, f"{node.node_name}-{one.name}")


def pod(nodes: Nodes, namespace: str, script: str, *names: str, made_from: bool = False, **spec: Any) -> Obj:
    """A pod with one container that has these claims (or claims from these templates); our scheduler places it."""
    field = "resourceClaimTemplateName" if made_from else "resourceClaimName"
    claims = [{"name": name} for name in names]
    body = container("main", ["sh", "-c", script], resources={"claims": claims})
    entries = [{"name": name, field: name} for name in names]
    return nodes.client.create(PODS, {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "pod-", "namespace": namespace},
        "spec": {
            "schedulerName": namespace, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1,
            "restartPolicy": "Never", "containers": [body], "resourceClaims": entries, **spec,
        },
    })  # fmt: skip


def _create_claim(nodes: Nodes, namespace: str, name: str, *requests: Obj) -> None:
    made = claim(name, *(requests or [request(wanted=namespace)]), namespace=namespace)
    nodes.client.create(RESOURCECLAIMS, made)


def _of(namespace: str, model: str) -> str:
    return f"device.attributes['{namespace}.example.com'].model.contains('{model}')"


def test_a_pod_sees_its_device_and_gives_it_back(nodes: Nodes, namespace: str, driver: Driver) -> None:
    made = template("t", request("gpu", _of(namespace, "T4"), wanted=namespace), namespace=namespace)
    nodes.client.create(RESOURCECLAIMTEMPLATES, made)
    user = pod(nodes, namespace, SHOW, "t", made_from=True)
    assert told(nodes, user) == f"GPU_DEVICE_2={CARDS[2].uuid}"
    (noted,) = nodes.get(user)["status"]["resourceClaimStatuses"]
    name = noted["resourceClaimName"]
    eventually(lambda: driver.calls("unprepare") == [name], what="given back although the pod is still there")
    eventually(lambda: not nodes.client.list(RESOURCECLAIMS, namespace)["items"], what="a generated claim goes")
    assert driver.calls("prepare") == [name] and not list(driver.cdi.glob(f"{driver.name}*"))
    nodes.delete(user)
    nodes.wait_gone(user)


def test_a_shared_claim_and_a_container_with_one_request_of_it(nodes: Nodes, namespace: str, driver: Driver) -> None:
    _create_claim(nodes, namespace, "c", request("x", wanted=namespace), request("y", wanted=namespace, count=2))
    first = pod(nodes, namespace, "sleep 3600", "c")
    nodes.wait(first, is_ready)
    entries = [{"name": "c", "resourceClaimName": "c"}]
    partly = container("main", ["sh", "-c", SHOW], resources={"claims": [{"name": "c", "request": "y"}]})
    second = pod(nodes, namespace, "", resourceClaims=entries, containers=[partly])
    assert told(nodes, second).splitlines() == [f"GPU_DEVICE_{n}={CARDS[n].uuid}" for n in (1, 2)]
    nodes.delete(second)
    nodes.wait_gone(second)
    assert driver.calls("prepare") == ["c"] and not driver.calls("unprepare"), "the first pod still uses it"
    nodes.delete(first)
    nodes.wait_gone(first)
    assert driver.calls("unprepare") == ["c"]
    eventually(lambda: not rc.allocation_of(nodes.client.get(RESOURCECLAIMS, "c", namespace)), what="free again")


def test_a_pod_waits_for_its_driver(nodes: Nodes, namespace: str, driver: Driver) -> None:
    driver.stop()
    eventually(lambda: not driver.registered())
    _create_claim(nodes, namespace, "c")
    waiting = pod(nodes, namespace, "sleep 3600", "c")
    words = (
        f"Failed to prepare dynamic resources: prepare dynamic resources: DRA driver {driver.name} is not registered"
    )
    eventually(lambda: f"FailedPrepareDynamicResources: {words}" in events(nodes, waiting))
    driver.start()
    nodes.wait(waiting, is_ready)
    driver.stop()
    eventually(lambda: not driver.registered())
    nodes.delete(waiting)
    driver.start()
    nodes.wait_gone(waiting)
    assert driver.calls("unprepare") == ["c"]


@pytest.mark.parametrize("call", ["prepare", "unprepare"])
def test_a_driver_that_fails_before_and_after_its_work(
    nodes: Nodes, namespace: str, driver: Driver, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    m, original, left = driver.service.m, getattr(driver.service, call), ["before", "after"]
    kind = m[f"Node{call.title()}ResourceResponse"]

    def failing(asked: Any) -> Any:
        when = left.pop(0) if left else ""
        answer = original(asked) if when != "before" else None
        if not when:
            return answer
        refusals = {one.uid: kind(error=f"made up: {when}") for one in asked.claims}
        return m[f"Node{call.title()}ResourcesResponse"](claims=refusals)

    driver.stop()
    monkeypatch.setattr(driver.service, call, failing)
    driver.start()
    eventually(driver.registered)
    _create_claim(nodes, namespace, "c")
    user = pod(nodes, namespace, "sleep 3600", "c")
    nodes.wait(user, is_ready)
    nodes.delete(user)
    nodes.wait_gone(user)
    assert not left and not list(driver.cdi.glob(f"{driver.name}*"))
    assert call == "unprepare" or "failed for ResourceClaim c: made up: before" in events(nodes, user)


def test_a_claim_replaced_by_force_waits_for_the_end_of_the_old_one(
    nodes: Nodes, namespace: str, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, blocked = driver.service.unprepare, [True]

    def refusing(asked: Any) -> Any:
        if blocked:
            raise OSError("made up: busy")
        return original(asked)

    driver.stop()
    monkeypatch.setattr(driver.service, "unprepare", refusing)
    driver.start()
    eventually(driver.registered)
    _create_claim(nodes, namespace, "c")
    old = pod(nodes, namespace, "sleep 3600", "c")
    nodes.wait(old, is_ready)
    nodes.delete(old, grace_period_seconds=0)
    nodes.client.delete(RESOURCECLAIMS, "c", namespace)
    eventually(lambda: not nodes.client.list(RESOURCECLAIMS, namespace)["items"])
    _create_claim(nodes, namespace, "c")
    new = pod(nodes, namespace, "sleep 3600", "c")
    eventually(lambda: "old ResourceClaim with same name c and different UID" in events(nodes, new))
    blocked.clear()
    nodes.wait(new, is_ready)
    nodes.delete(new)
    nodes.wait_gone(new)


def test_a_claim_that_is_not_for_the_pod(nodes: Nodes, gpu_node: Options, namespace: str) -> None:
    _create_claim(nodes, namespace, "c")
    entries = [{"name": "c", "resourceClaimName": "c"}]
    made = nodes.pod(namespace, gpu_node, resourceClaims=entries)
    words = f"pod {made['metadata']['name']} ({made['metadata']['uid']}) is not allowed to use ResourceClaim c ("
    eventually(lambda: words in events(nodes, made))
    nodes.delete(made)
    nodes.wait_gone(made)


def test_the_kubelet_restarts_in_between(nodes: Nodes, namespace: str, tmp_path: Path) -> None:
    """What one kubelet prepared, the next knows: a restarted container sees it, and it is given back once."""
    options = nodes.start(nodes.options(8, cdi_spec_dirs=(str(tmp_path),)))
    with contextlib.contextmanager(_driven)(nodes, options, namespace) as driver:
        for name in ("c", "d"):
            _create_claim(nodes, namespace, name)
        script = "env | grep -q GPU_DEVICE || exit 1; [ -f /seen/once ] && sleep 3600; touch /seen/once; sleep 6"
        body = container(
            "main", ["sh", "-c", script], resources={"claims": [{"name": "c"}]},
            volumeMounts=[{"name": "seen", "mountPath": "/seen"}],
        )  # fmt: skip
        stays = pod(
            nodes,
            namespace,
            "",
            "c",
            containers=[body],
            volumes=[{"name": "seen", "emptyDir": {}}],
            restartPolicy="OnFailure",
        )
        goes = pod(nodes, namespace, "sleep 3600", "d")
        nodes.wait(stays, is_ready), nodes.wait(goes, is_ready)
        nodes.stop(options)
        nodes.delete(goes, grace_period_seconds=0)
        nodes.start(options)
        eventually(lambda: driver.calls("unprepare") == ["d"], what="a pod that was deleted by force meanwhile")
        nodes.delete(stays)
        nodes.wait_gone(stays)
        assert driver.calls("unprepare") == ["d", "c"] and not list(tmp_path.glob("*.json"))
    nodes.stop(options)


def test_slices_of_a_driver_that_stays_away_go(
    nodes: Nodes, gpu_node: Options, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(nodes, gpu_node, f"{namespace}.example.org")
    driver.start()
    eventually(driver.registered)

    def listed() -> bool:
        found = nodes.client.list(RESOURCESLICES, field_selector=f"spec.driver={driver.name}")["items"]
        return bool(found)

    monkeypatch.setattr(drivers, "_GRACE", 3.0)
    driver.stop()
    eventually(lambda: not driver.registered())
    driver.start()
    eventually(driver.registered)
    REAL.sleep(3.5)
    assert listed(), "it came back in time"
    driver.stop()
    eventually(lambda: not listed())


# -- CDI -------------------------------------------------------------------------------------------------------------------


def _write(directory: Path, name: str, kind: str, devices: Obj, edits: Obj | None = None) -> None:
    made = [{"name": device, "containerEdits": own} for device, own in devices.items()]
    spec = {"cdiVersion": "0.6.0", "kind": kind, "devices": made, **({"containerEdits": edits} if edits else {})}
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(json.dumps(spec) if name.endswith("json") else yaml.dump(spec))


def test_cdi_edits(tmp_path: Path) -> None:
    low, high = tmp_path / "etc", tmp_path / "run"
    node, mount = (
        {"path": "/dev/a", "hostPath": "/dev/null"},
        {"hostPath": "/x", "containerPath": "/y", "options": ["ro", "bind"]},
    )
    _write(
        low,
        "a.json",
        "v.com/gpu",
        {"a": {"env": ["A=low"]}, "b": {"deviceNodes": [node, {"path": "/dev/b"}]}},
        {"env": ["ALL=1"]},
    )
    _write(high, "b.yaml", "v.com/gpu", {"a": {"env": ["A=high"], "mounts": [mount]}})
    (high / "broken.json").write_text("{")
    (high / "other.txt").write_text("nothing")
    found = cdi.grant(["v.com/gpu=a", "v.com/gpu=b", "v.com/gpu=a"], [str(low), str(high), str(tmp_path / "absent")])
    assert found.env == {"ALL": "1", "A": "high"}
    assert [(one.host_path, one.container_path, one.read_only) for one in found.mounts] == [("/x", "/y", True)]
    assert [(one.host_path, one.container_path) for one in found.devices] == [
        ("/dev/null", "/dev/a"),
        ("/dev/b", "/dev/b"),
    ]
    with pytest.raises(ClaimError, match="unresolvable CDI device"):
        cdi.grant(["v.com/nic=a"], [str(low)])
    _write(low, "c.json", "v.com/hooked", {"a": {"hooks": [{"hookName": "createContainer", "path": "/bin/x"}]}})
    with pytest.raises(ClaimError, match="CDI edits of the kind hooks cannot be made on this engine"):
        cdi.grant(["v.com/hooked=a"], [str(low)])
