"""What became of Ingresses and Gateways, written into their statuses; and the Services that lead to Gateways.

Who calls it: main.py, after the proxy serves. Invariant: an equal status is not written; of a route's parents only our own
entries are touched. A Service of a Gateway that is gone goes too.
Upstream: gateway-api.sigs.k8s.io "Status and conditions"; kubernetes.io "Ingress" (status.loadBalancer).
"""

import copy
from collections.abc import Callable, Iterable
from functools import partial

from minikube_py.api import errors
from minikube_py.api.clock import REAL, rfc3339
from minikube_py.api.gvr import GVR, INGRESSES, SERVICES, new_object
from minikube_py.api.meta import key_of, labels_of, name_of, namespace_of, set_condition
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from minikube_py.ingress import gateways
from minikube_py.ingress.gateways import CONTROLLER, Attachment, Outcome, Verdict, World
from minikube_py.ingress.kinds import GATEWAYCLASSES, GATEWAYS, GROUP, HTTPROUTES

LABEL = f"{GROUP}/gateway-name"
_NAMESPACE_LABEL = "minikube-py.io/gateway-namespace"
_APP = {"app": "ingress-controller"}


def addresses(service: Obj | None) -> list[Obj]:
    """Where a Service of type LoadBalancer answers, as an Ingress says it."""
    entries = (((service or {}).get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return [{key: entry[key] for key in ("ip", "hostname") if entry.get(key)} for entry in entries]


def write_ingresses(client: Client, mine: Iterable[Obj], front: Obj | None) -> None:
    """Every Ingress has the address of the add-on's Service. Raises APIError."""
    wanted = {"loadBalancer": {"ingress": found}} if (found := addresses(front)) else {"loadBalancer": {}}
    for ingress in mine:
        if (ingress.get("status") or {}).get("loadBalancer", {}) != wanted["loadBalancer"]:
            _update(client, INGRESSES, ingress, wanted)


def write_gateways(client: Client, namespace: str, world: World, outcome: Outcome, *, served: bool) -> None:
    """Services, addresses and conditions of everything that is ours. Raises APIError."""
    for entry in world.classes:
        if entry["spec"].get("controllerName") == CONTROLLER:
            _status(
                client,
                GATEWAYCLASSES,
                entry,
                partial(_judge, obj=entry, verdicts=[("Accepted", "True", "Accepted", "")]),
            )
    mine = gateways.ours(world)
    services = _services(client, namespace, world, outcome, mine)
    for gateway in mine:
        found = addresses(services.get(key_of(gateway)))
        _status(
            client, GATEWAYS, gateway, partial(_gateway, gateway=gateway, found=found, outcome=outcome, served=served)
        )
    for route in world.routes:
        own = outcome.parents.get(key_of(route), [])
        _status(client, HTTPROUTES, route, partial(_parents, route=route, own=own))


def _services(client: Client, namespace: str, world: World, outcome: Outcome, mine: list[Obj]) -> dict[str, Obj]:
    """The Service of each Gateway, by the Gateway's key; made, changed or taken away as needed."""
    there = {
        f"{labels_of(s)[_NAMESPACE_LABEL]}/{labels_of(s)[LABEL]}": s for s in world.services.values()
        if namespace_of(s) == namespace and _NAMESPACE_LABEL in labels_of(s) and LABEL in labels_of(s)
    }  # fmt: skip
    for gateway in mine:
        key, name = key_of(gateway), f"gateway-{namespace_of(gateway)}-{name_of(gateway)}"[:63].rstrip("-")
        ports = [
            {"name": f"port-{port}", "port": port, "targetPort": inner, "protocol": "TCP"}
            for port, inner in sorted(outcome.ports.get(key, {}).items())
        ]
        before = there.get(key, {"spec": {}})["spec"].get("ports", [])
        if [{k: p[k] for k in ("name", "port", "targetPort", "protocol")} for p in before] != ports:
            spec = {"type": "LoadBalancer", "selector": _APP, "ports": ports}
            service = new_object(SERVICES, name, namespace, spec=spec)
            service["metadata"]["labels"] = {LABEL: name_of(gateway), _NAMESPACE_LABEL: namespace_of(gateway)}
            there[key] = client.patch(
                SERVICES, name, service, namespace, kind="apply", field_manager="minikube-py-ingress", force=True
            )
    for key in there.keys() - {key_of(gateway) for gateway in mine}:
        try:
            client.delete(SERVICES, name_of(there[key]), namespace)
        except errors.NotFound:
            continue
    return there


def _gateway(status: Obj, gateway: Obj, found: list[Obj], outcome: Outcome, served: bool) -> None:
    kinds = {"ip": "IPAddress", "hostname": "Hostname"}
    status["addresses"] = [{"type": kinds[kind], "value": value} for entry in found for kind, value in entry.items()]
    before = {entry["name"]: entry for entry in status.get("listeners") or []}
    status["listeners"] = []
    for listener in gateway["spec"]["listeners"]:
        entry: Obj = {"conditions": copy.deepcopy(before.get(listener["name"], {}).get("conditions") or [])}
        where = (key_of(gateway), listener["name"])
        entry |= {
            "name": listener["name"], "attachedRoutes": outcome.attached[where],
            "supportedKinds": [{"group": GROUP, "kind": "HTTPRoute"}],
        }  # fmt: skip
        _judge(entry, gateway, outcome.listener_verdicts[where])
        status["listeners"].append(entry)
    programmed: Verdict = ("Programmed", "True", "Programmed", "")
    if not served:
        programmed = ("Programmed", "False", "Invalid", "the proxy refuses its configuration; see the add-on's log")
    elif not found:
        programmed = ("Programmed", "False", "AddressNotAssigned", "its Service has no address yet")
    _judge(status, gateway, [("Accepted", "True", "Accepted", ""), programmed])


def _parents(status: Obj, route: Obj, own: list[Attachment]) -> None:
    before = status.get("parents") or []
    kept = [entry for entry in before if entry.get("controllerName") != CONTROLLER]
    old = {str(e["parentRef"]): e.get("conditions") or [] for e in before if e.get("controllerName") == CONTROLLER}
    for attachment in own:
        ref = {"group": GROUP, "kind": "Gateway", **attachment.ref}
        entry = {"parentRef": ref, "controllerName": CONTROLLER, "conditions": copy.deepcopy(old.get(str(ref), []))}
        _judge(entry, route, attachment.verdicts)
        kept.append(entry)
    if kept or before:
        status["parents"] = kept


def _judge(status: Obj, obj: Obj, verdicts: Iterable[Verdict]) -> None:
    generation, now = obj["metadata"].get("generation", 1), rfc3339(REAL.now())
    for kind, value, reason, message in verdicts:
        set_condition(status, kind, value, now, reason, message)
    wanted = {kind for kind, *_ in verdicts}
    for condition in status["conditions"]:
        condition.setdefault("message", "")
        if condition["type"] in wanted:
            condition["observedGeneration"] = generation


def _status(client: Client, resource: GVR, obj: Obj, change: Callable[[Obj], None]) -> None:
    status = copy.deepcopy(obj.get("status") or {})
    change(status)
    if status != (obj.get("status") or {}):
        _update(client, resource, obj, status)


def _update(client: Client, resource: GVR, obj: Obj, status: Obj) -> None:
    try:
        client.update(resource, {**obj, "status": status}, subresource="status")
    except errors.NotFound:
        return
