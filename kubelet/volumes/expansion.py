"""The end of an expansion: once a volume is larger on its node, its claim says so.

Who calls it: `local_path` and `persistent_volumes`. Invariant: a claim is only ever told of room that is there.
Upstream: pkg/volume/util/operationexecutor/node_expander.go.
"""

from minikube_py.api import errors, quantity
from minikube_py.api import volumes as v
from minikube_py.api.gvr import PERSISTENTVOLUMECLAIMS
from minikube_py.api.meta import name_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client.events import EventRecorder
from minikube_py.client.rest import Client

_OVER = ("FileSystemResizePending", "Resizing")


class Expansion:
    """Remembers what was told, so that a settled volume costs no question."""

    def __init__(self, client: Client, recorder: EventRecorder) -> None:
        self._client, self._recorder = client, recorder
        self._told: dict[str, str] = {}  # volume → the size its claim knows

    def claim_of(self, volume: Obj) -> Obj | None:
        """The claim of a volume that has grown, None when it knows already. Raises APIError."""
        ref, size = volume["spec"].get("claimRef") or {}, volume["spec"]["capacity"]["storage"]
        if not ref.get("uid") or self._told.get(name_of(volume)) == size:
            return None
        try:
            claim = self._client.get(PERSISTENTVOLUMECLAIMS, ref["name"], ref["namespace"])
        except errors.NotFound:
            return None
        if uid_of(claim) != ref["uid"] or v.phase_of(claim) != "Bound":
            return None
        had = (claim["status"].get("capacity") or {}).get("storage", "0")
        if quantity.compare(had, size) >= 0:
            self._told[name_of(volume)] = size
            return None
        return claim

    def finish(self, volume: Obj, claim: Obj) -> None:
        """Raises APIError."""
        status, size = claim["status"], volume["spec"]["capacity"]["storage"]
        conditions = [condition for condition in status.get("conditions") or () if condition["type"] not in _OVER]
        changes = {"capacity": {"storage": size}, "conditions": conditions}
        self._client.update(PERSISTENTVOLUMECLAIMS, {**claim, "status": {**status, **changes}}, subresource="status")
        text = f'MountVolume.NodeExpandVolume succeeded for volume "{name_of(volume)}"'
        self._recorder.event(claim, "Normal", "FileSystemResizeSuccessful", text)
        self._told[name_of(volume)] = size

    def forget(self, name: str) -> None:
        self._told.pop(name, None)
