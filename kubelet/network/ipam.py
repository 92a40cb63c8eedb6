"""Which pod has which address of the node's pod CIDR.

Who calls it: pod_network.py. Invariant: no address is handed out twice at a time, and never the network's, the node's own
(.1) or the broadcast address; an address given back is the last to be used again, so that late packets and cached
connections of a dead pod meet nobody. Nothing is stored here: sandbox labels hold the truth and `restore` reads it back.
Upstream: the host-local plugin of containernetworking/plugins.
"""

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Mapping


class AddressesExhausted(Exception):
    """Every address of the node's pod CIDR is in use."""


class AddressPool:
    """The addresses of one pod CIDR. Thread-safe."""

    def __init__(self, pod_cidr: str) -> None:
        network = ipaddress.IPv4Network(pod_cidr)
        first, last = int(network.network_address), int(network.broadcast_address)
        self._cidr = pod_cidr
        self._lock = threading.Lock()
        self._free = OrderedDict.fromkeys(str(ipaddress.IPv4Address(raw)) for raw in range(first + 2, last))
        self._assigned: dict[str, str] = {}

    def allocate(self, pod_uid: str) -> str:
        """The pod's address: the one it has, else the free one unused for longest. Raises AddressesExhausted."""
        with self._lock:
            if pod_uid in self._assigned:
                return self._assigned[pod_uid]
            if not self._free:
                raise AddressesExhausted(f"no free address left in {self._cidr}: {len(self._assigned)} pods hold one")
            address, _ = self._free.popitem(last=False)
            self._assigned[pod_uid] = address
            return address

    def restore(self, assigned: Mapping[str, str]) -> None:
        """Take over what running pods hold (pod uid -> address); foreign addresses are recorded and never handed out."""
        with self._lock:
            for pod_uid, address in assigned.items():
                self._free.pop(address, None)
                self._assigned[pod_uid] = address

    def release(self, pod_uid: str) -> None:
        """Give the pod's address back; no error when it has none."""
        with self._lock:
            address = self._assigned.pop(pod_uid, "")
            if address and ipaddress.IPv4Address(address) in ipaddress.IPv4Network(self._cidr):
                self._free[address] = None

    def assigned(self) -> dict[str, str]:
        """Who holds what, as pod uid -> address."""
        with self._lock:
            return dict(self._assigned)
