"""Every controller under every disturbance: the same end, and not one object more made on the way than without.

The rows are in scenarios.py and scenarios_more.py, the disturbances in disturbance.py. A controller in `controllers.main`
without a row fails here.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from controllers.context import Context
from controllers.main import CONTROLLERS
from minikube_py.api import gvr as g
from minikube_py.api.clock import REAL
from minikube_py.api.meta import name_of
from minikube_py.client.informer import Informer, SharedInformers
from minikube_py.client.rest import Client
from tests.conftest import APIServer
from tests.controllers.disturbance import CLOCK, DEATHS, EVENTS, QUIET, WRITES, Disturbed, JumpingClock, Ledger
from tests.controllers.play import running
from tests.controllers.scenarios import Scenario
from tests.controllers.scenarios_more import SCENARIOS
from tests.harness import eventually

_LIFE = 8.0  # seconds after which a process that has not died on its own is taken down all the same
_undisturbed: dict[str, dict[str, int]] = {}  # what each scenario creates, undisturbed


def test_every_controller_has_a_scenario() -> None:
    names = [name for name, _ in CONTROLLERS]
    assert len(set(names)) == len(names) and set(SCENARIOS) == set(names)


class _Asked(SharedInformers):
    """Notes what a controller asks for."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.asked: list[Informer] = []

    def of(self, res: g.GVR, **selection: str) -> Informer:
        self.asked.append(super().of(res, **selection))
        return self.asked[-1]

    def metadata_of(self, res: g.GVR) -> Informer:
        self.asked.append(super().metadata_of(res))
        return self.asked[-1]


@pytest.mark.parametrize("name", SCENARIOS)
def test_begins_when_all_it_reads_has_synced(apiserver: APIServer, client: Client, name: str) -> None:
    """What it decides from a cache that is still empty might never be looked at again."""
    informers = _Asked(client)
    context = Context(client, informers, SCENARIOS[name].options(apiserver))
    controller = dict(CONTROLLERS)[name](context)
    assert {one.res.plural for one in informers.asked if one not in controller.informers} == set()


@pytest.fixture
def tidy(client: Client, namespace: str) -> Iterator[None]:
    yield
    for node in client.list(g.NODES)["items"]:
        if name_of(node).startswith(namespace):
            client.delete(g.NODES, name_of(node))


@pytest.mark.parametrize("mode", [QUIET, *WRITES, *DEATHS, *EVENTS, *CLOCK], ids=lambda mode: mode or "undisturbed")
@pytest.mark.parametrize("name", SCENARIOS)
def test_converges(apiserver: APIServer, client: Client, namespace: str, tidy: None, name: str, mode: str) -> None:
    scenario, ledger = SCENARIOS[name], Ledger()
    names, options = (name, *scenario.beside), scenario.options(apiserver)

    def process(allowed: int = 0) -> Disturbed:
        return Disturbed(client, mode, lambda path: scenario.mine(path, namespace), ledger, allowed)

    with scenario.kubelet(client, namespace):
        if mode in DEATHS:
            _live_and_die(scenario, client, namespace, process, names, options)
        else:
            with running(process(), *names, options=options, clock=JumpingClock() if mode in CLOCK else REAL):
                for act, check in scenario.steps:
                    act(client, namespace)
                    eventually(lambda check=check: check(client, namespace), timeout=60, what=f"{name}: {mode}")  # type: ignore[misc]
    made = ledger.counts()
    if mode == QUIET:
        _undisturbed[name] = made
    elif name in _undisturbed:
        usual = _undisturbed[name]
        assert all(number <= usual.get(plural, 0) for plural, number in made.items()), f"made {made}, usually {usual}"


def _live_and_die(
    scenario: Scenario, client: Client, namespace: str, process: Any, names: tuple[str, ...], options: Any
) -> None:
    """Restart the process whenever it has died, which it does at every single write (or a later one, if it gets nowhere)."""
    for act, check in scenario.steps:
        act(client, namespace)
        before: list[str] = []
        allowed, lives = 1, 0
        while not _holds(check, client, namespace):
            lives += 1
            assert lives < 60, "it never comes to an end"
            life = process(allowed)
            with running(life, *names, options=options), contextlib.suppress(AssertionError):  # a long life ends too
                eventually(lambda life=life, check=check: life.dead or _holds(check, client, namespace), timeout=_LIFE)  # type: ignore[misc]
            allowed = allowed + 1 if life.done and life.done == before[: len(life.done)] else 1
            before = life.done


def _holds(check: Any, client: Client, namespace: str) -> bool:
    try:
        return bool(check(client, namespace))
    except Exception:
        return False  # what is looked at is not there yet
