"""The REST client: verbs over collections (`GVR`), JSON in and out, errors as the error tree, watches as iterators.

Who calls it: every component but the API server. It holds keep-alive connections and may be used from any thread.
Invariant: a verb either returns what the server answered or raises `errors.APIError`; a connection that fails is
`ServiceUnavailable`. A write that raises it may nevertheless have happened: callers read again before they repeat it.
Upstream: staging/src/k8s.io/client-go/rest.
"""

import copy
from collections.abc import Mapping
from http.client import HTTPMessage
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson

from minikube_py.api import errors
from minikube_py.api.gvr import GVR
from minikube_py.api.types import Obj
from minikube_py.client import cause
from minikube_py.client.config import Config, Credentials
from minikube_py.client.stream import Stream, Watch
from minikube_py.client.transport import Answer, Failures, Transport

__all__ = ["Client", "Config", "Stream", "Watch"]

PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
Query = Mapping[str, str | int | bool | None]

_JSON = "application/json"


class Client:
    """One API server as one identity. `timeout` (seconds) bounds every answer except those of watches and streams."""

    def __init__(self, config: Config, *, user_agent: str = "minikube-py", timeout: float = 30.0) -> None:
        self.config = config
        self.timeout = timeout
        self._headers = {"User-Agent": user_agent}
        self._credentials = Credentials(config)
        self._prefix = urlsplit(config.server).path.rstrip("/")
        self._transport = Transport(config)

    def with_timeout(self, timeout: float) -> "Client":
        """The same client (same connections) with another bound on its answers."""
        other = copy.copy(self)
        other.timeout = timeout
        return other

    # -- objects ------------------------------------------------------------------------------------------------------

    def get(self, res: GVR, name: str, namespace: str = "", *, subresource: str = "") -> Obj:
        """One object (or its subresource). Raises NotFound."""
        return self._json("GET", res.path(namespace, name, subresource))

    def list(
        self, res: GVR, namespace: str = "", *, label_selector: str = "", field_selector: str = "", limit: int = 0,
        continue_: str = "", resource_version: str = "", metadata_only: bool = False,
    ) -> Obj:  # fmt: skip
        """The List object: `items`, and `metadata.resourceVersion` to watch from. Raises Expired for an old `continue_`."""
        query: Query = {
            "labelSelector": label_selector, "fieldSelector": field_selector, "limit": limit, "continue": continue_,
            "resourceVersion": resource_version,
        }  # fmt: skip
        return self._json("GET", res.path(namespace), query, accept=_accept("PartialObjectMetadataList", metadata_only))

    def create(
        self, res: GVR, obj: Obj, namespace: str = "", *, name: str = "", subresource: str = "", dry_run: bool = False,
        field_manager: str = "",
    ) -> Obj:  # fmt: skip
        """Create an object (`namespace` defaults to its own), or POST to the `subresource` of the object called `name`."""
        target = res.path(namespace or obj.get("metadata", {}).get("namespace", ""), name, subresource)
        query: Query = {"dryRun": "All" if dry_run else "", "fieldManager": field_manager}
        return self._json("POST", target, query, obj)

    def update(self, res: GVR, obj: Obj, *, subresource: str = "") -> Obj:
        """Replace an object; its resourceVersion guards it. Raises Conflict when somebody else wrote first."""
        metadata = obj["metadata"]
        return self._json("PUT", res.path(metadata.get("namespace", ""), metadata["name"], subresource), None, obj)

    def patch(
        self, res: GVR, name: str, patch: Any, namespace: str = "", *, kind: str = "merge", subresource: str = "",
        field_manager: str = "", force: bool = False,
    ) -> Obj:  # fmt: skip
        """Patch an object. `kind`: "merge", "json", "strategic" or "apply" (server-side apply needs `field_manager`)."""
        query: Query = {"fieldManager": field_manager, "force": "true" if force else ""}
        return self._json("PATCH", res.path(namespace, name, subresource), query, patch, PATCH_TYPES[kind])

    def delete(
        self, res: GVR, name: str, namespace: str = "", *, grace_period_seconds: int | None = None,
        propagation_policy: str = "", uid: str = "", resource_version: str = "",
    ) -> Obj:  # fmt: skip
        """Delete an object; `uid` and `resource_version` are preconditions (Conflict when they do not hold)."""
        body = _delete_options(grace_period_seconds, propagation_policy, uid, resource_version)
        return self._json("DELETE", res.path(namespace, name), None, body)

    def delete_collection(
        self, res: GVR, namespace: str = "", *, label_selector: str = "", field_selector: str = "",
        grace_period_seconds: int | None = None, propagation_policy: str = "",
    ) -> Obj:  # fmt: skip
        """Delete every object the selectors match."""
        query: Query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        body = _delete_options(grace_period_seconds, propagation_policy)
        return self._json("DELETE", res.path(namespace), query, body)

    def watch(
        self, res: GVR, namespace: str = "", *, resource_version: str = "", label_selector: str = "",
        field_selector: str = "", timeout_seconds: int = 0, allow_bookmarks: bool = True,
        send_initial_events: bool = False, metadata_only: bool = False,
    ) -> Watch:  # fmt: skip
        """Changes after `resource_version`, as an iterator of (type, object). Raises Expired when it is too old."""
        query: Query = {
            "watch": "true", "resourceVersion": resource_version, "labelSelector": label_selector,
            "fieldSelector": field_selector, "timeoutSeconds": timeout_seconds,
            "allowWatchBookmarks": "true" if allow_bookmarks else "",
            "sendInitialEvents": "true" if send_initial_events else "",
            "resourceVersionMatch": "NotOlderThan" if send_initial_events else "",
        }  # fmt: skip
        return Watch(
            self.open("GET", res.path(namespace), query=query, accept=_accept("PartialObjectMetadata", metadata_only))
        )

    # -- plain HTTP ---------------------------------------------------------------------------------------------------

    def request(
        self, method: str, path: str, *, query: Query | None = None, body: Any = None,
        content_type: str = _JSON, accept: str = _JSON,
    ) -> tuple[int, HTTPMessage, bytes]:  # fmt: skip
        """One request, answered whole: (status, headers (any case), body). `body` is bytes, or anything JSON can hold.

        Raises APIError for every status >= 400, ServiceUnavailable when no answer came.
        """
        answer = self._send(method, path, query, body, content_type, accept, self.timeout)
        data = self._whole(answer)
        if answer.status >= 400:
            raise _error(answer.status, data)
        return answer.status, answer.headers, data

    def open(
        self, method: str, path: str, *, query: Query | None = None, body: Any = None,
        content_type: str = _JSON, accept: str = _JSON, timeout: float | None = None,
    ) -> Stream:  # fmt: skip
        """A request whose answer is read as it comes (logs -f, watches). `timeout`: seconds of silence; None = for ever."""
        answer = self._send(method, path, query, body, content_type, accept, timeout)
        if answer.status >= 400:
            raise _error(answer.status, self._whole(answer))
        return Stream(answer)

    def close(self) -> None:
        """Drop the idle connections."""
        self._transport.close()

    def _json(self, method: str, path: str, query: Query | None = None, body: Any = None,
              content_type: str = _JSON, accept: str = _JSON) -> Obj:  # fmt: skip
        _, _, data = self.request(method, path, query=query, body=body, content_type=content_type, accept=accept)
        try:
            decoded = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise errors.InternalError(f"{method} {path}: the answer is not JSON: {error}") from error
        if not isinstance(decoded, dict):
            raise errors.InternalError(f"{method} {path}: the answer is not an object")
        return decoded

    def _send(
        self, method: str, path: str, query: Query | None, body: Any, content_type: str, accept: str,
        timeout: float | None,
    ) -> Answer:  # fmt: skip
        headers = {**self._headers, **self._credentials.headers(), "Accept": accept}
        data: bytes | None = None
        if body is not None:
            data = body if isinstance(body, bytes) else orjson.dumps(body)
            headers["Content-Type"] = content_type
        if method != "GET" and (text := cause.current()):
            headers[cause.HEADER] = text.encode("ascii", "replace").decode()
        target = self._prefix + path
        if query and (wanted := {key: value for key, value in query.items() if value}):
            target += f"?{urlencode(wanted)}"
        try:
            return self._transport.send(method, target, headers, data, timeout)
        except Failures as error:
            raise self._unreachable(error) from error

    def _whole(self, answer: Answer) -> bytes:
        try:
            return answer.read()
        except Failures as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> errors.ServiceUnavailable:
        return errors.ServiceUnavailable(f"no answer from the API server at {self.config.server}: {error}")


def _accept(kind: str, metadata_only: bool) -> str:
    return f"{_JSON};as={kind};g=meta.k8s.io;v=v1,{_JSON};q=0.5" if metadata_only else _JSON


def _error(status: int, data: bytes) -> errors.APIError:
    try:
        body: Any = orjson.loads(data)
    except orjson.JSONDecodeError:
        body = data.decode(errors="replace")
    return errors.from_status(body, status)


def _delete_options(grace: int | None, policy: str, uid: str = "", resource_version: str = "") -> Obj | None:
    options: Obj = {}
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    if policy:
        options["propagationPolicy"] = policy
    if uid or resource_version:
        conditions = (("uid", uid), ("resourceVersion", resource_version))
        options["preconditions"] = {key: value for key, value in conditions if value}
    return {"kind": "DeleteOptions", "apiVersion": "v1", **options} if options else None
