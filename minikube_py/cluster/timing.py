"""How fast a cluster reacts: one table, two columns. All values are seconds.

Who uses it: `components.py`, which turns a row into the flags each component takes (upstream's flag names).
Invariant: `upstream` holds Kubernetes' own defaults; `classroom` is scaled so that a node is NotReady within 5 s of its
death and its pods run elsewhere within 15 s, which a class can watch.
Upstream: cmd/kube-controller-manager/app/options/nodelifecyclecontroller.go, pkg/kubelet/apis/config/v1beta1/defaults.go,
plugin/pkg/admission/defaulttolerationseconds.
"""

from typing import NamedTuple


class Timing(NamedTuple):
    node_lease_renew_interval: float
    node_lease_duration: int
    node_status_update_frequency: float
    node_monitor_period: float
    node_monitor_grace_period: float
    toleration_seconds: int
    node_eviction_rate: float  # nodes per second and zone


TIMINGS = {
    "classroom": Timing(
        node_lease_renew_interval=1,
        node_lease_duration=4,
        node_status_update_frequency=10,
        node_monitor_period=0.5,
        node_monitor_grace_period=3.5,
        toleration_seconds=5,
        node_eviction_rate=10,
    ),
    "upstream": Timing(
        node_lease_renew_interval=10,
        node_lease_duration=40,
        node_status_update_frequency=10,
        node_monitor_period=5,
        node_monitor_grace_period=50,
        toleration_seconds=300,
        node_eviction_rate=0.1,
    ),
}
