"""Objects of custom resources from one version to another: by their apiVersion alone, or by the definition's webhook.

Who calls it: `definition.py`. Invariant: a webhook may change everything but metadata, of which only labels and annotations;
what it made of an object is remembered for a while, because the same object is read and matched again and again.
Upstream: apiextensions-apiserver/pkg/apiserver/conversion/{nop_converter,webhook_converter}.go.
"""

import hashlib
import threading
import uuid
from collections import OrderedDict
from collections.abc import Sequence

import orjson

from apiserver.webhooks import WebhookError, Webhooks
from minikube_py.api.clone import clone
from minikube_py.api.errors import InternalError
from minikube_py.api.types import Obj

_REMEMBERED = 2000


class Unchanged:
    """`strategy: None`: the versions differ in nothing but their name."""

    blocks = False

    def convert(self, objs: Sequence[Obj], api_version: str) -> list[Obj]:
        """The objects in another version; those already in it as they are, the others as copies."""
        return [obj if obj.get("apiVersion") == api_version else {**obj, "apiVersion": api_version} for obj in objs]


class ByWebhook:
    """`strategy: Webhook`. Thread-safe; blocks its thread while the webhook works."""

    blocks = True

    def __init__(self, conversion: Obj, webhooks: Webhooks) -> None:
        self._client: Obj = conversion["webhook"]["clientConfig"]
        self._webhooks = webhooks
        self._known: OrderedDict[bytes, Obj] = OrderedDict()
        self._lock = threading.Lock()

    def convert(self, objs: Sequence[Obj], api_version: str) -> list[Obj]:
        """As `Unchanged.convert`, all in one call. Raises InternalError when the webhook does not."""
        made, missing, keys = list(objs), list[int](), list[bytes]()
        for index, obj in enumerate(objs):
            if obj.get("apiVersion") == api_version:
                continue
            key = _digest(obj, api_version)
            with self._lock:
                known = self._known.get(key)
            if known is None:
                missing.append(index)
                keys.append(key)
            else:
                made[index] = _with_metadata(clone(known), obj)
        if missing:
            for index, key, new in zip(
                missing, keys, self._ask([objs[at] for at in missing], api_version), strict=True
            ):
                self._remember(key, new)
                made[index] = clone(new)
        return made

    def _remember(self, key: bytes, obj: Obj) -> None:
        with self._lock:
            self._known[key] = obj
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)

    def _ask(self, objs: list[Obj], api_version: str) -> list[Obj]:
        uid = str(uuid.uuid4())
        request = {"uid": uid, "desiredAPIVersion": api_version, "objects": objs}
        review = {"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "request": request}
        first = objs[0]
        failed = f"conversion webhook for {first.get('apiVersion')}, Kind={first.get('kind')} failed"
        try:
            response = self._webhooks.call(self._client, review).get("response") or {}
        except WebhookError as error:
            raise InternalError(f"{failed}: {error}") from None
        result = response.get("result") or {}
        if result.get("status") != "Success":
            raise InternalError(f"{failed}: {result.get('message') or '<unknown reason>'}")
        converted = response.get("convertedObjects") or []
        if response.get("uid") != uid or len(converted) != len(objs):
            raise InternalError(f"{failed}: the answer does not fit the question")
        wrong = [obj for obj in converted if not isinstance(obj, dict) or obj.get("apiVersion") != api_version]
        if wrong:
            raise InternalError(f"{failed}: an object came back in another version than {api_version}")
        return [_with_metadata(new, old) for new, old in zip(converted, objs, strict=True)]


def _digest(obj: Obj, api_version: str) -> bytes:
    """The object without its revision, and the version wanted."""
    meta = {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}
    text = orjson.dumps([{**obj, "metadata": meta}, api_version], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).digest()


def _with_metadata(new: Obj, old: Obj) -> Obj:
    """Metadata is the server's own; labels and annotations are content."""
    kept = {key: value for key, value in old["metadata"].items() if key not in ("labels", "annotations")}
    changed = {key: value for key, value in (new.get("metadata") or {}).items() if key in ("labels", "annotations")}
    return {**new, "metadata": {**kept, **changed}}
