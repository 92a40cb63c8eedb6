"""Strategic merge patch: like a merge patch, but lists whose schema names a merge key are merged element by element.

Who uses it: `patch` (and through it the registry). Invariant: arguments are never changed; applying the same patch twice
gives what applying it once gave, except that `$patch: delete` finds nothing the second time.
Upstream: apimachinery/pkg/util/strategicpatch (patch.go), whose order rules are kept exactly: `$setElementOrder` before the
order in the patch before the order in the live list, and elements the live list lacks come first.
"""

from collections.abc import Callable
from typing import Any

from minikube_py.api.clone import clone
from minikube_py.api.errors import BadRequest
from minikube_py.api.schema_node import Node
from minikube_py.api.types import Obj

_DIRECTIVE, _RETAIN = "$patch", "$retainKeys"
_ORDER, _DELETE = "$setElementOrder/", "$deleteFromPrimitiveList/"
_DIRECTIVES = (_DIRECTIVE, _RETAIN, _ORDER, _DELETE)
_NOT_ELEMENTS = ("delete", "replace")


def strategic_merge_patch(obj: Obj, patch: Any, node: Node | None) -> Obj:
    """The object after the patch. `node`: the kind's schema (None: nothing is known, lists replace).

    Raises BadRequest for a malformed directive or a list element without its merge key.
    """
    if not isinstance(patch, dict):
        raise BadRequest("error decoding patch: a strategic merge patch has to be a JSON object")
    return _merge_map(clone(obj), clone(patch), node)


def _child(node: Node | None, field: str) -> Node | None:
    if node is None:
        return None
    return node.properties.get(field) or node.additional


def _merge_map(live: Obj, patch: Obj, node: Node | None) -> Obj:
    if _DIRECTIVE in patch:
        match patch.pop(_DIRECTIVE):
            case "replace":
                replaced: Obj = _plain(patch)
                return replaced
            case "delete":
                return {}
            case "merge":
                pass
            case unknown:
                raise BadRequest(f"unknown patch type found: {unknown}")
    _retain_keys(live, patch)
    _ordered_lists(live, patch, node)
    for key, value in patch.items():
        field = key.removeprefix(_DELETE)
        if key != field:
            _delete_from_primitive_list(live, field, value)
        elif value is None:
            live.pop(key, None)
        elif key in live:
            live[key] = _merge_value(live[key], value, _child(node, key))
        else:
            live[key] = _plain(value)
    return live


def _merge_value(live: Any, patch: Any, node: Node | None) -> Any:
    strategy = node.strategy if node else ()
    if isinstance(live, dict) and isinstance(patch, dict) and "replace" not in strategy:
        return _merge_map(live, patch, node)
    if isinstance(live, list) and isinstance(patch, list) and "merge" in strategy and node:
        return _merge_list(live, patch, node)
    return _plain(patch)


def _plain(value: Any) -> Any:
    """The patch's value where nothing is there to merge with: directives and nulls in it mean nothing and go."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if item is not None and not key.startswith(_DIRECTIVES)}
        return {key: _plain(item) for key, item in kept.items()}
    if isinstance(value, list):
        return [
            _plain(item) for item in value if not (isinstance(item, dict) and item.get(_DIRECTIVE) in _NOT_ELEMENTS)
        ]
    return value


def _retain_keys(live: Obj, patch: Obj) -> None:
    if _RETAIN not in patch:
        return
    keep = patch.pop(_RETAIN)
    if not isinstance(keep, list):
        raise BadRequest("invalid patch format of retainKeys: not a list")
    if missing := [
        key for key, value in patch.items() if value is not None and not key.startswith("$") and key not in keep
    ]:
        raise BadRequest(f"{_RETAIN} does not contain {missing[0]}, which the patch sets")
    for key in [key for key in live if key not in keep]:
        del live[key]


def _delete_from_primitive_list(live: Obj, field: str, gone: Any) -> None:
    if not isinstance(gone, list):
        raise BadRequest(f"invalid patch format of primitive list: {_DELETE}{field} is not a list")
    if isinstance(live.get(field), list):
        live[field] = [item for item in live[field] if item not in gone]


def _ordered_lists(live: Obj, patch: Obj, node: Node | None) -> None:
    """Merge the lists that come with `$setElementOrder`, and take both out of the patch."""
    for directive in [key for key in patch if key.startswith(_ORDER)]:
        order, field = patch.pop(directive), directive.removeprefix(_ORDER)
        if not isinstance(order, list):
            raise BadRequest(f"invalid patch format of setElementOrder list: {directive} is not a list")
        changes = patch.pop(field, None)
        if changes is not None and not isinstance(changes, list):
            raise BadRequest(f"expected a list for {field}, whose order is set")
        child, before = _child(node, field), live.get(field)
        key = _key_function(child, order)
        if changes is not None and not isinstance(before, list):
            live[field] = _arrange(_plain(changes), order, [], key)
        elif changes is not None and child is not None and "merge" in child.strategy:
            listed = {_hashable(key(item)) for item in order}
            for item in changes:
                if not (isinstance(item, dict) and _DIRECTIVE in item) and _hashable(key(item)) not in listed:
                    raise BadRequest(f"The order in patch list:\n{changes}\n doesn't match {_ORDER} list:\n{order}")
            merged = _merge_list(list(before or ()), changes, child)
            live[field] = _arrange(merged, order, list(before or ()), key)
        elif changes is not None:
            live[field] = _plain(changes)
        elif isinstance(before, list):
            live[field] = _arrange(before, order, before, key)


def _key_function(node: Node | None, sample: list[Any]) -> Callable[[Any], Any]:
    """How elements of this list are told apart: by their merge key, or by their value when they are primitive."""
    name = node.merge_key if node else ""
    if not name or any(not isinstance(item, dict) for item in sample):
        return lambda item: item

    def key(item: Any) -> Any:
        if not isinstance(item, dict) or item.get(name) is None:
            raise BadRequest(f"map: {item} does not contain declared merge key: {name}")
        return item[name]

    return key


def _hashable(key: Any) -> Any:
    return repr(key) if isinstance(key, dict | list) else (key.__class__, key)


def _merge_list(live: list[Any], patch: list[Any], node: Node) -> list[Any]:
    if not live and not patch:
        return []
    if any(isinstance(item, list) for item in (*live, *patch)):
        raise BadRequest("lists of lists are not supported by strategic merge patch")
    if not any(isinstance(item, dict) for item in (*live, *patch)):
        unique = list({_hashable(item): item for item in (*live, *patch)}.values())
        return _arrange(unique, patch, live, lambda item: item)
    if not node.merge_key:
        return _plain(patch)  # type: ignore[no-any-return]
    key = _key_function(node, patch)
    kept, changes, replaced = _special_elements(live, patch, key)
    if replaced:
        return _plain(changes)  # type: ignore[no-any-return]
    merged = {_hashable(key(item)): item for item in kept}
    for change in changes:
        found = _hashable(key(change))
        merged[found] = _merge_map(merged[found], change, node.items) if found in merged else _plain(change)
    return _arrange(list(merged.values()), changes, live, key)


def _special_elements(
    live: list[Any], patch: list[Any], key: Callable[[Any], Any]
) -> tuple[list[Any], list[Any], bool]:
    """Carry out `$patch` elements. Out: what is left of the live list, the ordinary elements, whether the list is replaced."""
    changes, replaced = [], False
    for item in patch:
        directive = item.get(_DIRECTIVE) if isinstance(item, dict) else None
        match directive:
            case None:
                changes.append(item)
            case "delete":
                gone = key(item)
                live = [one for one in live if key(one) != gone]
            case "replace":
                replaced = True
                rest = {name: value for name, value in item.items() if name != _DIRECTIVE}
                if rest:
                    changes.append(rest)
            case "merge":
                raise BadRequest("merging list cannot contain a $patch: merge element")
            case unknown:
                raise BadRequest(f"unknown patch type found: {unknown}")
    return live, changes, replaced


def _arrange(items: list[Any], order: list[Any], live: list[Any], key: Callable[[Any], Any]) -> list[Any]:
    """Put the merged elements in order.

    Those named in `order` follow it, the others keep the live list's order. The two sequences are interleaved: one of the
    others goes before a named one only when both are in the live list and it stands first there.
    """
    rank = {_hashable(key(item)): position for position, item in reversed(list(enumerate(order)))}
    place = {_hashable(key(item)): position for position, item in reversed(list(enumerate(live)))}

    def name(item: Any) -> Any:
        return _hashable(key(item))

    named = sorted((item for item in items if name(item) in rank), key=lambda item: rank[name(item)])
    others = sorted(
        (item for item in items if name(item) not in rank), key=lambda item: place.get(name(item), len(place))
    )
    result: list[Any] = []
    while named and others:
        left, right = place.get(name(others[0])), place.get(name(named[0]))
        first = others if left is not None and right is not None and left < right else named
        result.append(first.pop(0))
    return result + named + others
