"""ResourceQuota: what a write adds is charged to the namespace's quotas before it is stored.

Who calls it: `chain.py`, last of all plugins, so that nothing refused elsewhere is ever charged. Invariant: a charge is a
compare-and-swap on the quota's status, so concurrent requests, also through several API servers, cannot overdraw it. When a
quota seems exhausted the namespace is counted afresh first, so a deleted object's share is free at once; the quota
controller corrects charges whose write failed afterwards.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/plugin/resourcequota (we count without waiting for the controller).
"""

from decimal import Decimal

from apiserver.admission.attributes import CREATE, UPDATE, Attributes
from minikube_py.api import quantity
from minikube_py.api import quota as api
from minikube_py.api.meta import name_of
from minikube_py.api.types import Obj

QUOTAS = "resourcequotas"
_COMPUTE = ("cpu", "memory", "ephemeral-storage")


def check(attributes: Attributes) -> None:
    """Charge every quota that counts the object. Raises Forbidden when one would be exceeded."""
    if attributes.verb not in (CREATE, UPDATE) or attributes.subresource or not attributes.namespace:
        return
    if attributes.obj is None or not attributes.row.namespaced or attributes.resource == QUOTAS:
        return
    quotas = [
        item
        for item in attributes.ctx.lister(QUOTAS, attributes.namespace)
        if api.covers(item, attributes.resource, attributes.obj)
    ]
    if not quotas:
        return
    delta = api.usage(attributes.resource, attributes.obj)
    if attributes.old is not None:
        before = api.usage(attributes.resource, attributes.old)
        delta = {name: value - before.get(name, Decimal(0)) for name, value in delta.items()}
    for item in quotas:
        hard = (item.get("spec") or {}).get("hard") or {}
        wanted = {name: value for name, value in delta.items() if name in hard and value > 0}
        if attributes.is_("pods", CREATE):
            _must_specify(attributes, item, hard)
        if wanted:
            _charge(attributes, name_of(item), wanted)


def _must_specify(attributes: Attributes, item: Obj, hard: Obj) -> None:
    """A quota on cpu or memory counts only what is stated, so every container must state it."""
    missing = []
    for name in sorted(hard):
        side, dot, resource = name.rpartition(".")
        if not dot:
            side, resource = "requests", name
        if side not in ("requests", "limits") or resource not in _COMPUTE:
            continue
        spec = (attributes.obj or {}).get("spec") or {}
        containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        if (spec.get("resources") or {}).get(side, {}).get(resource) is not None:
            continue
        without = [
            c.get("name", "") for c in containers if resource not in ((c.get("resources") or {}).get(side) or {})
        ]
        if without:
            missing.append(f"{name} for: {','.join(sorted(set(without)))}")
    if missing:
        raise attributes.forbidden(f"failed quota: {name_of(item)}: must specify {'; '.join(missing)}")


def _charge(attributes: Attributes, name: str, wanted: api.Usage) -> None:
    def spend(live: Obj) -> Obj | None:
        hard, status = live["spec"].get("hard") or {}, live.setdefault("status", {})
        used = _parsed(status.get("used"))
        if any(resource not in used for resource in wanted) or _exceeded(used, wanted, hard):
            used |= _count(attributes, live, wanted)
        if over := _exceeded(used, wanted, hard):
            raise attributes.forbidden(_refusal(name, over, wanted, used, hard))
        if attributes.dry_run:
            return None
        shown = dict(status.get("used") or {})
        for resource, value in wanted.items():
            shown[resource] = api.text(resource, used.get(resource, Decimal(0)) + value, str(hard[resource]))
        status["used"] = shown
        status.setdefault("hard", dict(hard))
        return live

    attributes.ctx.writer().change(QUOTAS, attributes.namespace, name, spend)


def _parsed(amounts: Obj | None) -> api.Usage:
    return {name: quantity.parse(value) for name, value in (amounts or {}).items()}


def _exceeded(used: api.Usage, wanted: api.Usage, hard: Obj) -> list[str]:
    return sorted(n for n, v in wanted.items() if used.get(n, Decimal(0)) + v > quantity.parse(hard[n]))


def _count(attributes: Attributes, live: Obj, wanted: api.Usage) -> api.Usage:
    """What the namespace's objects of this kind really use of the wanted resources, without the one being written."""
    total = dict.fromkeys(wanted, Decimal(0))
    for obj in attributes.ctx.lister(attributes.resource, attributes.namespace):
        if api.covers(live, attributes.resource, obj):
            for name, value in api.usage(attributes.resource, obj).items():
                if name in total:
                    total[name] += value
    return total


def _refusal(name: str, over: list[str], wanted: api.Usage, used: api.Usage, hard: Obj) -> str:
    def listed(amounts: api.Usage) -> str:
        return ",".join(f"{n}={api.text(n, amounts.get(n, Decimal(0)), str(hard[n]))}" for n in over)

    limits = {n: quantity.parse(hard[n]) for n in over}
    return f"exceeded quota: {name}, requested: {listed(wanted)}, used: {listed(used)}, limited: {listed(limits)}"
