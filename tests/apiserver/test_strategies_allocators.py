"""Claims on cluster IPs and node ports over a real store: exclusive, given back, full, and repaired after a crash."""

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apiserver.storage.cache import Store
from apiserver.storage.sqlite import SQLiteBackend
from apiserver.strategies.allocators import Allocators, Full, OutOfRange, Taken
from minikube_py.api.clock import FakeClock
from minikube_py.api.types import Obj

CLOCK = FakeClock()


def service(name: str, *addresses: str, ports: tuple[int, ...] = ()) -> Obj:
    spec = {"clusterIPs": list(addresses), "ports": [{"nodePort": port} for port in ports]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(SQLiteBackend(tmp_path / "state.db"), lambda *_: {}, CLOCK)
    made.start()
    yield made
    made.close()


@pytest.fixture
def claims(store: Store) -> Allocators:
    return Allocators(store, ipaddress.ip_network("10.0.0.0/28"), range(30000, 30004), CLOCK)


def test_all_of_a_range_and_no_more(claims: Allocators) -> None:
    given = {claims.take_ip(service(f"s{n}")) for n in range(14)}
    assert given == {f"10.0.0.{n}" for n in range(1, 15)}, "neither the network nor the broadcast address"
    with pytest.raises(Full):
        claims.take_ip(service("late"))
    assert {claims.take_port(service(f"s{n}")) for n in range(4)} == set(range(30000, 30004))
    with pytest.raises(Full):
        claims.take_port(service("late"))


def test_explicit_wishes(claims: Allocators) -> None:
    assert claims.take_ip(service("a"), "10.0.0.5") == "10.0.0.5"
    for wish, problem in (
        ("10.0.0.5", Taken),
        ("10.0.0.0", OutOfRange),
        ("10.0.0.15", OutOfRange),
        ("10.1.0.1", OutOfRange),
    ):
        with pytest.raises(problem):
            claims.take_ip(service("b"), wish)
    with pytest.raises(OutOfRange, match="30000-30003"):
        claims.take_port(service("b"), 80)


def test_only_the_holder_gives_back(claims: Allocators) -> None:
    claims.take_ip(service("a"), "10.0.0.5")
    claims.give_ip("10.0.0.5", service("b"))
    with pytest.raises(Taken):
        claims.take_ip(service("b"), "10.0.0.5")
    claims.give_ip("10.0.0.5", service("a"))
    claims.give_ip("10.0.0.5", service("a"))
    assert claims.take_ip(service("b"), "10.0.0.5")


def test_a_dry_run_claims_nothing(claims: Allocators) -> None:
    for _ in range(20):
        claims.take_ip(service("a"), dry_run=True)
        claims.take_port(service("a"), dry_run=True)
    assert claims.take_ip(service("a"), "10.0.0.1", dry_run=True) == claims.take_ip(service("a"), "10.0.0.1")


def test_repair_claims_what_is_used_and_frees_what_was_abandoned(store: Store, claims: Allocators) -> None:
    store.create("/registry/services/default/kept", service("kept", "10.0.0.3", ports=(30001,)))
    claims.take_ip(service("crashed"), "10.0.0.9")
    claims.take_port(service("crashed"), 30002)
    claims.repair()
    with pytest.raises(Taken):
        claims.take_ip(service("new"), "10.0.0.3")
    with pytest.raises(Taken):
        claims.take_ip(service("new"), "10.0.0.9")  # another server may be about to store its Service
    CLOCK.advance(600)
    claims.repair()
    assert claims.take_ip(service("new"), "10.0.0.9") and claims.take_port(service("new"), 30002)
    for wish in ("10.0.0.3",):
        with pytest.raises(Taken):
            claims.take_ip(service("new"), wish)
    with pytest.raises(Taken):
        claims.take_port(service("new"), 30001)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=25))
def test_whatever_happens_nobody_shares(claims: Allocators, steps: list[tuple[bool, int]]) -> None:
    held: dict[int, str] = {}
    for take, who in steps:
        if take and who not in held:
            held[who] = claims.take_ip(service(f"s{who}"))
        elif not take and who in held:
            claims.give_ip(held.pop(who), service(f"s{who}"))
        assert len(set(held.values())) == len(held)
        for address in held.values():
            with pytest.raises(Taken):
                claims.take_ip(service("thief"), address)
    for who, address in held.items():
        claims.give_ip(address, service(f"s{who}"))
    assert claims.store.list("/registry/ipaddresses.networking.k8s.io/", None, None).items == []
