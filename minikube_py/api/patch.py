"""The patch formats: JSON patch, JSON merge patch and (from `strategic`) strategic merge patch.

Who uses it: the registry's patch verb; kctl and controllers to compute what changed (`create_merge_patch`).
Invariant: arguments are never changed, and the result shares no dict or list with the patch.
Stop of the data path: 3, for patches.
Upstream: RFC 6902 and RFC 7386 as github.com/evanphx/json-patch reads them; apiserver's endpoints/handlers/patch.go.
"""

from typing import Any

import orjson

from minikube_py.api.clone import clone
from minikube_py.api.errors import BadRequest, Invalid, RequestEntityTooLarge
from minikube_py.api.strategic import strategic_merge_patch
from minikube_py.api.types import Obj

__all__ = ["create_merge_patch", "json_patch", "merge_patch", "strategic_merge_patch"]

_MAX_OPERATIONS = 10_000
_MAX_COPIED = 3 * 1024 * 1024
"""Bytes of JSON that the `copy` operations of one patch may add: each could double the object, and there may be many."""
_NEEDS_VALUE = frozenset(("add", "replace", "test"))
_NEEDS_FROM = frozenset(("move", "copy"))
_OPERATIONS = _NEEDS_VALUE | _NEEDS_FROM | {"remove"}


def json_patch(obj: Obj, ops: Any) -> Obj:
    """The object after the operations, applied in order, all or none.

    Raises BadRequest when the patch is no JSON patch, Invalid when one of its operations does not apply (`test` included).
    """
    if not isinstance(ops, list):
        raise BadRequest(
            "error decoding patch: json: cannot unmarshal into Go value of type jsonpatch.Patch: not a list"
        )
    if len(ops) > _MAX_OPERATIONS:
        raise RequestEntityTooLarge(
            f"The allowed maximum operations in a JSON patch is {_MAX_OPERATIONS}, got {len(ops)}"
        )
    document: Any = clone(obj)
    copied = 0
    for op in ops:
        document, size = _operate(document, op)
        copied += size
        if copied > _MAX_COPIED:
            raise RequestEntityTooLarge(
                f"Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit "
                f"{_MAX_COPIED}"
            )
    if not isinstance(document, dict):
        raise _refused("the patch does not leave an object")
    return document


def _operate(document: Any, op: Any) -> tuple[Any, int]:
    """One operation. Out: the document, and how many bytes of JSON were copied within it."""
    if not isinstance(op, dict) or op.get("op") not in _OPERATIONS or not isinstance(op.get("path"), str):
        raise BadRequest(f"error decoding patch: {op!r} is no JSON patch operation")
    kind, path = op["op"], _steps(op["path"])
    if kind in _NEEDS_VALUE and "value" not in op:
        raise BadRequest(f'error decoding patch: operation "{kind}" at {op["path"]} has no value')
    if kind in _NEEDS_FROM and not isinstance(op.get("from"), str):
        raise BadRequest(f'error decoding patch: operation "{kind}" at {op["path"]} has no from')
    match kind:
        case "add":
            return _add(document, path, clone(op["value"])), 0
        case "remove":
            _remove(document, path)
            return document, 0
        case "replace":
            if not path:
                return clone(op["value"]), 0
            _replace(document, path, clone(op["value"]))
            return document, 0
        case "test":
            _test(document, path, op["value"], op["path"])
            return document, 0
        case "copy":
            text = orjson.dumps(_get(document, _steps(op["from"])))
            return _add(document, path, orjson.loads(text)), len(text)
    source = _steps(op["from"])
    if path[: len(source)] == source and len(path) > len(source):
        raise _refused(f"{op['from']} cannot be moved into itself")
    moved = _get(document, source)
    _remove(document, source)
    return _add(document, path, moved), 0


def _refused(why: str) -> Invalid:
    cause = {"reason": "UnexpectedServerResponse", "message": why, "field": "patch"}  # which kubectl shows
    return Invalid("the server rejected our request due to an error in our request", details={"causes": [cause]})


def _steps(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise BadRequest(f'error decoding patch: "{pointer}" is no JSON pointer')
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _index(target: list[Any], step: str, *, end: int) -> int:
    if step.isascii() and step.isdecimal() and (step == "0" or step[0] != "0") and int(step) <= end:
        return int(step)
    raise _refused(f"{step} is no position in a list of {len(target)}")


def _get(document: Any, path: list[str]) -> Any:
    for step in path:
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list):
            document = document[_index(document, step, end=len(document) - 1)]
        else:
            raise _refused(f"the path /{'/'.join(path)} does not exist")
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(parent, last, end=len(parent)), value)
    else:
        raise _refused(f"the path /{'/'.join(path)} does not exist")
    return document


def _remove(document: Any, path: list[str]) -> None:
    if not path:
        raise _refused("the whole object cannot be removed")
    parent, last = _get(document, path[:-1]), path[-1]
    _get(parent, [last])
    if isinstance(parent, dict):
        del parent[last]
    else:
        del parent[int(last)]


def _replace(document: Any, path: list[str], value: Any) -> None:
    parent, last = _get(document, path[:-1]), path[-1]
    _get(parent, [last])
    parent[last if isinstance(parent, dict) else int(last)] = value


def _test(document: Any, path: list[str], expected: Any, pointer: str) -> None:
    try:
        found = _get(document, path)
    except Invalid:
        if expected is None:
            return
        raise
    if not _same(found, expected):
        raise _refused(f"testing value {pointer} failed: test failed")


def _same(a: Any, b: Any) -> bool:
    """Equality as JSON has it: True is not 1, 1.0 is 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def merge_patch(obj: Obj, patch: Any) -> Obj:
    """The object after a JSON merge patch: null deletes, objects merge, everything else replaces.

    The result shares with `obj` what the patch leaves alone. Raises BadRequest when the patch is no object.
    """
    if not isinstance(patch, dict):
        raise BadRequest("error decoding patch: a merge patch has to be a JSON object")
    merged: Obj = _merge(obj, patch)
    return merged


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return clone(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge(result.get(key), value)
    return result


def create_merge_patch(a: Obj, b: Obj) -> Obj:
    """The smallest merge patch that makes `b` out of `a` ({} when they are equal). `b` must hold no null in an object."""
    patch: Obj = {key: None for key in a if key not in b}
    for key, value in b.items():
        if key not in a:
            patch[key] = clone(value)
        elif isinstance(value, dict) and isinstance(a[key], dict):
            if inner := create_merge_patch(a[key], value):
                patch[key] = inner
        elif not _same(a[key], value):
            patch[key] = clone(value)
    return patch
