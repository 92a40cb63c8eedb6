"""The four kinds of patch, each as the function that makes the new object from the newest stored one.

Who calls it: the REST edge for PATCH. Invariant: a patch is applied to the object in the version of the request, and again
from the start whenever somebody was faster; metadata that the patch merely repeats is tolerated.
Stop of the data path: 4, for patches.
Upstream: staging/src/k8s.io/apiserver/pkg/endpoints/handlers/patch.go.
"""

from collections.abc import Callable

import orjson

from apiserver.resources import convert
from apiserver.resources.row import Row
from minikube_py.api import errors, patch, schema
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC_PATCH, APPLY_PATCH = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)


def maker(row: Row, body: bytes, content_type: str, finish: Callable[[Obj], Obj]) -> Callable[[Obj], Obj]:
    """The function from stored object to patched one, both in stored form. `finish` decodes the patched object strictly.

    Raises BadRequest for a body that is no patch, UnsupportedMediaType for an unknown kind of patch.
    """
    if content_type not in TYPES:
        raise errors.UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: " + ", ".join(TYPES)
        )
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise errors.BadRequest(f"error decoding patch: {error}") from None
    node = schema.load().for_gvk(row.group, row.version, row.kind)

    def make(old: Obj) -> Obj:
        live = convert.to_served(row, old)
        if content_type == JSON_PATCH:
            new = patch.json_patch(live, parsed)
        elif content_type == MERGE_PATCH:
            new = patch.merge_patch(live, parsed)
        else:
            new = patch.strategic_merge_patch(live, parsed, node)
        return convert.to_stored(row, finish(new))

    return make


def not_decodable(row: Row, name: str, error: Exception) -> errors.Invalid:
    """422 for a patch whose result is no object of the kind."""
    return errors.invalid(row.kind, name, [Cause("FieldValueInvalid", f"Invalid value: {error}", "patch")], row.group)
