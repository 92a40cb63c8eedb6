"""Strategic merge patch: answers upstream is known to give, every directive, and idempotence on random pods."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikube_py.api import errors, schema, yaml
from minikube_py.api.clone import clone
from minikube_py.api.patch import strategic_merge_patch

SCHEMAS = schema.load()
DEPLOYMENT = SCHEMAS.for_gvk("apps", "v1", "Deployment")
POD = SCHEMAS.for_gvk("", "v1", "Pod")
SERVICE = SCHEMAS.for_gvk("", "v1", "Service")


def pod(*containers: Any, **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **spec}}


A = {"name": "a", "image": "1"}
ORDER = "$setElementOrder/containers"

GOLDEN = {case["case"]: case for case in yaml.load_all((Path(__file__).parent / "golden/strategic.yaml").read_bytes())}


@pytest.mark.parametrize("name", GOLDEN)
def test_known_answers(name: str) -> None:
    case = clone(GOLDEN[name])
    assert strategic_merge_patch(case["live"], case["patch"], POD) == case["result"]
    assert case == GOLDEN[name]


def test_strategy_retains_keys_and_selector_replaces() -> None:
    live = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    change = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge_patch(live, change, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_service_ports_merge_by_port() -> None:
    live = {"spec": {"ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000}]}}
    change = {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}
    merged = {"spec": {"ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000, "targetPort": 8080}]}}
    assert strategic_merge_patch(live, change, SERVICE) == merged


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"$patch": "explode"}},
        pod({"image": "no name"}),
        pod({"name": "a", "$patch": "merge"}),
        pod({"name": "a", "$patch": "??"}),
        {"spec": {"$retainKeys": "x"}},
        {"spec": {"$retainKeys": ["a"], "b": 1}},
        {"spec": {ORDER: "x"}},
        {"spec": {ORDER: [{"name": "b"}], "containers": [A]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}},
        [1],
    ],
)
def test_malformed_patches_are_400(change: Any) -> None:
    with pytest.raises(errors.BadRequest):
        strategic_merge_patch({"spec": {"containers": [A]}, "metadata": {}}, change, POD)


names = st.sampled_from("abcd")
variable = st.fixed_dictionaries({"name": names}, optional={"value": names})
container = st.fixed_dictionaries(
    {"name": names},
    optional={
        "image": st.sampled_from(["i", "j"]),
        "args": st.lists(names, max_size=2),
        "tty": st.booleans(),
        "env": st.lists(variable, max_size=3, unique_by=lambda e: e["name"]),
    },
)
containers = st.lists(container, max_size=4, unique_by=lambda c: c["name"])
labels = st.dictionaries(names, names)
specs = st.fixed_dictionaries({}, optional={"containers": containers, "hostname": names, "nodeSelector": labels})
metadata = st.fixed_dictionaries({}, optional={"labels": labels, "finalizers": st.lists(names, unique=True)})
pods = st.fixed_dictionaries({"spec": specs, "metadata": metadata})


@settings(max_examples=150)
@given(pods, pods)
def test_applying_twice_is_applying_once(live: dict[str, Any], change: dict[str, Any]) -> None:
    once = strategic_merge_patch(live, change, POD)
    assert strategic_merge_patch(once, change, POD) == once
    assert strategic_merge_patch(live, {}, POD) == live


@settings(max_examples=100)
@given(pods, containers)
def test_with_the_order_set_the_list_is_exactly_what_was_meant(
    live: dict[str, Any], wanted: list[dict[str, Any]]
) -> None:
    before = live["spec"].get("containers", [])
    kept = {item["name"] for item in wanted}
    gone = [{"name": item["name"], "$patch": "delete"} for item in before if item["name"] not in kept]
    order = [{"name": item["name"]} for item in wanted]
    made = strategic_merge_patch(live, {"spec": {ORDER: order, "containers": [*wanted, *gone]}}, POD)
    assert [item["name"] for item in made["spec"]["containers"]] == [item["name"] for item in wanted]
