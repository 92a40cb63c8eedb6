"""A pod network that connects nothing: addresses are given out so that statuses look right, packets go nowhere.

Who calls it: `main`, for simulated pods and for tests without privileges. Invariant: as `network.pod_network.PodNetwork`.
"""

from collections.abc import Collection, Mapping

from kubelet.network.ipam import AddressPool


class UnwiredPodNetwork:
    """Addresses without wires."""

    engine_network = ""

    def __init__(self, pod_cidr: str) -> None:
        self._pool = AddressPool(pod_cidr)

    def ensure_node(self) -> None: ...

    def allocate(self, pod_uid: str) -> str:
        return self._pool.allocate(pod_uid)

    def restore(self, assigned: Mapping[str, str]) -> None:
        self._pool.restore(assigned)

    def setup(self, pod_uid: str, pid: int, ip: str) -> None: ...

    def teardown(self, pod_uid: str) -> None:
        self._pool.release(pod_uid)

    def sweep(self, known: Collection[str]) -> None:
        for uid in self._pool.assigned():
            if uid not in known:
                self._pool.release(uid)
