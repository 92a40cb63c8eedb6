"""Static pods: files that run, the mirrors that show them, and what happens when either changes."""

from pathlib import Path

import pytest

from kubelet.options import Options
from kubelet.runtime.simulated import SimulatedRuntime
from kubelet.static_pods import pod_of
from minikube_py.api.clock import REAL
from minikube_py.api.gvr import PODS
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.conftest import Nodes, is_ready

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: main, image: "busybox:1", command: [serve, "{argument}"]}}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "manifests"
    made.mkdir()
    return made


def write(directory: Path, name: str, argument: str = "one") -> None:
    (directory / f"{name}.yaml").write_text(POD.format(name=name, argument=argument))


def mirror(nodes: Nodes, options: Options, name: str) -> Obj:
    return nodes.client.get(PODS, f"{name}-{options.node_name}", "default")


def test_what_a_file_becomes(tmp_path: Path) -> None:
    data = POD.format(name="web", argument="x").encode()
    pod = pod_of(data, tmp_path / "a", "node-1")
    assert pod["metadata"]["name"] == "web-node-1" and pod["spec"]["nodeName"] == "node-1"
    assert pod["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
    assert {"operator": "Exists", "effect": "NoExecute"} in pod["spec"]["tolerations"]
    assert pod_of(data, tmp_path / "a", "node-1") == pod
    assert pod_of(data, tmp_path / "a", "node-2")["metadata"]["uid"] != pod["metadata"]["uid"]
    for bad in (b"", b"kind: List", b"apiVersion: v1\nkind: Pod", b"{", b"a\n---\nb: 1"):
        with pytest.raises(ValueError):
            pod_of(bad, tmp_path / "a", "node-1")


def test_files_run_and_mirrors_show_them(simulated: Nodes, directory: Path) -> None:
    write(directory, "web")
    (directory / "broken.yaml").write_text("kind: [")
    (directory / ".hidden").write_text("no")
    options, runtime = simulated.options(pod_manifest_path=str(directory)), SimulatedRuntime(REAL)
    simulated.start(options, runtime)
    shown = harness.eventually(
        lambda: (m := mirror(simulated, options, "web")) and is_ready(m) and m, what="a Ready mirror"
    )
    assert shown["metadata"]["ownerReferences"][0]["kind"] == "Node"
    uid = shown["metadata"]["annotations"]["kubernetes.io/config.mirror"]
    assert len(runtime.list_all(uid)) == 2 and not runtime.list_all(shown["metadata"]["uid"])

    simulated.client.delete(PODS, shown["metadata"]["name"], "default")  # deleting the mirror does nothing to the pod

    def again() -> bool:
        new = mirror(simulated, options, "web")
        return new["metadata"]["uid"] != shown["metadata"]["uid"] and is_ready(new)

    harness.eventually(again, what="another mirror, Ready as well")
    assert len(runtime.list_all(uid)) == 2

    write(directory, "web", "two")  # another file is another pod
    harness.eventually(
        lambda: mirror(simulated, options, "web")["spec"]["containers"][0]["command"][1] == "two"
        and is_ready(mirror(simulated, options, "web")),
        what="the changed pod",
    )  # fmt: skip
    harness.eventually(lambda: not runtime.list_all(uid), what="the first pod's containers to go")

    simulated.running[options.node_name].manager.stop()
    kept, runtime.close = runtime.close, lambda: None  # type: ignore[method-assign]
    simulated.stop(options)
    runtime.close = kept  # type: ignore[method-assign]
    before = {summary.id for summary in runtime.list_all()}
    simulated.start(options, runtime)
    harness.eventually(lambda: is_ready(mirror(simulated, options, "web")), what="the pod with another kubelet")
    assert {summary.id for summary in runtime.list_all()} == before, "a restarted kubelet takes it over"

    (directory / "web.yaml").unlink()
    harness.eventually(lambda: not runtime.list_all(), what="no container left")
    name = f"web-{options.node_name}"

    def names() -> set[str]:
        return {pod["metadata"]["name"] for pod in simulated.client.list(PODS, "default")["items"]}

    harness.eventually(lambda: name not in names(), what="no mirror left")
    simulated.stop(options)
