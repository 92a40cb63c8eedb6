"""Leader election on a Lease: of several instances of a component, one acts.

Who calls it: `controllers.main`, where several run against one API.
Invariants: an instance acts only while its last confirmed renewal is younger than `renew_deadline`, and others take over
only after `lease_duration` without a change they saw themselves (no clock is compared across machines); as renew_deadline
is the shorter, two never act. `stop` gives the lease back at once.
Upstream: staging/src/k8s.io/client-go/tools/leaderelection.
"""

import logging
import random
import threading
from collections.abc import Callable

from minikube_py.api import errors
from minikube_py.api.clock import REAL, Clock, rfc3339_micro
from minikube_py.api.gvr import LEASES, new_object
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

log = logging.getLogger(__name__)


class LeaderElector:
    """One candidate. Durations in seconds; `retry_period` between attempts, half of `renew_deadline` while all is well."""

    def __init__(
        self, client: Client, name: str, identity: str, *, namespace: str = "kube-system", lease_duration: float = 15.0,
        renew_deadline: float = 10.0, retry_period: float = 2.0, clock: Clock = REAL,
    ) -> None:  # fmt: skip
        if not lease_duration > renew_deadline > retry_period > 0:
            raise ValueError("leader election needs lease duration > renew deadline > retry period > 0")
        # A renewal that hangs must have failed before somebody else may take over (connecting and reading each may take it).
        self._client = client.with_timeout((lease_duration - renew_deadline) / 2)
        self._name, self._namespace, self.identity = name, namespace, identity
        self._duration, self._deadline, self._retry, self._clock = lease_duration, renew_deadline, retry_period, clock
        self._stopped = threading.Event()
        self._observed: Obj | None = None
        self._observed_stale = False
        self._observed_at = 0.0

    def run(self, on_started: Callable[[], None], on_stopped: Callable[[], None]) -> None:
        """Compete until `stop`. `on_started` (must return soon) when elected, `on_stopped` when that ended, maybe again."""
        while not self._stopped.is_set():
            confirmed = self._acquire()
            if confirmed is None:
                return
            log.info("%s is the leader of %s", self.identity, self._name)
            try:
                on_started()
                self._renew_until_lost(confirmed)
            finally:
                on_stopped()
                if self._stopped.is_set():
                    self._release()

    def stop(self) -> None:
        """End `run`, which gives the lease back if it was held."""
        self._stopped.set()

    def _acquire(self) -> float | None:
        """Wait to become leader. Out: the moment (monotonic) from which the lease counts; None when stopped."""
        while not self._stopped.is_set():
            asked = self._clock.monotonic()
            if self._try():
                return asked
            self._clock.wait(self._stopped, self._retry * random.uniform(1.0, 1.2))
        return None

    def _renew_until_lost(self, confirmed: float) -> None:
        renewed = True
        while not self._stopped.is_set():
            pause = self._deadline / 2 if renewed else self._retry
            left = confirmed + self._deadline - self._clock.monotonic()
            if left <= 0:
                log.warning("%s lost the lease %s: not renewed within %g s", self.identity, self._name, self._deadline)
                return
            if self._clock.wait(self._stopped, min(pause, left)):
                return
            asked = self._clock.monotonic()
            renewed = asked < confirmed + self._deadline and self._try()
            if renewed:
                confirmed = asked
            elif self._held_by_other():
                log.warning("%s lost the lease %s to %s", self.identity, self._name, self._holder(self._observed))
                return

    def _try(self) -> bool:
        """Take or renew the lease once. False when somebody else holds it, or the API does not answer."""
        try:
            if self._observed is None or self._observed_stale or self._holder(self._observed) != self.identity:
                self._observe(self._client.get(LEASES, self._name, self._namespace))
            lease = self._observed or {}
            if self._held_by_other() and self._clock.monotonic() < self._observed_at + self._duration_of(lease):
                return False
            self._observed_stale = True  # until the answer says otherwise
            self._observe(self._client.update(LEASES, self._claimed(lease)))
            return True
        except errors.NotFound:
            return self._create()
        except errors.APIError as error:
            log.debug("lease %s: %s", self._name, error)
            return False

    def _create(self) -> bool:
        try:
            lease = new_object(LEASES, self._name, self._namespace, spec={})
            self._observe(self._client.create(LEASES, self._claimed(lease)))
            return True
        except errors.APIError as error:
            log.debug("lease %s: %s", self._name, error)
            return False

    def _observe(self, lease: Obj) -> None:
        """Note when we saw the lease change: its own timestamps come from another machine's clock."""
        if self._observed is None or self._observed.get("spec") != lease.get("spec"):
            self._observed_at = self._clock.monotonic()
        self._observed, self._observed_stale = lease, False

    def _claimed(self, lease: Obj) -> Obj:
        now = rfc3339_micro(self._clock.now())
        spec = lease.get("spec") or {}
        mine = spec.get("holderIdentity") == self.identity
        transitions = spec.get("leaseTransitions") or 0
        claimed = {
            "holderIdentity": self.identity, "leaseDurationSeconds": max(1, round(self._duration)), "renewTime": now,
            "acquireTime": spec.get("acquireTime", now) if mine else now,
            "leaseTransitions": transitions if mine or "holderIdentity" not in spec else transitions + 1,
        }  # fmt: skip
        return {**lease, "spec": {**spec, **claimed}}

    def _release(self) -> None:
        try:
            lease = self._client.get(LEASES, self._name, self._namespace)
            if self._holder(lease) == self.identity:
                self._client.update(LEASES, {**lease, "spec": {**lease["spec"], "holderIdentity": ""}})
        except errors.APIError as error:
            log.debug("lease %s not given back: %s", self._name, error)

    def _held_by_other(self) -> bool:
        return self._holder(self._observed) not in ("", self.identity)

    def _duration_of(self, lease: Obj) -> float:
        return float((lease.get("spec") or {}).get("leaseDurationSeconds") or self._duration)

    @staticmethod
    def _holder(lease: Obj | None) -> str:
        return str(((lease or {}).get("spec") or {}).get("holderIdentity") or "")
