"""An allocation as it stands in a claim's status: devices, configurations, and the nodes where they can be used.

Who calls it: the plugin DynamicResources. Invariant: pure; the configurations of each class come once and before the claim's.
Upstream: dynamic-resource-allocation/structured/internal/stable/allocator_stable.go (Allocate, createNodeSelector).
"""

from collections.abc import Iterator, Sequence

from controllers.scheduler.devices.pools import DeviceID
from controllers.scheduler.devices.requests import Alternative, Given, is_meant
from minikube_py.api.types import Obj


def allocation(claim: Obj, given: Sequence[Given]) -> Obj:
    """`status.allocation`."""
    devices: Obj = {"results": [_result(one) for one in given]}
    config = [*_class_configs(given), *_claim_configs(claim, given)]
    if config:
        devices["config"] = config
    selector = _node_selector(given)
    return {"devices": devices} | ({"nodeSelector": selector} if selector else {})


def devices_of(allocation: Obj) -> Iterator[DeviceID]:
    """The devices that an allocation keeps from others: admin access takes nothing away."""
    for one in (allocation.get("devices") or {}).get("results") or ():
        if not one.get("adminAccess"):
            yield DeviceID(one["driver"], one["pool"], one["device"])


def _result(given: Given) -> Obj:
    driver, pool, device = given.device.id
    made: Obj = {"request": given.alternative.name, "driver": driver, "pool": pool, "device": device}
    if given.alternative.is_admin:
        made["adminAccess"] = True
    if given.alternative.ask.get("tolerations"):
        made["tolerations"] = given.alternative.ask["tolerations"]
    return made


def _chosen(given: Sequence[Given]) -> dict[str, Alternative]:
    """The alternatives that were chosen, by name, in order."""
    return {one.alternative.name: one.alternative for one in given}


def _class_configs(given: Sequence[Given]) -> list[Obj]:
    by_class: dict[str, list[Alternative]] = {}
    for alternative in _chosen(given).values():
        by_class.setdefault(alternative.device_class["metadata"]["name"], []).append(alternative)
    return [
        {"source": "FromClass", "requests": [one.name for one in users], **config}
        for users in by_class.values()
        for config in (users[0].device_class.get("spec") or {}).get("config") or ()
    ]


def _claim_configs(claim: Obj, given: Sequence[Given]) -> list[Obj]:
    configs = (claim["spec"].get("devices") or {}).get("config") or ()
    chosen = _chosen(given).values()
    return [
        {"source": "FromClaim", **config}
        for config in configs
        if any(is_meant(config.get("requests"), one) for one in chosen)
    ]


def _node_selector(given: Sequence[Given]) -> Obj | None:
    """Where all of these can be used; None = everywhere."""
    term: dict[str, list[Obj]] = {"matchFields": [], "matchExpressions": []}
    for device in (one.device for one in given):
        if device.place.get("nodeName"):
            field = {"key": "metadata.name", "operator": "In", "values": [device.place["nodeName"]]}
            return {"nodeSelectorTerms": [{"matchFields": [field]}]}
        for found in (device.place.get("nodeSelector") or {}).get("nodeSelectorTerms") or ():
            for part, requirements in term.items():
                requirements += [one for one in found.get(part) or () if one not in requirements]
    made = {part: requirements for part, requirements in term.items() if requirements}
    return {"nodeSelectorTerms": [made]} if made else None
