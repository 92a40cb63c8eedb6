"""Random and hostile input: the only exceptions that leave these modules are the ones they document."""

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from minikube_py.api import errors, patch, schema, selectors, yaml
from minikube_py.api.apply import apply, update_managed_fields
from minikube_py.api.clone import clone

FOUND = schema.load().for_gvk("", "v1", "Pod")
assert FOUND
NODE: schema.Node = FOUND
NOW = "2026-01-01T00:00:00Z"

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=5)
)
fields = st.sampled_from([
    "metadata", "spec", "status", "labels", "containers", "name", "env", "ports", "containerPort", "protocol", "finalizers",
    "conditions", "type", "managedFields", "fieldsV1", "manager", "operation", "resources", "limits", "cpu", "$patch",
    "$retainKeys", "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers", "volumes", "emptyDir", "f:x", ".",
    "startTime", "imagePullSecrets", "creationTimestamp", "annotations", "key", "tolerations", "value",
])  # fmt: skip
hints = st.sampled_from(["delete", "replace", "merge", "a", "1Gi", NOW, "Update", "Apply"])
values = st.recursive(
    st.one_of(scalars, hints),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(fields, inner, max_size=4)),
    max_leaves=12,
)
objects = st.dictionaries(fields, values, max_size=4)
shaped = st.builds(
    lambda meta, spec, items: {"metadata": meta, "spec": {**spec, "containers": items}},
    objects,
    objects,
    st.lists(values, max_size=3),
)
anything = st.one_of(objects, shaped)


@settings(max_examples=100)
@given(anything)
def test_coerce_refuses_or_settles(obj: dict[str, Any]) -> None:
    before = clone(obj)
    schema.unknown_fields(NODE, obj)
    schema.prune(NODE, obj)
    try:
        made, unknown = schema.coerce(NODE, obj)
    except schema.DecodeError as error:
        assert "\n" not in str(error)
        return
    finally:
        assert obj == before
    assert schema.coerce(NODE, made) == (made, [])
    assert len(set(unknown)) == len(unknown)
    schema.validate(NODE, made)


@settings(max_examples=100)
@given(anything, values)
def test_patches_refuse_or_apply(obj: dict[str, Any], change: Any) -> None:
    before = clone((obj, change))
    with contextlib.suppress(errors.APIError):
        patch.merge_patch(obj, change)
    with contextlib.suppress(errors.APIError):
        patch.strategic_merge_patch(obj, change, NODE)
    with contextlib.suppress(errors.APIError):
        patch.json_patch(obj, change)
    assert (obj, change) == before


operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "?"])},
    optional={"path": st.text("/ab01~-", max_size=6), "from": st.text("/ab01~", max_size=4), "value": values},
)


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(["a", "b", "0"]), values, max_size=3), st.lists(operations, max_size=4))
def test_json_patches_refuse_or_apply(obj: dict[str, Any], ops: list[Any]) -> None:
    before = clone(obj)
    with contextlib.suppress(errors.APIError):
        assert isinstance(patch.json_patch(obj, ops), dict)
    assert obj == before


def coerced(obj: dict[str, Any]) -> dict[str, Any] | None:
    try:
        made = schema.coerce(NODE, {"apiVersion": "v1", "kind": "Pod", **obj})[0]
    except schema.DecodeError:
        return None
    made.setdefault("metadata", {})
    return made


@settings(max_examples=100)
@given(anything, anything, anything)
def test_managed_fields_survive_what_clients_bring(
    first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]
) -> None:
    old, new = coerced(first), coerced(second)
    if old is None or new is None:
        return
    update_managed_fields(None, old, "one", node=NODE, now=NOW)
    update_managed_fields(old, new, "two", node=NODE, now=NOW)
    for config in (third, schema.prune(NODE, third)):
        for force in (False, True):
            with contextlib.suppress(errors.APIError):
                made = apply(new, {"apiVersion": "v1", "kind": "Pod", **config}, "three", force, NODE, now=NOW)
                assert apply(made, {"apiVersion": "v1", "kind": "Pod", **config}, "three", False, NODE, now=NOW) == made


@settings(max_examples=100)
@given(st.one_of(st.text(max_size=30), st.text("{}[]:,-&*!|>'\"#%@`? \n\tab1", max_size=40), st.binary(max_size=20)))
def test_any_text_is_yaml_or_refused(text: str | bytes) -> None:
    """Refused by YAMLError: whatever else is raised, or is no JSON afterwards, fails here."""
    with contextlib.suppress(yaml.YAMLError):
        for document in yaml.load_all(text):
            json.dumps(document)
    with contextlib.suppress(yaml.YAMLError):
        yaml.duplicates(text)


@settings(max_examples=100)
@given(st.text("ab=!,()<> inotin/.-_\\", max_size=25))
def test_any_text_is_a_selector_or_refused(text: str) -> None:
    """Refused by ValueError: whatever else is raised fails here."""
    with contextlib.suppress(ValueError):
        selectors.parse_labels(text).matches({"a": "b"})
    with contextlib.suppress(ValueError):
        selectors.parse_fields(text).matches({"a": "b"})
