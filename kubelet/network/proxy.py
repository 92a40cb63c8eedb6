"""The service proxy: keeps one nftables table equal to what Services and EndpointSlices say.

Who calls it: the kubelet (the node's table) and network/main.py (the host's table), each with its own `Scope`.
Invariant: the kernel holds exactly the table of one consistent reading of the informers; an unchanged answer touches nothing;
a burst of changes is applied once. What the kernel refuses is tried again from scratch. A restarted proxy takes the existing
table over, and one that somebody flushed is put back within half a minute.
Upstream: pkg/proxy/nftables/proxier.go (syncProxyRules), pkg/util/async/bounded_frequency_runner.go.
"""

import logging
import threading
from collections.abc import Callable

from kubelet.network import conntrack, nft
from kubelet.network.rules import Scope, build
from kubelet.network.services import ServicePort, service_ports, usable
from minikube_py.api.clock import REAL, Clock
from minikube_py.api.gvr import ENDPOINTSLICES, SERVICES
from minikube_py.api.types import Obj
from minikube_py.client.informer import SharedInformers

log = logging.getLogger(__name__)

_COALESCE, _RETRY, _CHECK = 0.005, 1.0, 30.0


class ServiceProxy:
    """One table. `scope()` is asked at every change, because a host's scope follows the Nodes."""

    def __init__(self, informers: SharedInformers, scope: Callable[[], Scope], clock: Clock = REAL) -> None:
        self._services, self._slices = informers.of(SERVICES), informers.of(ENDPOINTSLICES)
        self._scope, self._clock = scope, clock
        self._changed, self._stopped = threading.Event(), threading.Event()
        self._table = Table()
        self._thread: threading.Thread | None = None
        for informer in (self._services, self._slices):
            informer.add_handler(self.changed)

    def changed(self, _old: Obj | None = None, _new: Obj | None = None) -> None:
        """Something the table depends on changed (also an informer's handler)."""
        self._changed.set()

    def start(self) -> None:
        """Start following (a daemon thread); the informers must be started by their owner."""
        self._thread = threading.Thread(target=self._run, name="service-proxy", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop following. The table stays, so that traffic does."""
        self._stopped.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        while not (self._services.wait_synced(1.0) and self._slices.wait_synced(1.0)):
            if self._stopped.is_set():
                return
        self._changed.set()
        while not self._stopped.is_set():
            woken = self._clock.wait(self._changed, _CHECK)
            if self._stopped.is_set():
                return
            if woken:
                self._clock.sleep(_COALESCE)
            self._changed.clear()
            started = self._clock.monotonic()
            try:
                self._sync(check=not woken)
            except nft.NftError as error:
                log.warning("service proxy: %s; trying again", error)
                self._clock.wait(self._stopped, _RETRY)
                self._changed.set()
            except Exception:
                log.exception("service proxy: a change could not be applied; trying again")
                self._clock.wait(self._stopped, _RETRY)
                self._changed.set()
            else:
                # Under a constant stream of changes, spend at most half of the time applying them.
                self._clock.sleep(min(1.0, self._clock.monotonic() - started))

    def _sync(self, *, check: bool) -> None:
        ports = service_ports(self._services.list(), self._slices.list())
        self._table.apply(self._scope(), ports, check=check)


class Table:
    """The Services' table in the kernel, and the UDP flows that depend on it."""

    def __init__(self) -> None:
        self._table = nft.Table(take_over=True)
        self._udp: dict[tuple[str, int], frozenset[tuple[str, int]]] | None = None

    def apply(self, scope: Scope, ports: list[ServicePort], *, check: bool = False) -> str:
        """Make the kernel's table that of these ports. In and out as `nft.Table.apply`. Raises nft.NftError."""
        text = self._table.apply(build(scope, ports), check=check)
        self._forget_stale_udp(scope, ports)
        return text

    def _forget_stale_udp(self, scope: Scope, ports: list[ServicePort]) -> None:
        """Flows to a backend that a Service no longer has would be answered by nobody, for ever."""
        allowed = _udp_backends(ports)
        if allowed == self._udp:
            return
        watched = {*allowed, *(self._udp or {})}
        lost = self._udp is None or any(backends - allowed.get(key, frozenset()) for key, backends in self._udp.items())
        self._udp = allowed
        if not lost or not watched:
            return

        def stale(flow: conntrack.Flow) -> bool:
            local = flow.destination in (scope.node_ip, "127.0.0.1", *scope.host_addresses, *scope.node_ips.values())
            key = ("" if local else flow.destination, flow.destination_port)
            backend = (flow.backend, flow.backend_port)
            if key not in watched or flow.destination == scope.dns_vip:
                return False
            return backend != (flow.destination, flow.destination_port) and backend not in allowed.get(key, ())

        conntrack.forget_udp(stale)


def _udp_backends(ports: list[ServicePort]) -> dict[tuple[str, int], frozenset[tuple[str, int]]]:
    """(address, port) -> its backends, for UDP; a node port has address ""."""
    found: dict[tuple[str, int], frozenset[tuple[str, int]]] = {}
    for port in ports:
        if port.protocol == "UDP":
            backends = frozenset((e.ip, e.port) for e in usable(port.endpoints))
            found |= {(vip, port.port): backends for vip in port.vips}
            if port.node_port:
                found["", port.node_port] = backends
    return found
