"""Which of several pods a ReadWriteOncePod volume serves."""

from typing import Any

import pytest

from kubelet.errors import VolumeError
from kubelet.volumes.claims import Claims
from minikube_py.api import volumes as v
from minikube_py.api.clock import FakeClock
from minikube_py.api.types import Obj

_CLAIM: Obj = {
    "metadata": {"name": "data", "namespace": "n", "uid": "c", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
    "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"},
}  # fmt: skip
_VOLUME: Obj = {
    "metadata": {"name": "pv"},
    "spec": {"accessModes": ["ReadWriteOncePod"], "claimRef": {"namespace": "n", "name": "data", "uid": "c"}},
}


class _Objects:
    """What the API server has."""

    def get(self, plural: str, namespace: str, name: str, since: float = 0.0) -> Obj:
        return _CLAIM if plural == "persistentvolumeclaims" else _VOLUME


class _Node:
    def __init__(self) -> None:
        self.pods: list[Obj] = []
        objects: Any = _Objects()
        self._claims = Claims(objects, FakeClock(), lambda: {"metadata": {"name": "node"}}, lambda: self.pods)

    def pod(self, uid: str, created: str, phase: str = "Pending") -> Obj:
        made = {
            "metadata": {"name": uid, "namespace": "n", "uid": uid, "creationTimestamp": created},
            "spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}, "status": {"phase": phase},
        }  # fmt: skip
        self.pods.append(made)
        return made

    def serves(self, pod: Obj) -> bool:
        try:
            [claim] = v.claims_of(pod)
            return self._claims.volume_of(pod, claim, starting=True) is _VOLUME
        except VolumeError as error:
            assert "already in use by another pod" in str(error)
            return False


@pytest.mark.parametrize("later", ["a", "c"])
def test_who_holds_it_keeps_it(later: str) -> None:
    """Also against a pod of the same second (seen: pods start in less), whose uid happens to come first, and an older one."""
    node = _Node()
    holder = node.pod("b", "12:00:01")
    assert node.serves(holder)
    second, older = node.pod(later, "12:00:01"), node.pod("0", "12:00:00")
    assert [node.serves(one) for one in (second, older, holder)] == [False, False, True]
    holder["status"]["phase"] = "Succeeded"
    assert [node.serves(one) for one in (second, older)] == [False, True]
    node.pods = [second]
    assert node.serves(second)


def test_a_new_kubelet_lets_the_pod_that_runs_have_it() -> None:
    node = _Node()
    waiting, running = node.pod("a", "12:00:00"), node.pod("b", "12:00:00", "Running")
    assert [node.serves(one) for one in (waiting, running, waiting)] == [False, True, False]
