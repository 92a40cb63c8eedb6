"""The allocator of devices: examples of everything a claim can say, and that it finds an answer exactly when there is one."""

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.scheduler.devices.allocator import InvalidPools, allocate
from controllers.scheduler.devices.pools import DeviceID, Inventory, Node
from controllers.scheduler.devices.requests import AllocationError
from controllers.scheduler.devices.result import allocation, devices_of
from controllers.scheduler.devices.selectors import Selectors
from minikube_py.api.types import Obj
from tests.scheduler.devices import DRIVER, ask, claim, device, device_class, request, resource_slice

NODE = Node("n1", {"zone": "a"})
GPUS = [
    device("a", {"model": "T4", "index": 1}),
    device("b", {"model": "A100", "index": 2}, capacity={"memory": {"value": "40Gi"}}),
]


def solve(
    claims: Sequence[Obj],
    slices: Sequence[Obj],
    taken: Collection[DeviceID] = (),
    classes: Sequence[Obj] = (device_class(),),
) -> list[Obj] | None:
    """The allocations on the node `NODE`."""
    named = {one["metadata"]["name"]: one for one in classes}
    found = allocate(claims, Inventory(slices).pools(NODE), taken, named, Selectors())
    return None if found is None else [allocation(one, devices) for one, devices in zip(claims, found, strict=True)]


def names(claims: Sequence[Obj], slices: Sequence[Obj], **more: Any) -> list[list[str]] | None:
    found = solve(claims, slices, **more)
    return None if found is None else [[one["device"] for one in made["devices"]["results"]] for made in found]


def local(devices: Sequence[Obj], **more: Any) -> Obj:
    return resource_slice("s", devices, node="n1", **more)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("device.driver == 'gpu.example.com'", "a"),
        ("device.attributes['gpu.example.com'].model == 'A100'", "b"),
        ("device.attributes['gpu.example.com'].index > 1", "b"),
        ("device.capacity['gpu.example.com'].?memory.orValue(quantity('0')).compareTo(quantity('20Gi')) >= 0", "b"),
        ("has(device.capacity['gpu.example.com'].memory)", "b"),
        ("'other.example.com' in device.attributes", None),
        ("has(device.attributes['other.example.com'].model)", None),
        ("cel.bind(g, device.attributes['gpu.example.com'], g.model == 'A100' && g.index == 2)", "b"),
        ("!device.allowMultipleAllocations", "a"),
    ],
)
def test_selectors(expression: str, expected: str | None) -> None:
    assert names([claim("c", request("r", expression))], [local(GPUS)]) == (None if expected is None else [[expected]])
    by_class = [device_class("gpu", expression)]
    assert names([claim("c")], [local(GPUS)], classes=by_class) == (None if expected is None else [[expected]])


def test_versions_and_foreign_domains() -> None:
    versioned = {"name": "v", "attributes": {"x.org/v": {"version": "1.10.0"}}}
    newer = claim("c", request("r", "device.attributes['x.org'].v.compareTo(semver('1.9.0')) > 0"))
    assert names([newer], [local([versioned])]) == [["v"]]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("device.attributes['gpu.example.com'].nothing", "CEL runtime error: no such key: nothing"),
        ("device.driver", "CEL runtime error: the expression is a StringType, not a bool"),
        ("device.driver ==", "CEL compile error"),
    ],
)  # fmt: skip
def test_expressions_that_fail(expression: str, words: str) -> None:
    with pytest.raises(AllocationError, match=f"claim default/c: selector #0: {words}"):
        solve([claim("c", request("r", expression))], [local(GPUS)])


def test_what_else_is_wrong_with_claims() -> None:
    with pytest.raises(AllocationError, match="could not retrieve device class gpu"):
        solve([claim("c")], [local(GPUS)], classes=[])
    with pytest.raises(AllocationError, match="constraint #0: empty constraint"):
        solve([claim("c", constraints=[{}])], [local(GPUS)])
    with pytest.raises(AllocationError, match="a claim constraint would not be satisfied"):
        solve(
            [claim("c", request(allocationMode="All"), constraints=[{"matchAttribute": f"{DRIVER}/model"}])],
            [local(GPUS)],
        )


def test_counts_all_and_alternatives() -> None:
    assert names([claim("c", request(count=2))], [local(GPUS)]) == [["a", "b"]]
    assert names([claim("c", request(count=3))], [local(GPUS)]) is None
    assert names([claim("c", request(allocationMode="All"))], [local(GPUS)]) == [["a", "b"]]
    taken = {DeviceID(DRIVER, "s", "a")}
    assert names([claim("c", request(allocationMode="All"))], [local(GPUS)], taken=taken) is None
    assert names([claim("c")], [local(GPUS)], taken=taken) == [["b"]]
    either = {"name": "r", "firstAvailable": [{"name": "two", **ask(count=2)}, {"name": "one", **ask()}]}
    assert names([claim("c", either)], [local(GPUS)]) == [["a", "b"]]
    found = solve([claim("c", either)], [local(GPUS)], taken=taken)
    assert found is not None and found[0]["devices"]["results"][0] == {
        "request": "r/one", "driver": DRIVER, "pool": "s", "device": "b",
    }  # fmt: skip
    assert names([claim("c", either), claim("d")], [local(GPUS)]) == [["a"], ["b"]], "the first gives way to the second"
    many = [device(f"d{n:02}") for n in range(40)]
    assert names([claim("c", request(allocationMode="All"))], [local(many)]) is None, "32 at most"


def test_admin_access_takes_nothing_away() -> None:
    taken = {DeviceID(DRIVER, "s", "a"), DeviceID(DRIVER, "s", "b")}
    found = solve([claim("c", request(adminAccess=True, allocationMode="All"))], [local(GPUS)], taken=taken)
    assert found is not None and [one["adminAccess"] for one in found[0]["devices"]["results"]] == [True, True]
    assert not list(devices_of(found[0]))


def test_taints() -> None:
    tainted = [device("a", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}])]
    assert names([claim("c")], [local(tainted)]) is None
    tolerant = request(tolerations=[{"key": "k", "operator": "Exists"}])
    found = solve([claim("c", tolerant)], [local(tainted)])
    assert found is not None and found[0]["devices"]["results"][0]["tolerations"]
    assert names([claim("c")], [local([device("a", taints=[{"key": "k", "effect": "None"}])])]) == [["a"]]


def test_constraints() -> None:
    devices = [device("a", {"numa": 0}), device("b", {"numa": 1}), device("c", {"numa": 1}), device("d")]
    same = [{"matchAttribute": f"{DRIVER}/numa"}]
    assert names([claim("c", request(count=2), constraints=same)], [local(devices)]) == [["b", "c"]]
    distinct = [{"distinctAttribute": f"{DRIVER}/numa", "requests": ["x", "y"]}]
    three = [request("w"), request("x"), request("y")]
    assert names([claim("c", *three, constraints=distinct)], [local(devices)]) == [["b", "a", "c"]]
    assert names([claim("c", request("x", count=3), constraints=distinct)], [local(devices)]) is None


def test_partitions_share_counters() -> None:
    def part(name: str, memory: str) -> Obj:
        return device(name, consumesCounters=[{"counterSet": "card", "counters": {"memory": {"value": memory}}}])

    shared = [{"name": "card", "counters": {"memory": {"value": "40Gi"}}}]
    slices = [
        resource_slice("counters", [], node="n1", pool="p", count=2, sharedCounters=shared),
        resource_slice(
            "parts", [part("half", "20Gi"), part("rest", "20Gi"), part("whole", "40Gi")], node="n1", pool="p", count=2
        ),
    ]
    assert names([claim("c", request(count=2))], slices) == [["half", "rest"]]
    assert names([claim("c", request(count=3))], slices) is None
    taken = {DeviceID(DRIVER, "p", "half")}
    assert names([claim("c")], slices, taken=taken) == [["rest"]]
    assert names([claim("c"), claim("d")], slices, taken=taken) is None
    slices[1]["spec"]["devices"][0]["consumesCounters"][0]["counterSet"] = "other"
    with pytest.raises(InvalidPools):
        solve([claim("c")], slices)


def test_pools_that_are_being_replaced() -> None:
    old, new = (
        resource_slice("old", [device("x")], node="n1", pool="p"),
        resource_slice("new", [device("y")], node="n1", pool="p"),
    )
    new["spec"]["pool"]["generation"] = 2
    assert names([claim("c")], [old, new]) == [["y"]]
    new["spec"]["pool"]["resourceSliceCount"] = 2
    assert names([claim("c")], [old, new]) is None, "a half published pool"
    with pytest.raises(AllocationError, match=r"resource pool .* is currently being updated"):
        solve([claim("c", request(allocationMode="All"))], [old, new])
    moved = resource_slice("new", [device("y")], node="n2", pool="p", generation=2)
    assert names([claim("c")], [old, moved]) is None, "the newer generation is elsewhere"


def test_where_devices_can_be_used() -> None:
    zone = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}
    found = solve([claim("c")], [resource_slice("s", [device("x")], nodeSelector=zone)])
    assert found is not None and found[0]["nodeSelector"] == zone
    everywhere = solve([claim("c")], [resource_slice("s", [device("x")])])
    assert everywhere is not None and "nodeSelector" not in everywhere[0]
    assert names([claim("c")], [resource_slice("s", [device("x")], node="n2")]) is None
    each = [device("far", nodeName="n2"), device("near", nodeName="n1")]
    apart = solve([claim("c")], [resource_slice("s", each, perDeviceNodeSelection=True)])
    assert apart is not None and apart[0]["devices"]["results"][0]["device"] == "near"
    assert apart[0]["nodeSelector"]["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["n1"]


def test_configurations() -> None:
    def opaque(value: str) -> Obj:
        return {"opaque": {"driver": DRIVER, "parameters": {"value": value}}}

    wanted = [request("x"), request("y")]
    config = [opaque("all"), {"requests": ["y"], **opaque("y")}]
    found = solve([claim("c", *wanted, config=config)], [local(GPUS)], classes=[device_class(config=[opaque("class")])])
    assert found is not None and found[0]["devices"]["config"] == [
        {"source": "FromClass", "requests": ["x", "y"], **opaque("class")},
        {"source": "FromClaim", **opaque("all")},
        {"source": "FromClaim", "requests": ["y"], **opaque("y")},
    ]


# -- properties ------------------------------------------------------------------------------------------------------------

_KINDS = {
    "any": (),
    "even": ("device.attributes['gpu.example.com'].n % 2 == 0",),
    "numa": ("device.attributes['gpu.example.com'].numa == 0",),
}


@st.composite
def worlds(draw: Any) -> tuple[list[Obj], list[Obj], set[DeviceID]]:
    """(claims, slices, devices taken): up to five devices that share a counter, up to two claims with up to two requests."""
    devices = []
    for n in range(draw(st.integers(1, 5))):
        costs = {"consumesCounters": [{"counterSet": "s", "counters": {"c": {"value": str(draw(st.integers(0, 3)))}}}]}
        devices.append(
            device(f"d{n}", {"n": n, "numa": draw(st.integers(0, 1))}, **(costs if draw(st.booleans()) else {}))
        )
    shared = [{"name": "s", "counters": {"c": {"value": str(draw(st.integers(0, 6)))}}}]
    slices = [
        resource_slice("x", devices, node="n1", pool="p", count=2),
        resource_slice("y", [], node="n1", pool="p", count=2, sharedCounters=shared),
    ]

    def one_ask() -> Obj:
        kind = draw(st.sampled_from(sorted(_KINDS)))
        how = draw(st.sampled_from([{"count": 1}, {"count": 2}, {"allocationMode": "All"}]))
        return {**ask(*_KINDS[kind]), **how, "kind": kind}

    claims = []
    for n in range(draw(st.integers(1, 2))):
        requests: list[Obj] = []
        for r in range(draw(st.integers(1, 2))):
            several = draw(st.booleans())
            body = (
                {"firstAvailable": [{"name": f"s{k}", **one_ask()} for k in range(2)]}
                if several
                else {"exactly": one_ask()}
            )
            requests.append({"name": f"r{r}", **body})
        rule = draw(st.sampled_from(["", "distinctAttribute", "matchAttribute"]))
        claims.append(claim(f"c{n}", *requests, constraints=[{rule: f"{DRIVER}/numa"}] if rule else []))
    taken = {DeviceID(DRIVER, "p", f"d{n}") for n in draw(st.sets(st.integers(0, 4), max_size=2)) if n < len(devices)}
    return claims, slices, taken


def _ways(request: Obj, devices: Sequence[Obj]) -> Iterator[tuple[str, ...]]:
    for wanted in [request["exactly"]] if "exactly" in request else request["firstAvailable"]:
        fitting = [one["name"] for one in devices if _fits(wanted["kind"], one)]
        if wanted.get("allocationMode") != "All":
            yield from combinations(fitting, wanted["count"])
        elif fitting:
            yield tuple(fitting)


def _fits(kind: str, one: Obj) -> bool:
    n, numa = one["attributes"]["n"]["int"], one["attributes"]["numa"]["int"]
    return kind == "any" or (n % 2 == 0 if kind == "even" else numa == 0)


def _is_valid(
    chosen: Sequence[Sequence[str]], claims: Sequence[Obj], slices: Sequence[Obj], taken: set[DeviceID]
) -> bool:
    """In: per claim all its devices."""
    devices = {one["name"]: one for one in slices[0]["spec"]["devices"]}
    flat = [name for one in chosen for name in one]
    used = {identity.device for identity in taken}
    if len(flat) != len(set(flat)) or used & set(flat):
        return False
    for one, names_chosen in zip(claims, chosen, strict=True):
        values = [devices[name]["attributes"]["numa"]["int"] for name in names_chosen]
        for rule in one["spec"]["devices"]["constraints"]:
            if len(set(values)) != (1 if "matchAttribute" in rule else len(values)):
                return False
    spent = sum(_cost(devices[name]) for name in (*flat, *used))
    limit = int(slices[1]["spec"]["sharedCounters"][0]["counters"]["c"]["value"])
    return spent <= limit or not any(devices[name].get("consumesCounters") for name in flat)


def _cost(one: Obj) -> int:
    return sum(int(entry["counters"]["c"]["value"]) for entry in one.get("consumesCounters") or ())


@given(worlds())
@settings(max_examples=300, deadline=None)
def test_an_answer_is_found_exactly_when_there_is_one(world: tuple[list[Obj], list[Obj], set[DeviceID]]) -> None:
    claims, slices, taken = world
    devices = slices[0]["spec"]["devices"]
    per_claim = [product(*(list(_ways(r, devices)) for r in one["spec"]["devices"]["requests"])) for one in claims]
    flat = [[[name for way in ways for name in way] for ways in found] for found in per_claim]
    possible = any(_is_valid(chosen, claims, slices, taken) for chosen in product(*flat))
    try:
        found = names(claims, slices, taken=taken)
    except AllocationError as error:
        assert "a claim constraint would not be satisfied" in str(error)
        return
    assert (found is not None) == possible
    assert found is None or _is_valid(found, claims, slices, taken)


def test_a_search_that_would_take_for_ever_ends() -> None:
    devices = [device(f"d{n}", {"numa": n % 2, "n": n}) for n in range(24)]
    hopeless = [
        claim(f"c{n}", request("r", count=3), constraints=[{"matchAttribute": f"{DRIVER}/n"}]) for n in range(2)
    ]
    assert names(hopeless, [local(devices)]) is None
    worse = claim(
        "c", *(request(f"r{n}", count=3) for n in range(6)), constraints=[{"matchAttribute": f"{DRIVER}/numa"}]
    )
    with pytest.raises(AllocationError, match="gave up trying to allocate devices for default/c after"):
        solve([worse], [local(devices)])
