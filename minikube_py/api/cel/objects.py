"""Typed literals in expressions of MutatingAdmissionPolicies: `Object{…}`, `Object.spec{…}`, `JSONPatch{…}`.

Who uses it: the evaluator makes them, the policy reads them (`values.from_cel`). Invariant: the name of a nested literal is
the path where it stands, so a literal in the wrong place is found when it is put together.
Upstream: apiserver/pkg/cel/mutation/{typeresolver,jsonpatch}.go, mutation/dynamic/objects.go.
"""

from typing import Any

NAMES = ("Object", "JSONPatch")
"""The variables that stand for types."""
_PATCH_FIELDS = ("op", "path", "from", "value")


class TypeName:
    """A type as an expression writes it: `Object.spec.template`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cel_field(self, name: str) -> "TypeName":
        if self.name != "Object" and not self.name.startswith("Object."):
            raise ValueError(f"undeclared reference to '{self.name}.{name}'")
        return TypeName(f"{self.name}.{name}")


class ObjectValue:
    """A literal. `fields` are CEL values. Raises ValueError for fields that its type cannot have."""

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self.name, self.fields = name, fields
        if name == "JSONPatch":
            unknown = [field for field in fields if field not in _PATCH_FIELDS]
            if unknown:
                raise ValueError(f"undefined field '{unknown[0]}'")

    def cel_field(self, name: str) -> Any:
        return self.fields[name]

    def cel_has(self, name: str) -> bool:
        return name in self.fields

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectValue) and (self.name, self.fields) == (other.name, other.fields)

    __hash__ = None  # type: ignore[assignment]

    def misplaced(self) -> str:
        """What is wrong with the names of the literals inside; "" when they stand where they say."""
        for name, value in self.fields.items():
            wanted = f"{self.name}.{name}"
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, ObjectValue):
                    if one.name != wanted:
                        return (
                            f'unexpected type name "{one.name}", expected "{wanted}", '
                            "which matches field name path from root Object type"
                        )
                    if found := one.misplaced():
                        return found
        return ""
