"""One binding, written and, when the answer was lost, looked up: afterwards it is known whether the pod is bound, and where.

Who calls it: main.py's writer threads. Invariant: `bind` returns only with what the API said (or because the scheduler stops),
so an assumption in the snapshot is never taken back for a pod that is bound after all.
Upstream: pkg/scheduler/schedule_one.go (bindingCycle); asking after a lost answer is ours.
"""

import logging
import threading
from typing import NamedTuple

from controllers.scheduler.framework import Profile
from controllers.scheduler.podinfo import PodInfo
from minikube_py.api import errors, meta
from minikube_py.api.clock import Clock
from minikube_py.api.gvr import PODS
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

log = logging.getLogger(__name__)
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0


class Outcome(NamedTuple):
    """`pod` is the object as the API has it when it had to be asked: None when it is gone, or when nobody needed to ask."""

    bound: bool
    pod: Obj | None = None
    error: str = ""


def bind(profile: Profile, client: Client, pod: PodInfo, node: str, clock: Clock, stopped: threading.Event) -> Outcome:
    """Bind the pod (pending, as it was decided about) to the node through the profile's first willing bind plugin."""
    try:
        if any(plugin.bind(pod, node) for plugin, _ in profile.at("bind")):
            return Outcome(True)
        return Outcome(False, pod.pod, "no bind plugin took the pod")
    except errors.APIError as error:
        log.info("binding %s to %s: %s", pod.key, node, error)
        return _find_out(client, pod, node, clock, stopped, str(error))


def _find_out(client: Client, pod: PodInfo, node: str, clock: Clock, stopped: threading.Event, failure: str) -> Outcome:
    wait = _FIRST_WAIT
    while True:
        try:
            found = client.get(PODS, meta.name_of(pod.pod), pod.namespace)
        except errors.NotFound:
            return Outcome(False, None, failure)
        except errors.APIError as error:
            if clock.wait(stopped, wait):
                return Outcome(False, None, str(error))
            wait = min(wait * 2, _LONGEST_WAIT)
            continue
        if meta.uid_of(found) != pod.uid:
            return Outcome(False, None, failure)
        return Outcome(found["spec"].get("nodeName") == node, found, failure)
