"""A profile: one cluster's name, its directory, and its desired state (`cluster.json`).

Who uses it: every command of `minikube-py`, and the supervisor, which obeys the desired state written here.
Invariant: `cluster.json` is replaced atomically and holds only what was *asked for*; what *is* lives in the API, in
container labels and in the process table. Address ranges follow from the profile's index alone, so two profiles never meet.
"""

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from minikube_py.cluster.errors import ClusterError

DEFAULT = "minikube-py"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?")
MAX_PROFILES = 10
MAX_NODES = 200
FIRST_POD_NET, FIRST_SERVICE_NET = 244, 96
_BALANCER_NET = 250
PLAN_NODES = 3


@dataclass(frozen=True)
class Node:
    """One node as asked for. `index` fixes its addresses and is never reused while the profile lives."""

    name: str
    index: int
    stopped: bool = False


@dataclass(frozen=True)
class Profile:
    """What the user asked for. Times and sizes are in the timing and capacity tables, not here.

    `listen` is the address at which other machines reach the API server, "" for none.
    """

    name: str
    index: int
    port: int
    store: str = "sqlite"
    timing: str = "classroom"
    runtime: str = "docker"
    gpus: str = ""
    listen: str = ""
    scheduler_config: str = ""
    cpu_milli: int = 1000
    memory_bytes: int = 1 << 30
    next_node: int = 1
    nodes: tuple[Node, ...] = field(default_factory=tuple)

    @property
    def directory(self) -> Path:
        return profiles_directory() / self.name

    @property
    def pki(self) -> Path:
        return self.directory / "pki"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.directory / "kubeconfig"

    @property
    def context(self) -> str:
        """The name of its context in the user's kubeconfig."""
        return self.name if self.name == DEFAULT else f"{DEFAULT}-{self.name}"

    @property
    def network(self) -> str:
        """The Docker network that carries its pods."""
        return f"minikube-py-{self.name}"

    @property
    def bridge(self) -> str:
        """The Linux bridge of that network (interface names hold 15 bytes, so the profile is hashed)."""
        return "mkpy" + sha256(self.name.encode()).hexdigest()[:8]

    @property
    def pod_cidr(self) -> str:
        return f"10.{FIRST_POD_NET + self.index}.0.0/16"

    @property
    def gateway(self) -> str:
        """The bridge's own address, at which pods and nodes find the API server."""
        return f"10.{FIRST_POD_NET + self.index}.0.1"

    @property
    def controllers_address(self) -> tuple[str, int]:
        """Where the controllers serve their health, metrics and the scheduler's explanations."""
        return (self.gateway, 10257) if self.runs_containers else ("127.0.0.1", self.port + 1000)

    @property
    def runs_containers(self) -> bool:
        """Whether its pods are processes of this machine, on a network of its own."""
        return self.runtime != "simulated"

    @property
    def service_cidr(self) -> str:
        return f"10.{FIRST_SERVICE_NET + self.index}.0.0/16"

    @property
    def balancer_cidr(self) -> str:
        """Addresses of load balancers; the pod network's addresses past its nodes', so this machine routes them already."""
        return f"10.{FIRST_POD_NET + self.index}.{_BALANCER_NET}.0/24"

    @property
    def api_service_ip(self) -> str:
        return f"10.{FIRST_SERVICE_NET + self.index}.0.1"

    @property
    def dns_ip(self) -> str:
        return f"10.{FIRST_SERVICE_NET + self.index}.0.10"

    @property
    def server(self) -> str:
        """The API server's URL on this machine."""
        return f"https://127.0.0.1:{self.port}"

    def node_cidr(self, node: Node) -> str:
        return f"10.{FIRST_POD_NET + self.index}.{node.index}.0/24"

    def node_ip(self, node: Node) -> str:
        return f"10.{FIRST_POD_NET + self.index}.{node.index}.1"

    def node_directory(self, node: Node) -> Path:
        return self.directory / "nodes" / node.name

    def node(self, name: str) -> Node:
        """The node called `name`. Raises ClusterError naming the ones there are."""
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes) or "none"
        raise ClusterError(f"no node {name!r} in profile {self.name!r} (nodes: {names})")

    def with_nodes(self, count: int) -> "Profile":
        """This profile grown by `count` fresh nodes."""
        if self.next_node + count - 1 > MAX_NODES:
            raise ClusterError(f"a profile holds at most {MAX_NODES} nodes")
        fresh = [Node(f"node-{i}", i) for i in range(self.next_node, self.next_node + count)]
        return replace(self, nodes=(*self.nodes, *fresh), next_node=self.next_node + count)

    def with_node(self, changed: Node) -> "Profile":
        """This profile with the node of the same name replaced."""
        return replace(self, nodes=tuple(changed if n.name == changed.name else n for n in self.nodes))

    def without_node(self, name: str) -> "Profile":
        return replace(self, nodes=tuple(n for n in self.nodes if n.name != name))

    def save(self) -> None:
        """Write `cluster.json` atomically."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self.directory / f".cluster.json.{os.getpid()}"
        temporary.write_text(json.dumps(asdict(self), indent=2) + "\n")
        temporary.replace(self.directory / "cluster.json")

    def remove(self) -> None:
        """Delete the profile's directory, and the parents it leaves empty."""
        remove_tree(self.directory)
        for parent in (profiles_directory(), home()):
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def remove_tree(directory: Path) -> None:
    """Delete a directory and everything in it; a missing one is fine."""
    shutil.rmtree(directory, ignore_errors=True)


def home() -> Path:
    return Path(os.environ.get("MINIKUBE_PY_HOME") or Path.home() / ".minikube-py")


def profiles_directory() -> Path:
    return home() / "profiles"


def load(name: str) -> Profile:
    """The profile called `name`. Raises ClusterError when there is none."""
    found = find(name)
    if found is None:
        known = ", ".join(sorted(p.name for p in load_all())) or "none"
        raise ClusterError(f"no cluster {name!r} here (there are: {known}); start one with: minikube-py up")
    return found


def find(name: str) -> Profile | None:
    """The profile called `name`, or None. Raises ClusterError when its file cannot be read."""
    path = profiles_directory() / name / "cluster.json"
    if not path.exists():
        return None
    try:
        data = json.loads(path.read_text())
        nodes = tuple(Node(**node) for node in data.pop("nodes"))
        return Profile(**data, nodes=nodes)
    except (ValueError, TypeError, KeyError) as error:
        raise ClusterError(
            f"{path} cannot be read ({error}); remove the profile with: minikube-py down -p {name}"
        ) from None


def load_all() -> list[Profile]:
    directory = profiles_directory()
    names = sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []
    return [profile for name in names if (profile := find(name)) is not None]


def check_name(name: str) -> str:
    """`name` itself if it may be a profile's. Raises ClusterError."""
    if not _NAME.fullmatch(name):
        raise ClusterError(
            f"{name!r} cannot name a profile: use lower-case letters, digits and '-', at most 30 characters"
        )
    return name


def free_index(routed: frozenset[str] = frozenset()) -> int:
    """The smallest index whose addresses no profile uses and this machine does not route. Raises ClusterError if none is left.

    In: `routed` holds the 16-bit prefixes ("10.244") the machine has routes to.
    """
    used = {profile.index for profile in load_all()}
    for index in range(MAX_PROFILES):
        if index not in used and not routed & {f"10.{FIRST_POD_NET + index}", f"10.{FIRST_SERVICE_NET + index}"}:
            return index
    raise ClusterError(
        f"no address range from 10.{FIRST_POD_NET}.0.0/16 to 10.{FIRST_POD_NET + MAX_PROFILES - 1}.0.0/16 is free "
        f"together with its Services' (10.{FIRST_SERVICE_NET}.0.0/16 to 10.{FIRST_SERVICE_NET + MAX_PROFILES - 1}.0.0/16); "
        "take a profile down (minikube-py status --all) or see: ip route"
    )
