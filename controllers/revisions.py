"""ControllerRevisions: the numbered history of a DaemonSet's or StatefulSet's pod templates.

Who calls it: `controllers.daemonset`, `controllers.statefulset`. Invariants: equal templates share one revision, whose number
rises when they come back into use; its name is a function of the template and the collision count; revisions in use are
never cleaned up.
Upstream: pkg/controller/history/controller_history.go, pkg/controller/daemon/update.go.
"""

from typing import Any

from controllers.children import claim
from controllers.context import BY_CONTROLLER, Context, index_by_controller, orphans_of
from controllers.deployment_revisions import normalised, template_hash
from minikube_py.api import errors, selectors
from minikube_py.api.gvr import CONTROLLERREVISIONS, GVR, new_object
from minikube_py.api.meta import annotations_of, controller_reference, labels_of, name_of, namespace_of, uid_of
from minikube_py.api.types import Obj

HASH_LABEL = "controller-revision-hash"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Collision(Exception):
    """Another template has this hash: the collision count must rise."""


class History:
    """Reads and writes the revisions of owners of one kind."""

    def __init__(self, context: Context, owner_res: GVR) -> None:
        self._client, self._owner_res = context.client, owner_res
        self.informer = index_by_controller(context.informers.of(CONTROLLERREVISIONS))

    def of(self, owner: Obj) -> list[Obj]:
        """The owner's revisions, oldest number first."""
        selector = selectors.from_label_selector(owner["spec"]["selector"])
        candidates = self.informer.by_index(BY_CONTROLLER, uid_of(owner))
        candidates += self.informer.by_index(BY_CONTROLLER, orphans_of(namespace_of(owner)))
        owned = claim(self._client, self._owner_res, owner, CONTROLLERREVISIONS, candidates, selector)
        return sorted(owned, key=lambda revision: (int(revision["revision"]), name_of(revision)))

    def current(self, owner: Obj, known: list[Obj]) -> Obj:
        """The revision of the owner's present template, made or renumbered if need be. Raises Collision, APIError."""
        data = patch_of(owner)
        same = [revision for revision in known if normalised(revision.get("data")) == normalised(data)]
        highest = max((int(r["revision"]) for r in known if r not in same), default=0) + 1
        if not same:
            return self._create(owner, data, highest)
        newest = same[-1]
        if int(newest["revision"]) >= highest:
            return newest
        return self._client.update(CONTROLLERREVISIONS, {**newest, "revision": highest})

    def clean_up(self, owner: Obj, known: list[Obj], in_use: set[str]) -> None:
        """Delete the oldest revisions beyond the limit whose hashes no pod carries."""
        spare = [revision for revision in known if labels_of(revision).get(HASH_LABEL, "") not in in_use]
        limit = int(owner["spec"].get("revisionHistoryLimit", 10))
        for revision in spare[: max(0, len(spare) - limit)]:
            try:
                self._client.delete(
                    CONTROLLERREVISIONS, name_of(revision), namespace_of(revision), uid=uid_of(revision)
                )
            except errors.NotFound:
                continue

    def _create(self, owner: Obj, data: Obj, number: int) -> Obj:
        collisions = int((owner.get("status") or {}).get("collisionCount") or 0)
        hashed = template_hash(owner["spec"]["template"], collisions)
        revision = new_object(CONTROLLERREVISIONS, f"{name_of(owner)}-{hashed}", namespace_of(owner))
        labels = ((owner["spec"]["template"].get("metadata") or {}).get("labels")) or {}
        revision["metadata"] |= {
            "labels": {**labels, HASH_LABEL: hashed}, "ownerReferences": [controller_reference(owner)],
            "annotations": {key: value for key, value in annotations_of(owner).items() if key != _LAST_APPLIED},
        }  # fmt: skip
        revision |= {"data": data, "revision": number}
        try:
            return self._client.create(CONTROLLERREVISIONS, revision)
        except errors.AlreadyExists:
            found = self._client.get(CONTROLLERREVISIONS, name_of(revision), namespace_of(revision))
            if normalised(found.get("data")) == normalised(data):
                return found
            raise Collision(hashed) from None


def patch_of(owner: Obj) -> Obj:
    """What a revision remembers: the patch that brings the template back. Keys sorted, as Go writes maps."""
    template: Any = _sorted({**owner["spec"]["template"], "$patch": "replace"})
    return {"spec": {"template": template}}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
