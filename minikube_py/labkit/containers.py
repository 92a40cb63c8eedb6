"""Containers and processes as the engine sees them: what no status and no spec can fake.

Who calls it: checks, through `World.containers`. The engine is reached only through `minikube_py.cluster.engine`.
Invariant: only containers of the one profile are looked at or touched.
"""

from dataclasses import dataclass
from typing import Any

from minikube_py.cluster import engine
from minikube_py.labkit.errors import CheckFailed

_POD, _NAMESPACE, _UID = "io.kubernetes.pod.name", "io.kubernetes.pod.namespace", "io.kubernetes.pod.uid"
_CONTAINER, SANDBOX = "io.kubernetes.container.name", "POD"


@dataclass(frozen=True)
class Container:
    """One container of a pod. `name` is the one in the pod's spec."""

    id: str
    name: str
    pod: str
    namespace: str
    uid: str
    node: str
    running: bool


class Containers:
    """The containers of one profile."""

    def __init__(self, profile: str) -> None:
        self._profile = profile

    def find(self, *, namespace: str = "", pod: str = "", running_only: bool = True) -> list[Container]:
        """Application containers (no sandboxes), of one namespace or pod if asked."""
        labels = [f"{engine.PROFILE_LABEL}={self._profile}"]
        labels += [f"{_NAMESPACE}={namespace}"] if namespace else []
        labels += [f"{_POD}={pod}"] if pod else []
        listed = engine.connect().api.containers(all=not running_only, filters={"label": labels})
        return [_container(c) for c in listed if c["Labels"].get(_CONTAINER) != SANDBOX]

    def running(self, namespace: str, pod: str) -> list[Container]:
        """The running containers of a pod. Raises CheckFailed when there are none."""
        found = self.find(namespace=namespace, pod=pod)
        if not found:
            seen = "the engine runs none of its containers"
            raise CheckFailed(f"Pod {pod} runs", seen, f"kubectl -n {namespace} describe pod {pod}")
        return found

    def process_id(self, container: Container) -> int:
        """The host's process id of the container's process 1; 0 when it does not run."""
        return int(engine.connect().api.inspect_container(container.id)["State"]["Pid"])

    def command_line(self, container: Container) -> str:
        """What the engine was told to run, and the image's own configuration and history, as one text."""
        api: Any = engine.connect().api
        config: dict[str, Any] = api.inspect_container(container.id)["Config"]
        image = config["Image"]
        told = [config.get("Cmd"), config.get("Entrypoint"), config.get("Labels"), api.inspect_image(image)["Config"]]
        return f"{told} {api.history(image)}"

    def kill_process_1(self, container: Container) -> None:
        """SIGKILL to the container's process 1, behind the kubelet's back."""
        engine.connect().api.kill(container.id, "KILL")

    def execute(self, container: Container, command: list[str]) -> tuple[int, str]:
        """Run a command inside. Out: (exit code, its output)."""
        inside: Any = engine.connect().containers.get(container.id)
        code, output = inside.exec_run(command)
        return int(code), output.decode(errors="replace")


def _container(listed: dict[str, Any]) -> Container:
    labels = listed["Labels"]
    return Container(
        id=listed["Id"], name=labels.get(_CONTAINER, ""), pod=labels.get(_POD, ""), namespace=labels.get(_NAMESPACE, ""),
        uid=labels.get(_UID, ""), node=labels.get(engine.NODE_LABEL, ""), running=listed["State"] == "running",
    )  # fmt: skip
