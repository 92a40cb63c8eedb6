"""What else is asked of an object along its schema: fields that do not belong, required ones that are missing, pruning.

Who uses it: the decoder and server-side apply (`unknown_fields`), the registry (`validate`), custom resources (`prune`).
Invariant: pure; nothing here changes or repairs an object.
Upstream: kube-openapi validation and sigs.k8s.io/json strict errors, with the same field paths.
"""

from typing import Any

from minikube_py.api.coerce import FREE, OMITTED_WHEN_EMPTY, child_of, dotted
from minikube_py.api.errors import Cause
from minikube_py.api.schema_node import ANY, Node
from minikube_py.api.types import Obj


def unknown_fields(node: Node, obj: Obj) -> list[str]:
    """The paths of all fields the schema does not have, in the object's order: ["spec.containers[0].imagePullPolice"]."""
    found: list[str] = []
    _unknown(node, obj, [], found)
    return found


def _unknown(node: Node, value: Any, stack: list[str | int], found: list[str]) -> None:
    if isinstance(value, list):
        steps: Any = enumerate(value)
    elif isinstance(value, dict):
        steps = value.items()
    else:
        return
    for step, item in steps:
        stack.append(step)
        if node.type == "object" and isinstance(value, dict) and step not in node.properties:
            found.append(dotted(stack))
        elif node.type != ANY:
            _unknown(child_of(node, step), item, stack, found)
        stack.pop()


def prune(node: Node, obj: Obj) -> Obj:
    """A copy without the fields the schema does not have, values untouched."""
    made = _prune(node, obj)
    return made if isinstance(made, dict) else {}


def _prune(node: Node, value: Any) -> Any:
    if isinstance(value, list):
        return [_prune(node.items or FREE, item) for item in value]
    if not isinstance(value, dict):
        return value
    if node.type == "object":
        return {key: _prune(node.properties[key], item) for key, item in value.items() if key in node.properties}
    return {key: _prune(child_of(node, key), item) for key, item in value.items()}


def validate(node: Node, obj: Obj) -> list[Cause]:
    """What the schema alone says is wrong with a decoded object: missing required fields, as upstream words them.

    `status` is left out: there upstream's Go types fill in zero values, and clients rely on it.
    """
    found: list[Cause] = []
    for key, item in obj.items():
        if key not in ("status", "metadata") and key in node.properties:
            _required(node.properties[key], item, [key], found)
    _missing(node, obj, [], found, skip=("status",))
    return found


def _missing(node: Node, value: Obj, stack: list[str | int], found: list[Cause], skip: tuple[str, ...] = ()) -> None:
    for key in node.required:
        if value.get(key) is not None or key in skip:
            continue
        # A missing list is an empty one to upstream's types (`endpoints: null`); only this one is refused when empty.
        if node.properties[key].type not in OMITTED_WHEN_EMPTY or key == "containers":
            found.append(Cause("FieldValueRequired", "Required value", dotted([*stack, key])))


def _required(node: Node, value: Any, stack: list[str | int], found: list[Cause]) -> None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            _required(node.items or FREE, item, [*stack, index], found)
    elif isinstance(value, dict):
        if node.type == "object":
            _missing(node, value, stack, found)
        for key, item in value.items():
            if isinstance(item, dict | list):
                _required(child_of(node, key), item, [*stack, key], found)
