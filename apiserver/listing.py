"""Listing: selectors, resourceVersion rules, and chunks with continue tokens that carry revision and last key.

Who calls it: the REST edge (list, deletecollection) and the watch (selectors). Invariant: all chunks of one list come from
one revision; a token whose revision is compacted is answered 410 with a token that continues at the newest revision. A
list's resourceVersion is the store's, not the newest item's.
The way back of the data path: reading.
Upstream: apiserver/pkg/storage/etcd3/store.go (GetList), pkg/storage/continue.go, apimachinery internalversion/validation.
"""

import base64
from typing import NamedTuple

import orjson

from apiserver import strategies
from apiserver.request import Query
from apiserver.resources import convert
from apiserver.resources.row import Row
from apiserver.storage.base import Compacted
from apiserver.storage.cache import Store
from apiserver.storage.collection import Page
from minikube_py.api import errors, selectors
from minikube_py.api.errors import Cause
from minikube_py.api.selectors import FieldSelector, Selector

_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
    "continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing "
    "with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the "
    "time the first chunk was returned and now may show up in the list."
)


class Selection(NamedTuple):
    """The objects a list, watch or deletecollection means; None selects everything."""

    labels: Selector | None
    fields: FieldSelector | None


class Chunk(NamedTuple):
    """One page, and the token that gets the next one ("" on the last)."""

    page: Page
    token: str
    remaining: int | None


def selection(row: Row, query: Query, name: str = "") -> Selection:
    """The selectors of a request. Raises BadRequest for syntax and for a field label the kind does not know.

    In: `row` is the served row; field labels come back as the stored kind's.
    """
    labels = fields = None
    try:
        if text := query.get("labelSelector"):
            labels = selectors.parse_labels(text)
        if text := query.get("fieldSelector"):
            fields = selectors.parse_fields(_stored_labels(row, text))
    except ValueError as error:
        raise errors.BadRequest(str(error)) from None
    if fields is not None:
        _check_fields(row, fields, query)
    return Selection(labels, fields)


def _stored_labels(row: Row, text: str) -> str:
    names = convert.FIELD_LABELS.get(row.qualified)
    if not names:
        return text
    terms = []
    for term in text.split(","):
        head = next((served for served in names if term.startswith((served + ".", served + "=", served + "!"))), "")
        terms.append(names[head] + term[len(head) :] if head else term)
    return ",".join(terms)


def _check_fields(row: Row, fields: FieldSelector, query: Query) -> None:
    known = strategies.for_row(row).field_names()
    for path, _, _ in fields.requirements:
        if path in ("metadata.name", "metadata.namespace") or path in known:
            continue
        if known:
            why = f"field label not supported: {path}"
        else:
            why = f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
        what = f'label selector "{query.get("labelSelector", "")}", field selector "{query.get("fieldSelector", "")}"'
        raise errors.BadRequest(
            f'Unable to find "{row.group}/{row.version}, Resource={row.plural}" that match {what}: {why}'
        )


def run(store: Store, row: Row, namespace: str, query: Query, chosen: Selection) -> Chunk:
    """One list request. Raises BadRequest, Invalid, Expired, Timeout (a revision from the future)."""
    limit, token = _limit(query), query.get("continue", "")
    revision, start, prefix = 0, "", row.prefix(namespace)
    _check_options(query)
    if token:
        revision, start = _decode(token, prefix)
    else:
        revision = _exact(query, limit)
        not_newer(store, query.get("resourceVersion", ""))
    try:
        page = store.list(prefix, chosen.labels, chosen.fields, revision=revision, start_after=start, limit=limit)
    except Compacted:
        raise _expired(store, prefix, start, token) from None
    more = bool(limit) and bool(page.remaining)
    next_token = _encode(page.revision, page.last_key.removeprefix(prefix)) if more else ""
    filtered = chosen.labels is not None or chosen.fields is not None
    return Chunk(page, next_token, page.remaining if more and not filtered else None)


def not_newer(store: Store, version: str) -> None:
    """A resourceVersion must be one that exists. Raises Timeout for one from the future, BadRequest for no number."""
    if not version or version == "0":
        return
    wanted = _number(version)
    if wanted > store.revision:
        message = f"Too large resource version: {wanted}, current: {store.revision}"
        causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
        raise errors.Timeout(message, details={"causes": causes, "retryAfterSeconds": 1})


def _number(version: str) -> int:
    if not version.isascii() or not version.isdigit():
        cause = Cause("FieldValueInvalid", f'Invalid value: "{version}": strconv.ParseUint: parsing "{version}": '
                      "invalid syntax", "resourceVersion")  # fmt: skip
        raise errors.invalid("ListOptions", "", [cause], "meta.k8s.io")
    return int(version)


def _limit(query: Query) -> int:
    try:
        return max(int(query.get("limit") or 0), 0)
    except ValueError:
        raise errors.BadRequest(f"limit: {query['limit']!r} is not a number") from None


def _check_options(query: Query) -> None:
    match, version = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    causes = []
    if match:
        if query.get("continue"):
            causes.append(Cause("FieldValueForbidden", "Forbidden: resourceVersionMatch is forbidden for a continue request",
                                "resourceVersionMatch"))  # fmt: skip
        elif not version:
            causes.append(Cause("FieldValueForbidden",
                                "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
                                "resourceVersionMatch"))  # fmt: skip
        if match not in ("Exact", "NotOlderThan"):
            causes.append(Cause("FieldValueNotSupported",
                                f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"',
                                "resourceVersionMatch"))  # fmt: skip
        if match == "Exact" and version == "0":
            causes.append(Cause("FieldValueForbidden",
                                'Forbidden: resourceVersionMatch "Exact" is forbidden for resourceVersion "0"',
                                "resourceVersionMatch"))  # fmt: skip
    if causes:
        raise errors.invalid("ListOptions", "", causes, "meta.k8s.io")
    if query.get("continue") and version not in ("", "0"):
        raise errors.BadRequest("specifying resource version is not allowed when using continue")


def _exact(query: Query, limit: int) -> int:
    """The revision a list must come from, 0 when any current one will do."""
    version, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    if not version or version == "0":
        return 0
    wanted = _number(version)
    return wanted if match == "Exact" or (limit and not match) else 0


def _encode(revision: int, start: str) -> str:
    token = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": start + "\0"})
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def _decode(token: str, prefix: str) -> tuple[int, str]:
    """(revision, key to start after); revision 0 for a token that goes on at the newest state."""
    try:
        decoded = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        start, revision, form = decoded["start"], decoded["rv"], decoded["v"]
    except (ValueError, KeyError, TypeError):
        raise errors.BadRequest("continue key is not valid") from None
    if form != "meta.k8s.io/v1" or not isinstance(start, str) or not isinstance(revision, int) or ".." in start:
        raise errors.BadRequest("continue key is not valid")
    return max(revision, 0), prefix + start.rstrip("\0")


def _expired(store: Store, prefix: str, start: str, token: str) -> errors.Expired:
    if not token:
        return errors.Expired("The resourceVersion for the provided list is too old.")
    error = errors.Expired(_EXPIRED)
    error.metadata = {"continue": _encode(-1, start.removeprefix(prefix)), "resourceVersion": str(store.revision)}
    return error
