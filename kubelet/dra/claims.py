"""The ResourceClaims of this node's pods: prepared before anything of a pod starts, given back when nothing of it runs.

Who calls it: `pod_worker` prepares and releases, `start_container` asks what a container gets, `pod_manager` releases
what is left of pods that are gone.
Invariants: only claims that are reserved for the pod are prepared; which claims of which drivers a pod has is written down
(`claims.json` in the pod's directory) before a driver is asked, so a kubelet killed anywhere knows what there is to undo; a
claim is unprepared when no pod's directory mentions it any more. What drivers answered is only remembered: after a restart
they are asked again, which by their contract changes nothing.
Upstream: pkg/kubelet/cm/dra/manager.go, which keeps a checkpoint of the answers instead.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kubelet.devices.base import Grant
from kubelet.dra import cdi
from kubelet.dra.drivers import ClaimError, ClaimRef, Drivers, Prepared
from minikube_py.api import resourceclaims as rc
from minikube_py.api.errors import APIError
from minikube_py.api.meta import name_of, namespace_of, uid_of
from minikube_py.api.types import Obj

Getter = Callable[[str, str], Obj | None]
"""(namespace, name) → the claim as it is now; raises APIError."""
_FILE = "claims.json"


class _Use(NamedTuple):
    """One claim at one driver."""

    driver: str
    claim: ClaimRef


class PodClaims:
    """The claims of all pods of a node. Calls for one pod come one at a time."""

    def __init__(self, root: Path, drivers: Drivers, get: Getter, cdi_directories: Sequence[str]) -> None:
        self._pods, self._drivers, self._get, self._directories = root / "pods", drivers, get, cdi_directories
        self._prepared: dict[_Use, list[Prepared]] = {}
        # by driver: what is given back for one pod is not prepared for the next meanwhile
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def prepare(self, pod: Obj) -> None:
        """Make the pod's claims ready; repeated calls cost nothing. Raises ClaimError."""
        if not rc.entries_of(pod):
            return
        noted = self._noted(uid_of(pod))
        if noted and all(use in self._prepared for use in noted):
            return
        uses = [use for claim in self._claims(pod) for use in _uses(claim)]
        for use in uses:
            self._drivers.get(use.driver)  # before anything is written: nobody need be asked to undo what is not done
        self._refuse_namesakes(uses)
        self._note(uid_of(pod), uses)
        for driver, group in _by_driver(uses).items():
            with self._locks[driver]:
                waiting = [use for use in group if use not in self._prepared]
                answers = self._drivers.get(driver).prepare([use.claim for use in waiting]) if waiting else {}
                self._prepared.update({use: answers[use.claim.uid] for use in waiting})

    def _refuse_namesakes(self, uses: Sequence[_Use]) -> None:
        """A claim that was replaced by force may have the new one's devices until its pod has ended. Raises ClaimError."""
        noted = (use.claim for file in self._pods.glob(f"*/{_FILE}") for use in _read(file))
        here = {(claim.namespace, claim.name): claim.uid for claim in noted}
        for claim in (use.claim for use in uses):
            old = here.get((claim.namespace, claim.name), claim.uid)
            if old != claim.uid:
                raise ClaimError(f"old ResourceClaim with same name {claim.name} and different UID {old} still exists")

    def _claims(self, pod: Obj) -> Iterator[Obj]:
        """The pod's claims, each once. Raises ClaimError for one that it must not use."""
        names, seen = rc.claim_names(pod), set()
        if why := rc.unmade(pod):
            raise ClaimError(why)
        for entry in rc.entries_of(pod):
            name = names.get(entry["name"])
            if name is None or name in seen:
                continue
            seen.add(name)
            try:
                claim = self._get(namespace_of(pod), name)
            except APIError as error:
                raise ClaimError(f"fetch ResourceClaim {name}: {error}") from error
            if claim is None:
                raise ClaimError(f'fetch ResourceClaim {name}: resourceclaims.resource.k8s.io "{name}" not found')
            if not rc.is_reserved_for(claim, pod):
                who, what = f"{name_of(pod)} ({uid_of(pod)})", f"{name} ({uid_of(claim)})"
                raise ClaimError(f"pod {who} is not allowed to use ResourceClaim {what}")
            if rc.allocation_of(claim) is None:
                raise ClaimError(f"ResourceClaim {name} is not allocated")
            yield claim

    def grant(self, pod: Obj, container: Obj) -> Grant:
        """What the container's claims add to it. Raises ClaimError."""
        wanted = (container.get("resources") or {}).get("claims") or ()
        if not wanted:
            return Grant()
        self.prepare(pod)
        names = rc.claim_names(pod)
        mine = {use: self._prepared.get(use, []) for use in self._noted(uid_of(pod))}
        ids: list[str] = []
        for entry in wanted:
            for use, devices in mine.items():
                if use.claim.name == names.get(entry["name"]):
                    ids += [name for one in devices if _is_for(one, entry.get("request") or "") for name in one.cdi]
        return cdi.grant(ids, self._directories)

    # -- down ---------------------------------------------------------------------------------------------------------

    def release(self, uid: str) -> None:
        """Nothing of the pod runs any more: give its claims back, except those that other pods here use. Raises ClaimError."""
        for driver, group in _by_driver(self._noted(uid)).items():
            with self._locks[driver]:
                noted = (file for file in self._pods.glob(f"*/{_FILE}") if file.parent.name != uid)
                others = {use for file in noted for use in _read(file)}
                leaving = [use for use in group if use not in others]
                if leaving:
                    self._drivers.get(driver).unprepare([use.claim for use in leaving])
                for use in leaving:
                    self._prepared.pop(use, None)
                self._note(uid, [use for use in self._noted(uid) if use.driver != driver])

    # -- on disk ------------------------------------------------------------------------------------------------------

    def _noted(self, uid: str) -> list[_Use]:
        return _read(self._pods / uid / _FILE)

    def _note(self, uid: str, uses: Sequence[_Use]) -> None:
        directory = self._pods / uid
        if not uses:
            (directory / _FILE).unlink(missing_ok=True)
            return
        directory.mkdir(parents=True, exist_ok=True)
        making = directory / f".{_FILE}"
        making.write_text(json.dumps([{"driver": use.driver, **use.claim._asdict()} for use in uses]))
        making.rename(directory / _FILE)


def _read(file: Path) -> list[_Use]:
    try:
        noted = json.loads(file.read_text())
    except (OSError, ValueError):
        return []  # written by a kubelet that was killed: no driver was asked yet
    return [_Use(one["driver"], ClaimRef(one["namespace"], one["name"], one["uid"])) for one in noted]


def _uses(claim: Obj) -> list[_Use]:
    """The drivers that an allocated claim concerns."""
    results = ((rc.allocation_of(claim) or {}).get("devices") or {}).get("results") or ()
    ref = ClaimRef(namespace_of(claim), name_of(claim), uid_of(claim))
    return [_Use(driver, ref) for driver in dict.fromkeys(result["driver"] for result in results)]


def _by_driver(uses: Sequence[_Use]) -> dict[str, list[_Use]]:
    found: defaultdict[str, list[_Use]] = defaultdict(list)
    for use in uses:
        found[use.driver].append(use)
    return dict(found)


def _is_for(device: Prepared, request: str) -> bool:
    """Whether a container that names this request ("" = the whole claim) gets the device, by whatever alternative."""
    if not request or not device.requests:
        return True
    return any(name == request or name.partition("/")[0] == request for name in device.requests)
