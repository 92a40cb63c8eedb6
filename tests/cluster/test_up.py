"""`up` before anything runs: which addresses a new profile gets."""

from pathlib import Path

import pytest

from minikube_py.cluster import engine, host, up
from minikube_py.cluster.errors import ClusterError
from minikube_py.cluster.profile import Profile


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIKUBE_PY_HOME", str(tmp_path))
    monkeypatch.setattr(host, "routes", lambda: frozenset({"10.244"}))


def _refusing(*taken: str) -> object:
    def ensure(profile: Profile) -> None:
        if profile.pod_cidr in taken:
            raise engine.RangeTaken(f"{profile.pod_cidr} is taken")

    return ensure


def test_addresses_the_engine_refuses_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ensure_network", _refusing("10.245.0.0/16", "10.246.0.0/16"))
    assert up._networked(Profile("fresh", 1, 6444)).pod_cidr == "10.247.0.0/16"


def test_a_profile_that_exists_keeps_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ensure_network", _refusing("10.245.0.0/16"))
    there = Profile("there", 1, 6444)
    there.save()
    with pytest.raises(engine.RangeTaken, match=r"10\.245\.0\.0/16 is taken"):
        up._networked(there)


def test_gives_up_when_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ensure_network", _refusing(*(Profile("x", i, 1).pod_cidr for i in range(10))))
    with pytest.raises(ClusterError, match="no address range"):
        up._networked(Profile("fresh", 1, 6444))
