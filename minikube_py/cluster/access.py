"""Talking to a profile's API server from the cluster commands.

Who uses it: up, down, node, status and sample. Invariant: waits are bounded and end in a ClusterError that says where to look.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

from minikube_py.api.errors import APIError, ServiceUnavailable
from minikube_py.api.gvr import NODES
from minikube_py.api.meta import condition_is, name_of
from minikube_py.api.types import Obj
from minikube_py.client import kubeconfig
from minikube_py.client.rest import Client
from minikube_py.cluster import process
from minikube_py.cluster.components import components
from minikube_py.cluster.errors import ClusterError
from minikube_py.cluster.profile import Profile

_HOPELESS = 3


def client(profile: Profile) -> Client:
    """A client with the administrator's rights."""
    return Client(kubeconfig.load(str(profile.kubeconfig)), user_agent="minikube-py/cli")


def scheduling(profile: Profile, namespace: str, pod: str) -> Obj:
    """The scheduler's latest attempt to place a pod (`Attempt.as_object`). Raises APIError."""
    address, port = profile.controllers_address
    config = replace(kubeconfig.load(str(profile.kubeconfig)), server=f"https://{address}:{port}")
    path = f"/scheduling/{quote(namespace)}/{quote(pod)}"
    attempt: Obj = json.loads(Client(config, user_agent="minikube-py/cli").request("GET", path)[2])
    return attempt


def wait_ready(profile: Profile, seconds: float) -> None:
    """Until the API server says it is ready. Raises ClusterError with the end of its log, at once when it keeps dying."""
    api = client(profile)
    before = _deaths(profile)

    def settled() -> bool:
        return _deaths(profile) >= before + _HOPELESS or api.request("GET", "/readyz")[0] == 200

    if not until(settled, seconds) or _deaths(profile) >= before + _HOPELESS:
        log = profile.logs / "apiserver.log"
        last = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
        said = f"; it last said: {last[0]}" if last else ""
        raise ClusterError(f"the API server does not become ready{said} (minikube-py logs apiserver -p {profile.name})")


def _deaths(profile: Profile) -> int:
    """How often the supervisor had to restart the API server."""
    try:
        report = json.loads((profile.directory / "run" / "components.json").read_text())
    except (FileNotFoundError, ValueError):
        return 0
    return int(report.get("apiserver", {}).get("restarts", 0))


def wait_components(profile: Profile, seconds: float) -> None:
    """Until every process that should run does. Raises ClusterError naming one that does not."""
    run = profile.directory / "run"
    names = [component.name for component in components(profile)]

    def down() -> list[str]:
        return [name for name in names if not process.read_pid(run / f"{name}.pid")]

    if not until(lambda: not down(), seconds):
        raise ClusterError(f"not running after {seconds:.0f} s: {', '.join(down())} (minikube-py logs {down()[0]})")


def wait_nodes(profile: Profile, seconds: float) -> None:
    """Until every node that should run is Ready. Raises ClusterError naming the ones that are not."""
    api = client(profile)
    wanted = {node.name for node in profile.nodes if not node.stopped}
    missing = set(wanted)

    def ready() -> bool:
        missing.clear()
        missing.update(wanted - {name_of(n) for n in api.list(NODES)["items"] if condition_is(n, "Ready")})
        return not missing

    if not until(ready, seconds):
        names = ", ".join(sorted(missing))
        raise ClusterError(f"not Ready within {seconds:.0f} s: {names} (minikube-py logs kubelet-{min(missing)})")


def nodes(profile: Profile) -> list[Obj]:
    """The nodes the API knows; none when it does not answer."""
    try:
        return list(client(profile).list(NODES)["items"])
    except APIError:
        return []


def until(check: Callable[[], bool], seconds: float, interval: float = 0.02) -> bool:
    """Poll `check` until it is true; the API not answering yet counts as false. Out: whether it came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if check():
                return True
        except ServiceUnavailable:
            pass
        time.sleep(interval)
    return False
