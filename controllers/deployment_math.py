"""How many pods each ReplicaSet of a Deployment may have: surge, unavailability, proportions. Pure arithmetic.

Who calls it: `controllers.deployment` and its parts. Invariant: of surge and unavailability at least one is above zero, so
a rolling update can always make a step.
Upstream: pkg/controller/deployment/util/deployment_util.go, pkg/util/intstr.
"""

from minikube_py.api.meta import annotations_of
from minikube_py.api.types import Obj

DESIRED, MAX = "deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas"


def desired(obj: Obj) -> int:
    """`spec.replicas` of a Deployment or a ReplicaSet."""
    return int(obj["spec"].get("replicas", 1))


def total(sets: list[Obj]) -> int:
    """The replicas their specs ask for."""
    return sum(desired(rs) for rs in sets)


def status_total(sets: list[Obj], field: str = "replicas") -> int:
    """The sum of a status field: replicas, readyReplicas, availableReplicas, …"""
    return sum(int((rs.get("status") or {}).get(field) or 0) for rs in sets)


def is_rolling(deployment: Obj) -> bool:
    return bool((deployment["spec"].get("strategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")


def _resolve(value: int | str, whole: int, *, up: bool) -> int:
    """An int-or-percent as a number of pods; wrong text counts as 0 (the API server has validated it)."""
    if isinstance(value, int):
        return value
    try:
        percent = int(value.removesuffix("%"))
    except ValueError:
        return 0
    return -(-whole * percent // 100) if up else whole * percent // 100


def fenceposts(deployment: Obj) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods: surge rounded up, unavailability down, not both zero."""
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    replicas = desired(deployment)
    surge = _resolve(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = _resolve(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def max_surge(deployment: Obj) -> int:
    return fenceposts(deployment)[0] if is_rolling(deployment) else 0


def max_unavailable(deployment: Obj) -> int:
    if not is_rolling(deployment) or desired(deployment) == 0:
        return 0
    return min(fenceposts(deployment)[1], desired(deployment))


def new_set_size(deployment: Obj, all_sets: list[Obj], current: int) -> int:
    """How large the newest ReplicaSet, now at `current`, may be in this step."""
    if not is_rolling(deployment):
        return desired(deployment)
    room = desired(deployment) + max_surge(deployment) - total(all_sets)
    if room <= 0:
        return current
    return current + min(room, desired(deployment) - current)


def cut_unhealthy(old_sets: list[Obj], most: int) -> dict[str, int]:
    """New sizes by uid that take away up to `most` pods which are not available anyway, oldest set first."""
    sizes: dict[str, int] = {}
    for rs in old_sets:
        unhealthy = desired(rs) - status_total([rs], "availableReplicas")
        cut = min(most, unhealthy)
        if desired(rs) > 0 and cut > 0:
            sizes[rs["metadata"]["uid"]] = desired(rs) - cut
            most -= cut
    return sizes


def cut_old(deployment: Obj, all_sets: list[Obj], old_sets: list[Obj]) -> dict[str, int]:
    """New sizes by uid of old sets so that enough pods stay available, oldest set first."""
    spare = status_total(all_sets, "availableReplicas") - (desired(deployment) - max_unavailable(deployment))
    sizes: dict[str, int] = {}
    for rs in old_sets:
        cut = min(desired(rs), spare)
        if cut > 0:
            sizes[rs["metadata"]["uid"]] = desired(rs) - cut
            spare -= cut
    return sizes


def proportional(
    deployment: Obj, active: list[Obj], newest_first: list[Obj], oldest_first: list[Obj]
) -> dict[str, int]:
    """Sizes by uid when a Deployment is scaled in the middle of a rollout: each set gets its share, the biggest the rest.

    In: `active` sets, and the same sorted by size with newer (for growing) or older (for shrinking) ones first.
    """
    allowed = desired(deployment) + max_surge(deployment) if desired(deployment) > 0 else 0
    to_add, added = allowed - total(active), 0
    if to_add == 0:
        return {rs["metadata"]["uid"]: desired(rs) for rs in active}
    ordered = newest_first if to_add > 0 else oldest_first
    sizes: dict[str, int] = {}
    for rs in ordered:
        share = _share(deployment, rs, to_add, added)
        sizes[rs["metadata"]["uid"]] = desired(rs) + share
        added += share
    first = ordered[0]["metadata"]["uid"]
    sizes[first] = max(0, sizes[first] + to_add - added)
    return sizes


def _share(deployment: Obj, rs: Obj, to_add: int, added: int) -> int:
    if desired(rs) == 0 or to_add == added:
        return 0
    fraction, left = _fraction(deployment, rs), to_add - added
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _fraction(deployment: Obj, rs: Obj) -> int:
    """How much this set would change if all sets kept their proportions."""
    if desired(deployment) == 0:
        return -desired(rs)
    before = annotated(rs, MAX)
    if not before:
        before = int((deployment.get("status") or {}).get("replicas") or 0) or desired(deployment)
    grown = desired(rs) * (desired(deployment) + max_surge(deployment)) / before
    return int(grown + 0.5) - desired(rs)


def annotated(rs: Obj, key: str) -> int | None:
    """An integer annotation, None when it is absent or no number."""
    try:
        return int(annotations_of(rs)[key])
    except (KeyError, ValueError):
        return None
