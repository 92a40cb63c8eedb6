"""The service proxy: keeps one nftables table equal to what Services and EndpointSlices say.

Who calls it: the kubelet (the node's table) and network/main.py (the host's table), each with its own `Scope`.
Invariant: the kernel holds exactly the table of one reading of the informers; an unchanged answer touches nothing; a burst of
changes is applied once, and a change costs what the changed Services cost. What the kernel refuses is tried again from scratch.
A restarted proxy takes the existing table over, and one that somebody flushed is put back within half a minute.
Upstream: pkg/proxy/nftables/proxier.go (syncProxyRules), pkg/util/async/bounded_frequency_runner.go.
"""

import logging
import threading
from collections.abc import Callable

from kubelet.network import conntrack, nft
from kubelet.network.layers import Layers
from kubelet.network.rules import Scope, frame, part
from kubelet.network.services import BY_SERVICE, ServicePort, ports_of, service_of, service_ports, usable
from minikube_py.api.clock import REAL, Clock
from minikube_py.api.gvr import ENDPOINTSLICES, SERVICES
from minikube_py.api.meta import key_of
from minikube_py.api.types import Obj
from minikube_py.client.informer import SharedInformers

log = logging.getLogger(__name__)

_COALESCE, _RETRY, _CHECK = 0.005, 1.0, 30.0
Backends = dict[tuple[str, int], frozenset[tuple[str, int]]]
"""What answers UDP: (address, or "" for a node port; port) -> the endpoints behind it."""


class ServiceProxy:
    """One table. `scope()` is asked at every change, because a host's scope follows the Nodes."""

    def __init__(self, informers: SharedInformers, scope: Callable[[], Scope], clock: Clock = REAL) -> None:
        self._services, self._slices = informers.of(SERVICES), informers.of(ENDPOINTSLICES)
        self._scope, self._clock = scope, clock
        self._served: Scope | None = None  # what the table was last made for; None: everything must be looked at
        self._dirty: dict[str, None] = {}  # Services to look at, by key
        self._changed, self._stopped = threading.Event(), threading.Event()
        self._table = Table()
        self._thread: threading.Thread | None = None
        self._slices.add_index(BY_SERVICE, service_of)
        self._services.add_handler(self._service_changed)
        self._slices.add_handler(self._slice_changed)

    def changed(self) -> None:
        """What `scope` says may have changed."""
        self._changed.set()

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        self._dirty |= {key_of(obj): None for obj in (old, new) if obj is not None}
        self._changed.set()

    def _slice_changed(self, old: Obj | None, new: Obj | None) -> None:
        self._dirty |= {key: None for obj in (old, new) if obj is not None for key in service_of(obj)}
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
        scope = self._scope()
        if check and scope == self._served and not self._dirty and self._table.intact():
            return
        if check or scope != self._served:
            self._served = None
            self._dirty.clear()
            self._table.apply(scope, service_ports(self._services.list(), self._slices.list()), check=check)
            self._served = scope
            return
        changed = {self._dirty.popitem()[0] for _ in range(len(self._dirty))}
        try:
            self._table.change(scope, {key: self._ports(key) for key in changed})
        except Exception:
            self._served = None  # from scratch, then
            raise

    def _ports(self, key: str) -> list[ServicePort]:
        service = self._services.get_key(key)
        return ports_of(service, self._slices.by_index(BY_SERVICE, key)) if service is not None else []


class Table:
    """The Services' table in the kernel, and the UDP flows that depend on it."""

    def __init__(self) -> None:
        self._table, self._layers = nft.Table(take_over=True), Layers()
        self._udp: Backends | None = None
        self._udp_of: dict[str, Backends] = {}

    def apply(self, scope: Scope, ports: list[ServicePort], *, check: bool = False) -> str:
        """Make the kernel's table that of these ports. In and out as `nft.Table.apply`. Raises nft.NftError."""
        by_service: dict[str, list[ServicePort]] = {owner: [] for owner in self._layers.owners()}
        for port in ports:
            by_service.setdefault(f"{port.namespace}/{port.service}", []).append(port)
        self._layers.replace({owner: part(scope, own) for owner, own in by_service.items()}, scope.table)
        text = self._table.apply(self._layers.whole(frame(scope)), check=check)
        self._forget_stale_udp(scope, by_service)
        return text

    def intact(self) -> bool:
        """Whether the kernel still has what was applied last."""
        return self._table.intact()

    def change(self, scope: Scope, changed: dict[str, list[ServicePort]]) -> str:
        """Some Services (by "namespace/name") now have these ports, the scope is as before. Raises nft.NftError."""
        parts = {owner: part(scope, ports) for owner, ports in changed.items()}
        before, after = self._layers.replace(parts, scope.table)
        fixed = frame(scope).elements  # these are never a Service's
        for key in fixed.keys() & (before.elements.keys() | after.elements.keys()):
            before.elements.pop(key, None)
            after.elements.pop(key, None)
        text = self._table.change(before, after, lambda: self._layers.whole(frame(scope)))
        self._forget_stale_udp(scope, changed)
        return text

    def _forget_stale_udp(self, scope: Scope, changed: dict[str, list[ServicePort]]) -> None:
        """Flows to a backend that a Service no longer has would be answered by nobody, for ever."""
        news = {owner: _udp_backends(ports) for owner, ports in changed.items()}
        if self._udp is not None and all(self._udp_of.get(owner, {}) == backends for owner, backends in news.items()):
            return
        self._udp_of |= news
        allowed = {key: found for backends in self._udp_of.values() for key, found in backends.items()}
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


def _udp_backends(ports: list[ServicePort]) -> Backends:
    found: Backends = {}
    for port in ports:
        if port.protocol == "UDP":
            backends = frozenset((e.ip, e.port) for e in usable(port.endpoints))
            found |= {(vip, port.port): backends for vip in (*port.vips, *port.external, *port.balanced)}
            if port.node_port:
                found["", port.node_port] = backends
    return found
