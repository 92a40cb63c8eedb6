"""What a check or a scene gets to look at and to break: one cluster, one student's parameters.

Who makes it: grading (for the scene) and the pytest plugin (for checks). Invariants: lookups of what the student should have
made raise `CheckFailed`; everything else that fails is `Infrastructure`; nodes that were broken are whole after `mend`.
"""

import base64
import contextlib
import functools
import random
from collections.abc import Callable
from typing import TypeVar

from minikube_py.api.clock import REAL, Clock
from minikube_py.api.errors import AlreadyExists, Forbidden, Invalid, NotFound
from minikube_py.api.gvr import GVR, NAMESPACES, NODES, PODS, SECRETS, SERVICEACCOUNTS, SERVICES, new_object
from minikube_py.api.meta import condition_is, is_terminating, name_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client, Config
from minikube_py.cluster import access, nodes
from minikube_py.cluster import profile as profiles
from minikube_py.cluster.profile import Profile
from minikube_py.labkit import cleanup, observe
from minikube_py.labkit.containers import Containers
from minikube_py.labkit.errors import CheckFailed, Infrastructure
from minikube_py.labkit.history import History
from minikube_py.labkit.params import Params

T = TypeVar("T")


class World:
    """`params` are the student's values, `nonce` is fresh in every run, `chance` a random generator seeded with it."""

    def __init__(
        self, profile: str, params: Params, *, nonce: str = "", manifests: list[Obj] | None = None, clock: Clock = REAL
    ) -> None:  # fmt: skip
        self.profile_name, self.params, self.nonce, self.clock = profile, params, nonce, clock
        self.manifests = manifests or []
        self.chance = random.Random(nonce)
        self.notes: list[str] = []
        self.containers = Containers(profile)

    @property
    def profile(self) -> Profile:
        """The cluster's desired state, read anew: faults change it."""
        return profiles.load(self.profile_name)

    @functools.cached_property
    def client(self) -> Client:
        """A client with the administrator's rights."""
        return access.client(self.profile)

    def text(self, name: str) -> str:
        """A parameter as text."""
        return str(self.params[name])

    def number(self, name: str) -> int:
        return int(self.params[name])

    def fresh(self, what: str) -> str:
        """A value nobody could know before this run."""
        return f"{what}-{self.nonce}-{self.chance.randrange(10**6):06}"

    def note(self, text: str) -> None:
        """Something worth knowing about the running check, shown whether it passes or not."""
        self.notes.append(text)

    def eventually(self, look: Callable[[], T], *, expected: str, within: float, where: str = "") -> T:
        """`observe.eventually` on this world's clock."""
        return observe.eventually(look, expected=expected, within=within, where=where, clock=self.clock)

    # -- objects ------------------------------------------------------------------------------------------------------

    def get(self, resource: GVR, name: str, namespace: str = "") -> Obj:
        """An object that the README asks for. Raises CheckFailed when it is not there."""
        try:
            return self.client.get(resource, name, namespace)
        except NotFound:
            there = ", ".join(name_of(o) for o in self.client.list(resource, namespace)["items"]) or "none"
            place = f" in namespace {namespace}" if namespace else ""
            raise CheckFailed(
                f"a {resource.kind} named {name!r}{place}", f"the {resource.plural} there: {there}",
                f"kubectl get {resource.plural}" + (f" -n {namespace}" if namespace else " -A"),
            ) from None  # fmt: skip

    def pods(self, namespace: str, selector: str = "") -> list[Obj]:
        """The pods of a namespace that are not being deleted."""
        found = self.client.list(PODS, namespace, label_selector=selector)["items"]
        return [pod for pod in found if not is_terminating(pod)]

    def ready_pod(self, namespace: str, name: str, within: float) -> Obj:
        """The pod, once it is Ready. Raises CheckFailed: at once when it does not exist or has ended."""
        self.get(PODS, name, namespace)

        def look() -> Obj:
            pod = self.client.get(PODS, name, namespace)
            if condition_is(pod, "Ready"):
                return pod
            ended = pod["status"].get("phase") in ("Succeeded", "Failed")
            raise (observe.Hopeless if ended else observe.NotYet)(describe_pod(pod))

        expected, where = f"Pod {name} is Ready", f"kubectl describe pod {name} -n {namespace}"
        return self.eventually(look, expected=expected, within=within, where=where)

    def replace_data(self, resource: GVR, name: str, namespace: str, key: str, value: str) -> None:
        """Edit one key of a ConfigMap or Secret, as somebody else would."""
        if resource == SECRETS:
            value = base64.b64encode(value.encode()).decode()
        self.get(resource, name, namespace)
        try:
            self.client.patch(resource, name, {"data": {key: value}}, namespace)
        except (Invalid, Forbidden) as error:
            raise CheckFailed(f"{resource.kind} {name} can be edited", error.message) from None

    def recreate(self, resource: GVR, name: str, namespace: str) -> None:
        """Delete the object and create it again from the manifest that was handed in."""
        wanted = next(
            (m for m in self.manifests if m.get("kind") == resource.kind and name_of(m) == name), None
        )  # fmt: skip
        if wanted is None:
            raise CheckFailed(f"a manifest of {resource.kind} {name!r} among the submitted files", "there is none")
        with contextlib.suppress(NotFound):
            self.client.delete(resource, name, namespace, grace_period_seconds=1)
        observe.eventually(
            lambda: self._gone(resource, name, namespace), expected=f"{resource.kind} {name} is gone", within=40,
            where=f"kubectl get {resource.plural} -n {namespace}", clock=self.clock,
        )  # fmt: skip
        try:
            self.client.create(resource, wanted, namespace)
        except (Invalid, Forbidden, AlreadyExists) as error:
            raise CheckFailed(f"{resource.kind} {name} can be created again", error.message) from None

    def _gone(self, resource: GVR, name: str, namespace: str) -> bool:
        try:
            self.client.get(resource, name, namespace)
        except NotFound:
            return True
        return False

    def service_url(self, namespace: str, name: str) -> str:
        """The URL of a Service's cluster IP and first port, reachable from this machine. Raises CheckFailed."""
        service = self.get(SERVICES, name, namespace)
        address, ports = service["spec"].get("clusterIP", ""), service["spec"].get("ports") or []
        if address in ("", "None") or not ports:
            raise CheckFailed(f"Service {name} has a cluster IP and a port", f"clusterIP {address!r}, ports {ports}")
        return f"http://{address}:{ports[0]['port']}/"

    # -- identities ---------------------------------------------------------------------------------------------------

    def as_service_account(self, namespace: str, name: str) -> Client:
        """A client that shows a fresh token of this ServiceAccount. Raises CheckFailed when there is no such account."""
        self.get(SERVICEACCOUNTS, name, namespace)
        request: Obj = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        made = self.client.create(SERVICEACCOUNTS, request, namespace, name=name, subresource="token")
        ca = (self.profile.pki / "ca.crt").read_bytes()
        return Client(
            Config(self.profile.server, ca_data=ca, token=made["status"]["token"]), user_agent="minikube-py/labs"
        )

    # -- faults -------------------------------------------------------------------------------------------------------

    def history(self) -> History:
        """The record of writes from now on."""
        return History(self.profile.logs / "audit.log")

    def ready_nodes(self) -> list[str]:
        return sorted(name_of(n) for n in self.client.list(NODES)["items"] if condition_is(n, "Ready"))

    def cut_power(self, node: str) -> None:
        nodes.stop(self.profile, node)

    def restore_power(self, node: str) -> None:
        """Power on again; the node is Ready when this returns."""
        nodes.start(self.profile, node)

    def mend(self) -> None:
        """Undo every node fault that is in force."""
        for node in nodes.partitioned(self.profile):
            nodes.heal(self.profile, node)
        for one in self.profile.nodes:
            if one.stopped:
                nodes.start(self.profile, one.name)

    # -- scenes -------------------------------------------------------------------------------------------------------

    def new_namespace(self, name: str) -> None:
        self.client.create(NAMESPACES, new_object(NAMESPACES, name))

    def remove_namespaces(self, *names: str) -> None:
        """Delete namespaces and all that is in them; done when this returns. Raises Infrastructure."""
        cleanup.remove_namespaces(self.client, names, self.clock)

    def absent(self, resource: GVR, name: str, namespace: str = "") -> None:
        """A baseline: this object does not exist yet. Raises Infrastructure."""
        if not self._gone(resource, name, namespace):
            raise Infrastructure(f"the scene is not clean: {resource.kind} {namespace}/{name} exists already")


def describe_pod(pod: Obj) -> str:
    """A pod's phase and what its containers wait for or ended with, in one line."""
    status = pod.get("status") or {}
    parts = [f"phase {status.get('phase', 'Pending')}"]
    for container in status.get("containerStatuses") or []:
        for state, detail in (container.get("state") or {}).items():
            code = f" with exit code {detail['exitCode']}" if "exitCode" in detail else ""
            reason = f" ({detail['reason']})" if detail.get("reason") else ""
            parts.append(
                f"{container['name']} is {state}{code}{reason}" + ("" if container.get("ready") else ", not ready")
            )
    return "; ".join(parts)
