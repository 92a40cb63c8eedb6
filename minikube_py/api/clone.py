"""A deep copy of JSON data, several times faster than `copy.deepcopy`, which has to allow for everything else.

Who uses it: everything that changes an object it does not own. Invariant: the copy shares no dict and no list with its source.
"""

from typing import Any, TypeVar

T = TypeVar("T")


def clone(value: T) -> T:
    """A copy of a JSON value (dict, list or scalar)."""
    return _clone(value)  # type: ignore[no-any-return]


def _clone(value: Any) -> Any:
    kind = value.__class__
    if kind is dict:
        return {key: _clone(item) if item.__class__ in _CONTAINERS else item for key, item in value.items()}
    if kind is list:
        return [_clone(item) if item.__class__ in _CONTAINERS else item for item in value]
    return value


_CONTAINERS = frozenset((dict, list))
