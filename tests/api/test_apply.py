"""Server-side apply and managedFields: ownership, conflicts in kubectl's words, removal, and properties over random objects."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikube_py.api import errors, schema
from minikube_py.api.apply import apply, update_managed_fields
from minikube_py.api.clone import clone
from minikube_py.api.typed import strip
from minikube_py.api.types import Obj

FOUND = schema.load().for_gvk("apps", "v1", "Deployment")
assert FOUND
NODE: schema.Node = FOUND
T1, T2, T3 = "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z", "2026-01-01T00:00:03Z"


def deployment(replicas: int | None = None, *containers: Obj, labels: Obj | None = None) -> Obj:
    spec: Obj = {} if replicas is None else {"replicas": replicas}
    if containers:
        spec["template"] = {"spec": {"containers": list(containers)}}
    meta: Obj = {"name": "web", "namespace": "ns"} | ({"labels": labels} if labels else {})
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta} | ({"spec": spec} if spec else {})


def entry(obj: Obj, manager: str) -> Obj:
    return next(one for one in obj["metadata"]["managedFields"] if one["manager"] == manager)


def updated(old: Obj | None, new: Obj, manager: str, now: str = T1, subresource: str = "") -> Obj:
    made = clone(new)
    update_managed_fields(old, made, manager, node=NODE, now=now, subresource=subresource)
    return made


A = {"name": "a", "image": "i:1"}


def test_create_by_apply() -> None:
    made = apply(None, deployment(3, A, labels={"x": "y"}), "me", False, NODE, now=T1)
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "me", "operation": "Apply", "apiVersion": "apps/v1", "time": T1, "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {"f:x": {}}},
                "f:spec": {
                    "f:replicas": {},
                    "f:template": {"f:spec": {"f:containers": {'k:{"name":"a"}': {".": {}, "f:name": {}, "f:image": {}}}}},
                },
            },
        }
    ]  # fmt: skip


def test_create_by_update_owns_maps_and_lists_too() -> None:
    made = updated(
        None, deployment(3, {**A, "env": [{"name": "E", "value": "1"}]}, labels={"x": "y"}), "kubectl-create"
    )
    one = entry(made, "kubectl-create")
    assert one["operation"] == "Update"
    assert one["fieldsV1"]["f:metadata"] == {"f:labels": {".": {}, "f:x": {}}}
    container = one["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"a"}']
    assert container["f:env"] == {".": {}, 'k:{"name":"E"}': {".": {}, "f:name": {}, "f:value": {}}}


def test_conflict_names_the_owner_as_kubectl_shows_it() -> None:
    live = updated(None, deployment(1, A), "kubectl-client-side-apply")
    with pytest.raises(errors.Conflict) as caught:
        apply(live, deployment(2), "kubectl", False, NODE, now=T2)
    assert caught.value.message == (
        'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas'
    )
    assert caught.value.details["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-client-side-apply" using apps/v1',
            "field": ".spec.replicas",
        }
    ]
    with pytest.raises(errors.Conflict) as caught:
        apply(live, deployment(2, {"name": "a", "image": "i:2"}), "kubectl", False, NODE, now=T2)
    assert caught.value.message == (
        'Apply failed with 2 conflicts: conflicts with "kubectl-client-side-apply" using apps/v1:\n'
        '- .spec.replicas\n- .spec.template.spec.containers[name="a"].image'
    )
    applied = apply(None, deployment(1), "first", False, NODE, now=T1)
    with pytest.raises(errors.Conflict, match=r'conflict with "first": \.spec\.replicas'):
        apply(applied, deployment(2), "second", False, NODE, now=T2)


def test_force_takes_over_and_the_other_loses_it() -> None:
    live = updated(None, deployment(1, A), "other")
    made = apply(live, deployment(2), "me", True, NODE, now=T2)
    assert made["spec"]["replicas"] == 2
    assert "f:replicas" not in entry(made, "other")["fieldsV1"]["f:spec"]
    assert entry(made, "me")["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    assert [one["operation"] for one in made["metadata"]["managedFields"]] == ["Apply", "Update"]


def test_the_same_value_is_shared_and_survives_one_owner() -> None:
    first = apply(None, deployment(1, A), "one", False, NODE, now=T1)
    both = apply(first, deployment(1), "two", False, NODE, now=T2)
    alone = apply(both, deployment(None, A), "one", False, NODE, now=T3)
    assert alone["spec"]["replicas"] == 1
    gone = apply(alone, deployment(), "two", False, NODE, now=T3)
    assert "replicas" not in gone["spec"]
    assert [one["manager"] for one in gone["metadata"]["managedFields"]] == ["one"]


def test_what_is_no_longer_applied_goes_and_what_nobody_applied_stays() -> None:
    sidecar = {"name": "b", "image": "j"}
    first = apply(None, deployment(3, A, sidecar, labels={"x": "y", "z": "w"}), "me", False, NODE, now=T1)
    first["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Always"  # as defaulting does
    first["spec"]["progressDeadlineSeconds"] = 600
    second = apply(first, deployment(3, A, labels={"x": "y"}), "me", False, NODE, now=T2)
    assert second["metadata"]["labels"] == {"x": "y"}
    assert second["spec"]["template"]["spec"]["containers"] == [{**A, "imagePullPolicy": "Always"}]
    assert second["spec"]["progressDeadlineSeconds"] == 600


def test_applying_the_same_again_changes_nothing() -> None:
    first = apply(None, deployment(3, A), "me", False, NODE, now=T1)
    assert apply(first, deployment(3, A), "me", False, NODE, now=T2) == first


def test_an_object_from_before_managed_fields() -> None:
    live = deployment(1, A)
    with pytest.raises(errors.Conflict, match="before-first-apply"):
        apply(live, deployment(2), "me", False, NODE, now=T1)
    made = apply(live, deployment(2), "me", True, NODE, now=T1)
    assert entry(made, "before-first-apply")["operation"] == "Update"


def test_refusals() -> None:
    bad = deployment(1)
    bad["spec"]["template"] = {"metadata": {"unknownSubMeta": 1}}
    with pytest.raises(errors.APIError) as caught:
        apply(None, bad, "me", False, NODE, now=T1)
    assert caught.value.message == (
        "failed to create typed patch object (ns/web; apps/v1, Kind=Deployment): "
        ".spec.template.metadata.unknownSubMeta: field not declared in schema"
    )
    assert (caught.value.code, caught.value.reason) == (500, "")
    brought = deployment(1)
    brought["metadata"]["managedFields"] = [{"manager": "x"}]
    with pytest.raises(errors.BadRequest, match="managedFields must be nil"):
        apply(None, brought, "me", False, NODE, now=T1)


def test_status_is_ignored_on_the_main_endpoint_and_an_entry_of_its_own() -> None:
    made = apply(None, {**deployment(1), "status": {"replicas": 1}}, "me", False, NODE, now=T1, ignore=("status",))
    assert "status" not in made
    assert "f:status" not in entry(made, "me")["fieldsV1"]
    after = updated(made, {**made, "status": {"replicas": 1}}, "me", T2, "status")
    assert [one.get("subresource", "") for one in after["metadata"]["managedFields"]] == ["", "status"]
    with pytest.raises(errors.Conflict, match=r'"me" with subresource "status" using apps/v1: \.status\.replicas'):
        apply(after, {**deployment(1), "status": {"replicas": 2}}, "you", False, NODE, now=T3)


def test_updates_move_ownership_and_keep_entries_that_lose_nothing() -> None:
    first = updated(None, deployment(1, A), "one")
    same = updated(first, first, "two", T2)
    assert same["metadata"]["managedFields"] is first["metadata"]["managedFields"] or same == first
    scaled = updated(first, {**first, "spec": {**first["spec"], "replicas": 5}}, "two", T2)
    assert entry(scaled, "two")["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in entry(scaled, "one")["fieldsV1"]["f:spec"]
    again = updated(scaled, {**scaled, "spec": {**scaled["spec"], "replicas": 6}}, "two", T3)
    assert entry(again, "two")["time"] == T3
    assert entry(again, "one") == entry(scaled, "one")
    without = updated(again, {**again, "spec": {"template": again["spec"]["template"]}}, "three", T3)
    assert [one["manager"] for one in without["metadata"]["managedFields"]] == ["one"]


def test_sets_are_written_in_order() -> None:
    """Clients compare entries byte by byte, and a client that decodes and encodes an object puts keys in order."""

    def in_order(fields: Obj) -> bool:
        return list(fields) == sorted(fields) and all(in_order(inner) for inner in fields.values())

    first = updated(None, deployment(3, {"name": "b", "image": "i"}, {"image": "i:1", "name": "a"}), "me")
    second = updated(
        first, deployment(4, {"name": "b", "tty": True}, {**A, "command": ["x"]}, labels={"a": "b"}), "you"
    )
    third = apply(second, deployment(9, A, labels={"x": "y", "a": "c"}), "applier", True, NODE, now=T2)
    for obj in (first, second, third):
        assert all(in_order(one["fieldsV1"]) for one in obj["metadata"]["managedFields"])


def test_managed_fields_can_be_left_out_brought_and_cleared() -> None:
    first = updated(None, deployment(1), "one")
    plain = deployment(2)
    assert [one["manager"] for one in updated(first, plain, "two", T2)["metadata"]["managedFields"]] == ["two"]
    cleared = deployment(1)
    cleared["metadata"]["managedFields"] = [{}]
    after = updated(first, cleared, "two", T2)
    assert "managedFields" not in after["metadata"]
    assert "managedFields" not in updated(after, deployment(3), "two", T3)["metadata"]


def test_old_updaters_are_summed_up() -> None:
    live = updated(None, deployment(1), "m0")
    for number in range(1, 15):
        changed = clone(live)
        changed["metadata"].setdefault("annotations", {})[f"a{number}"] = "x"
        live = updated(live, changed, f"m{number}", f"2026-01-01T00:01:{number:02}Z")
    managers = [one["manager"] for one in live["metadata"]["managedFields"]]
    assert len(managers) == 10
    assert "ancient-changes" in managers
    owned: set[str] = set()
    for one in live["metadata"]["managedFields"]:
        owned |= set(one["fieldsV1"].get("f:metadata", {}).get("f:annotations", {}))
    assert owned == {".", *(f"f:a{number}" for number in range(1, 15))}


names = st.sampled_from("abc")
env = st.lists(st.fixed_dictionaries({"name": names, "value": names}), max_size=2, unique_by=lambda e: e["name"])
container = st.fixed_dictionaries(
    {"name": names}, optional={"image": names, "args": st.lists(names, min_size=1), "env": env}
)
objects = st.builds(
    lambda replicas, containers, labels: deployment(replicas, *containers, labels=labels),
    st.one_of(st.none(), st.integers(0, 3)),
    st.lists(container, max_size=3, unique_by=lambda c: c["name"]),
    st.dictionaries(names, names),
)


def tidy(obj: Any) -> Any:
    """Without empty lists and maps, which decoding drops."""
    return schema.coerce(NODE, obj)[0]


@settings(max_examples=150)
@given(objects)
def test_one_applier_gets_exactly_what_it_applies(config: Obj) -> None:
    made = apply(None, config, "me", False, NODE, now=T1)
    assert strip(made) == strip(tidy(config))
    assert apply(made, config, "me", False, NODE, now=T2) == made


@settings(max_examples=150)
@given(objects, objects)
def test_the_last_configuration_of_a_lone_applier_is_what_is_there(first: Obj, second: Obj) -> None:
    made = apply(apply(None, first, "me", False, NODE, now=T1), second, "me", False, NODE, now=T2)
    assert without_empty(strip(made)) == without_empty(strip(tidy(second)))


def without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in ({}, [])}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=150)
@given(objects, objects, objects)
def test_forced_appliers_each_keep_what_only_they_apply(first: Obj, second: Obj, third: Obj) -> None:
    made = apply(None, first, "one", False, NODE, now=T1)
    made = apply(made, second, "two", True, NODE, now=T2)
    labels = {**first["metadata"].get("labels", {}), **second["metadata"].get("labels", {})}
    assert made["metadata"].get("labels", {}) == labels
    made = apply(made, third, "one", True, NODE, now=T3)
    expected = {**second["metadata"].get("labels", {}), **third["metadata"].get("labels", {})}
    assert made["metadata"].get("labels", {}) == expected
    assert apply(made, third, "one", False, NODE, now=T3) == made


@settings(max_examples=100)
@given(objects, objects)
def test_an_update_owns_what_it_changed(first: Obj, second: Obj) -> None:
    live = updated(None, tidy(first), "one")
    made = updated(live, tidy(second), "two", T2)
    for manager in made["metadata"].get("managedFields", []):
        assert manager["fieldsV1"]
    if strip(tidy(first)) == strip(tidy(second)):
        assert made["metadata"].get("managedFields") == live["metadata"].get("managedFields")
