"""Every controller under every disturbance: the same end, and not one object more made on the way than without.

The rows are in scenarios.py and scenarios_more.py, the disturbances in disturbance.py. A controller in `controllers.main`
without a row fails here.
"""

import contextlib
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from controllers.context import Context
from controllers.main import CONTROLLERS
from minikube_py.api import errors
from minikube_py.api import gvr as g
from minikube_py.api.clock import REAL
from minikube_py.api.gvr import new_object
from minikube_py.client.informer import Informer, SharedInformers
from minikube_py.client.rest import Client
from tests.conftest import APIServer
from tests.controllers.disturbance import CLOCK, DEATHS, EVENTS, QUIET, WRITES, Disturbed, JumpingClock, Ledger
from tests.controllers.play import running
from tests.controllers.scenarios import Scenario
from tests.controllers.scenarios_more import SCENARIOS
from tests.harness import eventually

_serial = itertools.count(1)


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


Case = tuple[str, str]  # controller, disturbance
_MODES = (QUIET, *WRITES, *DEATHS, *EVENTS, *CLOCK)
_AT_A_TIME = 16  # they mostly wait


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, apiserver: APIServer) -> Iterator[dict[Case, Future[dict[str, int]]]]:
    """What each of the chosen cases, and each undisturbed one, creates: by collection. They run beside each other."""
    client = apiserver.client()
    ours = [item for item in request.session.items if getattr(item, "originalname", "") == test_converges.__name__]
    chosen = [item.callspec.params for item in ours]  # type: ignore[attr-defined]
    names, modes = ({case[what]: None for case in chosen} for what in ("name", "mode"))
    cases = [(name, mode) for mode in (QUIET, *filter(None, modes)) for name in names]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        yield {case: pool.submit(_case, apiserver, client, *case) for case in cases}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("mode", _MODES, ids=lambda mode: mode or "undisturbed")
@pytest.mark.parametrize("name", SCENARIOS)
def test_converges(outcomes: dict[Case, Future[dict[str, int]]], name: str, mode: str) -> None:
    made, usual = outcomes[name, mode].result(), outcomes[name, QUIET].result()
    assert all(number <= usual.get(plural, 0) for plural, number in made.items()), f"made {made}, usually {usual}"


def _case(apiserver: APIServer, client: Client, name: str, mode: str) -> dict[str, int]:
    """One scenario under one disturbance. Out: how much of what it created. Raises AssertionError when it does not converge."""
    scenario, ledger, namespace = SCENARIOS[name], Ledger(), f"case-{next(_serial)}-{time.time_ns() % 10**6}"
    names, options = (name, *scenario.beside), scenario.options(apiserver)
    client.create(g.NAMESPACES, new_object(g.NAMESPACES, namespace))

    def process(allowed: int = 0) -> Disturbed:
        return Disturbed(client, namespace, mode, lambda path: scenario.mine(path, namespace), ledger, allowed)

    try:
        with scenario.kubelet(client, namespace):
            if mode in DEATHS:
                _live_and_die(scenario, client, namespace, process, names, options)
            else:
                with running(process(), *names, options=options, clock=JumpingClock() if mode in CLOCK else REAL):
                    for act, check in scenario.steps:
                        act(client, namespace)
                        eventually(lambda check=check: check(client, namespace), timeout=60, what=f"{name}: {mode}")  # type: ignore[misc]
    finally:
        with contextlib.suppress(errors.NotFound):
            client.delete(g.NODES, f"{namespace}-node")
    return ledger.counts()


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
            with running(life, *names, options=options):
                eventually(lambda life=life, check=check: life.dead or _holds(check, client, namespace), timeout=60)  # type: ignore[misc]
            allowed = allowed + 1 if life.done and life.done == before[: len(life.done)] else 1
            before = life.done


def _holds(check: Any, client: Client, namespace: str) -> bool:
    try:
        return bool(check(client, namespace))
    except Exception:
        return False  # what is looked at is not there yet
