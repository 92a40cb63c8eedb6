"""Networking: how fast a Service change reaches every node, what the cluster IP costs a connection, DNS answers.

Who calls it: __main__.py. Invariant: 1,000 Services without pods, 36,000 connections, seconds of questions; everything made
is deleted. A change has reached a node when the kernel reports the new rule of that node's table (`nft monitor`).
"""

import contextlib
import re
import shutil
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import dial
from bench.figures import Figure, missing, seconds
from bench.target import Options, Target
from minikube_py.api.gvr import ENDPOINTSLICES, SERVICES, new_object
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from minikube_py.cluster import process
from minikube_py.cluster.profile import Profile

_SERVICES, _ENDPOINTS, _CHANGES = 1000, 10, 10
_DNS_SECONDS, _DNS_RATE = 5, 20000
_WRITERS, _BURST = 15, 200


def measure(target: Target, options: Options) -> list[Figure]:
    """In: a profile of ours with nodes. Raises ClusterError, APIError."""
    profile, client = target.profile, target.client()
    if profile is None or profile.runtime != "docker":
        return [missing("Service change reaches every node", "needs a profile with real nodes")]
    with target.namespace() as namespace:
        figures = _dns(profile, client, namespace)
        figures += _burst(profile, client, namespace)
        figures += dial.measure(target, options, namespace)
        figures += _changes(profile, client, namespace)
    return figures


def _service(client: Client, namespace: str, name: str, port: int = 80) -> Obj:
    return client.create(SERVICES, new_object(SERVICES, name, namespace, spec={"ports": [{"port": port}]}))


def _slice(namespace: str, service: str, addresses: list[str], port: int = 8080) -> Obj:
    entry = new_object(ENDPOINTSLICES, f"{service}-1", namespace, addressType="IPv4", ports=[{"port": port}])
    entry["metadata"]["labels"] = {"kubernetes.io/service-name": service}
    return {**entry, "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses]}


class _Rules:
    """When each table of the profile got a rule that names an address."""

    def __init__(self, profile: Profile) -> None:
        self._prefix = f"minikube-py-{profile.name}/"
        self.tables = {f"{self._prefix}{name}" for name in ("host", *(n.name for n in profile.nodes if not n.stopped))}
        self.seen: dict[str, dict[str, float]] = {}
        self._process = subprocess.Popen(["nft", "monitor", "new", "rules"], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            now = time.monotonic()
            for word in line.split():
                if word in self.tables:
                    for address in re.findall(r"10\.255\.\d+\.\d+", line):
                        self.seen.setdefault(address, {}).setdefault(word, now)

    def wait(self, address: str, timeout: float = 30.0) -> float:
        """The moment the last table had it; infinite when one never did."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if len(self.seen.get(address, {})) == len(self.tables):
                return max(self.seen[address].values())
            time.sleep(0.002)
        return float("inf")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def _changes(profile: Profile, client: Client, namespace: str) -> list[Figure]:
    def fill(number: int) -> None:
        _service(client, namespace, f"s{number}")
        addresses = [f"10.254.{number // 25}.{number % 25 * _ENDPOINTS + n + 1}" for n in range(_ENDPOINTS)]
        client.create(ENDPOINTSLICES, _slice(namespace, f"s{number}", addresses))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fill, range(_SERVICES)))
    time.sleep(3)
    taken = []
    with contextlib.closing(_Rules(profile)) as rules:

        def change(address: str, timeout: float) -> float:
            began = time.monotonic()
            client.patch(ENDPOINTSLICES, "s7-1", {"endpoints": [{"addresses": [address]}]}, namespace)
            return rules.wait(address, timeout) - began

        # nft reads every table before it listens, and begins anew when one changes meanwhile: few tries, far apart.
        any(change(f"10.255.2.{n}", 8.0) < float("inf") for n in range(1, 5))
        for number in range(_CHANGES):
            time.sleep(0.3)
            taken.append(change(f"10.255.0.{number + 1}", 30.0))
    note = f"{_SERVICES} Services, {_SERVICES * _ENDPOINTS} endpoints, {len(rules.tables)} tables"
    return seconds("Service change in every node's table", taken, note)


def _burst(profile: Profile, client: Client, namespace: str) -> list[Figure]:
    """Services created by many writers at once: from each write to the last table."""
    written: dict[str, float] = {}

    def write(number: int) -> None:
        _service(client, namespace, f"b{number}")
        address = f"10.255.1.{number + 1}"
        client.create(ENDPOINTSLICES, _slice(namespace, f"b{number}", [address]))
        written[address] = time.monotonic()

    with contextlib.closing(_Rules(profile)) as rules:
        time.sleep(0.5)
        with ThreadPoolExecutor(_WRITERS) as pool:
            list(pool.map(write, range(_BURST)))
        taken = sorted(rules.wait(address) - moment for address, moment in written.items())
    slowest = taken[int(len(taken) * 0.99) - 1]
    return [Figure(f"{_BURST} Services by {_WRITERS} writers: p99", slowest, "s", note="to the last table")]


def _dns(profile: Profile, client: Client, namespace: str) -> list[Figure]:
    """dnsperf against the first node's server: as fast as it goes, then at a fixed rate for the latencies."""
    if shutil.which("dnsperf") is None:
        return [missing("DNS answers from cache", "apt-get install dnsperf")]
    node = profile.nodes[0]
    pid = process.read_pid(profile.directory / "run" / f"kubelet-{node.name}.pid")
    names = [f"d{n}" for n in range(20)]
    for name in names:
        _service(client, namespace, name)
    time.sleep(1)
    with tempfile.NamedTemporaryFile("w", suffix=".dns") as queries:
        queries.write("".join(f"{name}.{namespace}.svc.cluster.local A\n" for name in names))
        queries.flush()
        command = [
            "dnsperf",
            "-s",
            profile.node_ip(node),
            "-d",
            queries.name,
            "-l",
            str(_DNS_SECONDS),
            "-c",
            "4",
            "-q",
            "64",
        ]
        before = _cpu(pid)
        fastest = subprocess.run(command, capture_output=True, text=True).stdout
        spent = _cpu(pid) - before
        steady = subprocess.run([*command, "-Q", str(_DNS_RATE), "-v"], capture_output=True, text=True).stdout
    found = re.search(r"Queries per second:\s+([\d.]+)", fastest)
    completed = re.search(r"Queries completed:\s+(\d+)", fastest)
    late = sorted(float(line.rsplit(None, 1)[-1]) for line in steady.splitlines() if line.startswith("> NOERROR"))
    if not found or not completed or not late:
        return [missing("DNS answers from cache", "dnsperf said nothing")]
    return [
        Figure("DNS answers from cache, one node", float(found[1]), "/s", "higher", "dnsperf, UDP"),
        Figure("DNS, CPU per answer", spent / int(completed[1]) * 1e6, "µs", note="of the node's whole kubelet"),
        Figure(f"DNS, p99 at {len(late) / _DNS_SECONDS:.0f} answers/s", late[int(len(late) * 0.99) - 1] * 1000, "ms"),
    ]


def _cpu(pid: int) -> float:
    """Seconds of CPU a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
