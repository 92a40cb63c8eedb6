"""ResourceQuota: what a write adds is charged to the namespace's quotas before it is stored, what it frees after.

Who calls it: `chain.py`, last of all plugins, so that nothing refused elsewhere is ever charged. Invariant: a charge is a
compare-and-swap on the quota's status, so concurrent requests, also through several API servers, cannot overdraw it; a write
that fails gives its charge back. A crash in between leaves a charge too many, never one too few; the quota controller
corrects it.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/plugin/resourcequota (we also free at once, and count a new quota
ourselves, instead of waiting for the controller).
"""

from decimal import Decimal

from apiserver.admission.attributes import CREATE, UPDATE, Attributes
from minikube_py.api import errors, quantity
from minikube_py.api import quota as api
from minikube_py.api.meta import name_of
from minikube_py.api.types import Obj

QUOTAS = "resourcequotas"
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_ZERO = Decimal(0)


def check(attributes: Attributes) -> None:
    """Charge every quota that counts the object. Raises Forbidden when one would be exceeded."""
    obj, old = attributes.obj, attributes.old
    if attributes.verb not in (CREATE, UPDATE) or obj is None or not _counted(attributes):
        return
    if attributes.verb == CREATE and attributes.subresource:
        return
    for quota in attributes.ctx.lister(QUOTAS, attributes.namespace):
        before, after = (_usage(attributes, quota, item) for item in (old, obj))
        delta = {name: after.get(name, _ZERO) - before.get(name, _ZERO) for name in {*before, *after}}
        try:
            if attributes.is_("pods", CREATE) and after:
                _must_specify(attributes, quota, (quota.get("spec") or {}).get("hard") or {})
            _charge_and_give_back(attributes, quota, delta)
        except errors.APIError:
            for undo in attributes.finish:
                undo(False)
            attributes.finish.clear()
            raise


def released(attributes: Attributes, last: Obj) -> None:
    """The object is gone: give back what it cost."""
    if _counted(attributes):
        for quota in attributes.ctx.lister(QUOTAS, attributes.namespace):
            _give_back(attributes, name_of(quota), _usage(attributes, quota, last))


def _counted(attributes: Attributes) -> bool:
    return bool(attributes.namespace) and attributes.row.namespaced


def _usage(attributes: Attributes, quota: Obj, obj: Obj | None) -> api.Usage:
    """What the object costs this quota: nothing unless its scopes cover the object, and only what it limits."""
    if obj is None or not api.covers(quota, attributes.resource, obj):
        return {}
    hard = (quota.get("spec") or {}).get("hard") or {}
    return {name: value for name, value in api.usage(attributes.resource, obj).items() if name in hard}


def _charge_and_give_back(attributes: Attributes, quota: Obj, delta: api.Usage) -> None:
    more = {name: value for name, value in delta.items() if value > 0}
    less = {name: -value for name, value in delta.items() if value < 0}
    if more:
        _charge(attributes, name_of(quota), more)

    def finish(stored: bool) -> None:
        _give_back(attributes, name_of(quota), less if stored else more)

    if (more or less) and not attributes.dry_run:
        attributes.finish.append(finish)


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
        asked = {resource: value for resource, value in wanted.items() if resource in hard}
        used = _parsed(status.get("used"))
        used |= _count(attributes, live, [resource for resource in asked if resource not in used])
        if over := sorted(n for n, v in asked.items() if used[n] + v > quantity.parse(hard[n])):
            raise attributes.forbidden(_refusal(name, over, asked, used, hard))
        _show(status, hard, {resource: used[resource] + value for resource, value in asked.items()})
        return None if attributes.dry_run else live

    attributes.ctx.writer().change(QUOTAS, attributes.namespace, name, spend)


def _give_back(attributes: Attributes, name: str, amounts: api.Usage) -> None:
    def free(live: Obj) -> Obj | None:
        status = live.setdefault("status", {})
        used = _parsed(status.get("used"))
        left = {n: max(used[n] - value, _ZERO) for n, value in amounts.items() if n in used}
        _show(status, live["spec"].get("hard") or {}, left)
        return live

    if not amounts:
        return
    try:
        attributes.ctx.writer().change(QUOTAS, attributes.namespace, name, free)
    except errors.NotFound:
        return  # the quota went meanwhile, and its count with it


def _show(status: Obj, hard: Obj, used: api.Usage) -> None:
    shown = {n: api.text(n, value, str(hard[n])) for n, value in used.items() if n in hard}
    status["used"] = {**(status.get("used") or {}), **shown}
    status.setdefault("hard", dict(hard))


def _parsed(amounts: Obj | None) -> api.Usage:
    return {name: quantity.parse(value) for name, value in (amounts or {}).items()}


def _count(attributes: Attributes, live: Obj, wanted: list[str]) -> api.Usage:
    """What the namespace's objects of this kind use of these resources, for a quota nobody has counted yet."""
    total = dict.fromkeys(wanted, _ZERO)
    if not wanted:
        return total
    for obj in attributes.ctx.lister(attributes.resource, attributes.namespace):
        for name, value in _usage(attributes, live, obj).items():
            if name in total:
                total[name] += value
    return total


def _refusal(name: str, over: list[str], wanted: api.Usage, used: api.Usage, hard: Obj) -> str:
    def listed(amounts: api.Usage) -> str:
        return ",".join(f"{n}={api.text(n, amounts.get(n, _ZERO), str(hard[n]))}" for n in over)

    limits = {n: quantity.parse(hard[n]) for n in over}
    return f"exceeded quota: {name}, requested: {listed(wanted)}, used: {listed(used)}, limited: {listed(limits)}"
