"""The description of simulated GPUs (`up --gpus FILE`): YAML text -> cards. Pure.

Who calls it: the kubelet's mock driver, and the cluster's `up`, which checks the file before anything is started.
Invariant: what is returned can be simulated as it stands; anything else is a ValueError of one sentence that names the place.
Cards keep their UUIDs as long as the description, profile and node are the same.
"""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubelet.devices import gpu_models
from kubelet.devices.gpu_models import Model

_KEYS = {"model", "count", "numa", "mig", "faults", "util", "uuid", "memory", "node"}
_MOST = 64
_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


@dataclass(frozen=True)
class Fault:
    """At `at` seconds after the start: an Xid error, or (`xid` 0) the card is well again."""

    at: float
    xid: int


@dataclass(frozen=True)
class Card:
    """One simulated card. `memory` in MiB, `numa` -1 = none; `mig` = MIG mode is on (instances are not simulated);
    `node` names the node it is in, "" = the first; `busy` = its utilisation follows its allocation."""

    uuid: str
    model: Model
    memory: int
    numa: int = -1
    mig: bool = False
    node: str = ""
    faults: tuple[Fault, ...] = ()
    busy: bool = True


@dataclass(frozen=True)
class Description:
    """A machine's cards and its driver version."""

    driver: str
    cards: tuple[Card, ...]


def parse(document: Any, seed: str = "") -> Description:
    """A loaded YAML document. In: `seed` (profile and node) makes UUIDs differ between nodes. Raises ValueError."""
    if not isinstance(document, dict) or not isinstance(document.get("gpus"), list):
        raise ValueError("a GPU description is a mapping with a list `gpus`")
    unknown = set(document) - {"driver", "gpus"}
    if unknown:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r} in a GPU description; known are driver, gpus")
    driver = str(document.get("driver") or "550.163.01")
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?", driver):
        raise ValueError(f"driver {driver!r} is not a driver version such as 550.163.01")
    cards = [
        card for place, entry in enumerate(document["gpus"]) for card in _cards(entry, f"gpus[{place}]", place, seed)
    ]
    if len(cards) > _MOST:
        raise ValueError(f"{len(cards)} GPUs are described; at most {_MOST} can be simulated on a node")
    duplicates = {card.uuid for card in cards if sum(other.uuid == card.uuid for other in cards) > 1}
    if duplicates:
        raise ValueError(f"two GPUs have the uuid {sorted(duplicates)[0]}")
    return Description(driver, tuple(cards))


def _cards(entry: Any, where: str, place: int, seed: str) -> Iterator[Card]:
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is not a mapping such as {{model: T4, count: 2}}")
    unknown = set(entry) - _KEYS
    if unknown:
        raise ValueError(f"{where}: unknown field {sorted(unknown)[0]!r}; known are {', '.join(sorted(_KEYS))}")
    model = gpu_models.find(str(entry.get("model", "")))
    if model is None:
        raise ValueError(f"{where}: unknown model {entry.get('model')!r}; known are {', '.join(gpu_models.MODELS)}")
    count = _integer(entry, "count", 1, where, 0)
    if entry.get("uuid") and count != 1:
        raise ValueError(f"{where}: a uuid names one card, but count is {count}")
    mig = entry.get("mig")
    util = entry.get("util")
    for nth in range(count):
        made = uuid.uuid5(uuid.NAMESPACE_OID, f"minikube-py/{seed}/{place}/{nth}/{model.name}")
        yield Card(
            uuid=str(entry.get("uuid") or f"GPU-{made}"),
            model=model,
            memory=_integer(entry, "memory", model.memory, where, 1),
            numa=_integer(entry, "numa", -1, where, -1),
            mig=bool(isinstance(mig, dict) and mig.get("enabled")),
            node=str(entry.get("node") or ""),
            faults=tuple(_fault(fault, where) for fault in entry.get("faults") or ()),
            busy=not isinstance(util, dict) or util.get("follow", "allocation") == "allocation",
        )


def _integer(entry: dict[str, Any], key: str, default: int, where: str, least: int) -> int:
    value = entry.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{where}: {key} is {value!r}, not an integer of at least {least}")
    return value


def _fault(fault: Any, where: str) -> Fault:
    known = isinstance(fault, dict) and not set(fault) - {"at", "xid", "recover"}
    if not known or ("xid" in fault) == bool(fault.get("recover")):
        raise ValueError(f"{where}: a fault is {{at: 30s, xid: 79}} or {{at: 90s, recover: true}}, not {fault!r}")
    found = _TIME.fullmatch(str(fault.get("at", "")).strip())
    if found is None:
        raise ValueError(f"{where}: a fault's time `at` is {fault.get('at')!r}, not a duration such as 30s")
    return Fault(float(found[1]) * _SECONDS[found[2]], int(fault.get("xid", 0)))
