"""Values that may be absent: `optional.of(x)`, `a.?b`.

Who uses it: the evaluator, the library, whoever hands an optional variable to an expression. Invariant: pure.
Upstream: github.com/google/cel-go/common/types/optional.go.
"""

from typing import Any


class Optional:
    """The value of optional access: there, or not. Fields of it are optional again."""

    def __init__(self, present: bool, value: Any = None) -> None:
        self.present, self.value = present, value

    def get(self, key: Any, default: Any = None) -> "Optional":
        return optional_field(self, key)

    def __getitem__(self, key: Any) -> "Optional":
        return optional_field(self, key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Optional) and (self.present, self.value) == (other.present, other.value)

    __hash__ = None  # type: ignore[assignment]


def optional_field(target: Any, key: Any) -> Optional:
    if isinstance(target, Optional):
        return optional_field(target.value, key) if target.present else target
    try:
        return Optional(True, target[key])
    except (KeyError, IndexError, TypeError):
        return Optional(False)
