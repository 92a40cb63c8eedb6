"""ConfigMaps, Secrets, claims, volumes and service-account tokens for pods: fetched when asked for, remembered for a while.

Who calls it: `container_config` (env) and `volumes` through their getters. Invariants: a pod's first look at an object is
always fresh; later ones are at most `max_age` old, an absence at most two seconds; while the API server is away the last
known contents serve.
Upstream: pkg/kubelet/util/manager (cache based), pkg/kubelet/token.
"""

import random
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from minikube_py.api.clock import Clock, parse_rfc3339, rfc3339
from minikube_py.api.errors import APIError, NotFound, ServiceUnavailable
from minikube_py.api.gvr import (
    CONFIGMAPS,
    CSIDRIVERS,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    RESOURCECLAIMS,
    RUNTIMECLASSES,
    SECRETS,
    SERVICEACCOUNTS,
    VOLUMEATTACHMENTS,
)
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client

_ABSENT_FOR = 2.0  # seconds: a pod waits for an object that is not there yet
_RESOURCES = {
    res.plural: res
    for res in (
        CONFIGMAPS,
        CSIDRIVERS,
        PERSISTENTVOLUMECLAIMS,
        PERSISTENTVOLUMES,
        RESOURCECLAIMS,
        RUNTIMECLASSES,
        SECRETS,
        VOLUMEATTACHMENTS,
    )
}


@dataclass
class _Entry:
    obj: Obj | None
    fetched: float


class ObjectCache:
    """Objects of this node's pods. Thread-safe."""

    def __init__(self, client: Client, clock: Clock, max_age: float) -> None:
        self._client, self._clock, self._max_age = client, clock, max_age
        self._entries: dict[tuple[str, str, str], _Entry] = {}
        self._lock = threading.Lock()

    def get(self, plural: str, namespace: str, name: str, newer_than: float = 0.0) -> Obj | None:
        """The object, or None when there is none. `newer_than`: the oldest (monotonic) moment it may be from.

        Raises APIError when the server refuses, or is away and nothing is remembered.
        """
        key = (plural, namespace, name)
        now = self._clock.monotonic()
        with self._lock:
            entry = self._entries.get(key)
        age = self._max_age if entry and entry.obj is not None else min(_ABSENT_FOR, self._max_age)
        if entry and entry.fetched >= max(newer_than, now - age):
            return entry.obj
        try:
            found: Obj | None = self._client.get(_RESOURCES[plural], name, namespace)
            if found is not None:
                found["kind"] = _RESOURCES[plural].kind
        except NotFound:
            found = None
        except ServiceUnavailable:
            if entry is None:
                raise
            return entry.obj
        with self._lock:
            self._entries[key] = _Entry(found, now)
            if len(self._entries) > 4096:
                self._entries.pop(next(iter(self._entries)))
        return found

    def put(self, plural: str, namespace: str, name: str, obj: Obj | None) -> bool:
        """Somebody who watches saw this. Out: whether it is another state than the one remembered."""
        key = (plural, namespace, name)
        if obj is not None:
            obj = {**obj, "kind": _RESOURCES[plural].kind}
        with self._lock:
            known = self._entries.get(key)
            self._entries[key] = _Entry(obj, self._clock.monotonic())
        return known is None or _version(known.obj) != _version(obj)


def _version(obj: Obj | None) -> str | None:
    return None if obj is None else obj["metadata"].get("resourceVersion")


@dataclass
class _Token:
    text: str
    expires: float
    lifetime: float


class TokenCache:
    """Tokens by pod and audience; renewed when four fifths of their life have passed, or after a day."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._tokens: dict[tuple[str, str, int], _Token] = {}
        self._lock = threading.Lock()

    def get(self, pod: Obj, audience: str, seconds: int) -> str:
        """A token bound to the pod. Raises APIError when none can be had and the last one has expired."""
        return self._token(pod, audience, seconds).text

    def status(self, pod: Obj, audience: str, seconds: int) -> Obj:
        """As `get`, with when it expires: the status of a TokenRequest."""
        token = self._token(pod, audience, seconds)
        return {"token": token.text, "expirationTimestamp": rfc3339(datetime.fromtimestamp(token.expires, UTC))}

    def _token(self, pod: Obj, audience: str, seconds: int) -> _Token:
        key = (pod["metadata"]["uid"], audience, seconds)
        with self._lock:
            held = self._tokens.get(key)
        if held and not self._due(held):
            return held
        try:
            fresh = self._request(pod, audience, seconds)
        except APIError:
            if held and held.expires > self._clock.time():
                return held
            raise
        with self._lock:
            self._tokens[key] = fresh
        return fresh

    def forget(self, uid: str) -> None:
        with self._lock:
            for key in [key for key in self._tokens if key[0] == uid]:
                del self._tokens[key]

    def _due(self, held: _Token) -> bool:
        left = held.expires - self._clock.time()
        jitter = random.uniform(0, 10)
        return left < held.lifetime * 0.2 + jitter or held.lifetime - left > 86_400 - jitter

    def _request(self, pod: Obj, audience: str, seconds: int) -> _Token:
        meta = pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        spec: Obj = {"expirationSeconds": seconds, "boundObjectRef": bound}
        if audience:
            spec["audiences"] = [audience]
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        account = pod["spec"].get("serviceAccountName") or "default"
        answer = self._client.create(
            SERVICEACCOUNTS, request, meta["namespace"], name=account, subresource="token"
        )["status"]  # fmt: skip
        expires = parse_rfc3339(answer["expirationTimestamp"]).timestamp()
        return _Token(answer["token"], expires, max(1.0, expires - self._clock.time()))
