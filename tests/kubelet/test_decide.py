"""What to do next: one decision after the other, and properties that hold for any history."""

from hypothesis import given
from hypothesis import strategies as st

from kubelet.decide import Kill, Plan, Resize, Start, decide
from kubelet.runtime.base import CREATED, EXITED, RUNNING, Resources, Status
from minikube_py.api.types import Obj
from tests.kubelet.build import container, instance, pod, sandbox, seen


def plan(target: Obj, *statuses: Status, failing: dict[str, str] | None = None, started: bool = True) -> Plan:
    return decide(target, seen(*statuses), failing or {}, lambda status: status.running and started)


def starts(made: Plan) -> list[tuple[str, int]]:
    return [(start.container, start.attempt) for start in made.start]


def test_first_a_sandbox_then_the_containers() -> None:
    two = pod(container("a"), container("b"))
    assert plan(two) == Plan(create_sandbox=0)
    assert starts(plan(two, sandbox())) == [("a", 0), ("b", 0)]
    assert starts(plan(two, sandbox(), instance("a"))) == [("b", 0)]
    assert not plan(two, sandbox(), instance("a"), instance("b"))


def test_restart_policies() -> None:
    good, bad = instance("main", state=EXITED), instance("main", state=EXITED, code=1)
    assert starts(plan(pod(), sandbox(), good)) == [("main", 1)]
    assert plan(pod(restartPolicy="Never"), sandbox(), good).finished
    assert plan(pod(restartPolicy="Never"), sandbox(), bad).finished
    assert plan(pod(restartPolicy="OnFailure"), sandbox(), good).finished
    assert starts(plan(pod(restartPolicy="OnFailure"), sandbox(), bad)) == [("main", 1)]
    half = pod(container("a"), container("b"), restartPolicy="Never")
    assert not plan(half, sandbox(), instance("a", state=EXITED), instance("b"))


def test_a_start_remembers_what_it_follows() -> None:
    bad = instance("main", attempt=3, state=EXITED, code=1)
    assert plan(pod(), sandbox(), bad).start == (Start("main", 4, bad),)


def test_a_dead_sandbox_takes_everything_with_it() -> None:
    dead = sandbox(state=EXITED)
    survivor = instance("main")
    made = plan(pod(), dead, survivor)
    assert made.create_sandbox == 1
    assert [kill.status.id for kill in made.kill] == ["main-0"]
    again = plan(pod(), sandbox(1), dead, instance("main", state=EXITED, code=137))
    assert starts(again) == [("main", 1)]
    assert plan(pod(restartPolicy="Never"), dead, instance("main", state=EXITED)).finished
    assert plan(pod(restartPolicy="Never"), dead).create_sandbox == 1
    assert plan(pod(restartPolicy="OnFailure"), dead, instance("main", state=EXITED)).finished
    assert plan(pod(restartPolicy="OnFailure"), dead, instance("main", state=EXITED, code=1)).create_sandbox == 1


def test_what_was_created_and_never_started_is_made_again() -> None:
    made = plan(pod(), sandbox(), instance("main", state=CREATED))
    assert made.remove == ("main-0",)
    assert starts(made) == [("main", 0)]
    assert plan(pod(), sandbox(state=CREATED)) == Plan(remove=("sandbox-0",), create_sandbox=0)


def test_init_containers_one_by_one() -> None:
    target = pod(initContainers=[container("i1"), container("i2")])
    assert starts(plan(target, sandbox())) == [("i1", 0)]
    assert not plan(target, sandbox(), instance("i1"))
    done = instance("i1", state=EXITED)
    assert starts(plan(target, sandbox(), done)) == [("i2", 0)]
    assert starts(plan(target, sandbox(), done, instance("i2", state=EXITED))) == [("main", 0)]
    failed = instance("i2", state=EXITED, code=1)
    assert starts(plan(target, sandbox(), done, failed)) == [("i2", 1)]
    assert plan({**target, "spec": {**target["spec"], "restartPolicy": "Never"}}, sandbox(), done, failed).finished
    assert not plan(target, sandbox(), instance("main")), "once the main containers run, init containers are history"


def test_init_containers_run_again_in_a_new_sandbox() -> None:
    target = pod(initContainers=[container("i1")])
    old = [sandbox(state=EXITED), instance("i1", state=EXITED), instance("main", state=EXITED, code=137)]
    assert starts(plan(target, sandbox(1), *old)) == [("i1", 1)]


def test_sidecars() -> None:
    target = pod(initContainers=[container("side", restartPolicy="Always"), container("i2")], restartPolicy="Never")
    assert starts(plan(target, sandbox())) == [("side", 0)]
    assert not plan(target, sandbox(), instance("side"), started=False)
    assert starts(plan(target, sandbox(), instance("side"))) == [("i2", 0)]
    running = [sandbox(), instance("side"), instance("i2", state=EXITED)]
    assert starts(plan(target, *running)) == [("main", 0)]
    assert not plan(target, *running, instance("main"))
    lost = [sandbox(), instance("side", state=EXITED, code=1), instance("i2", state=EXITED), instance("main")]
    assert starts(plan(target, *lost)) == [("side", 1)]
    assert plan(target, *running, instance("main", state=EXITED)).finished, "a sidecar alone keeps no pod alive"


def test_probes_and_changes_kill() -> None:
    alive = instance("main")
    assert plan(pod(), sandbox(), alive, failing={"main-0": "failed"}).kill == (Kill(alive, "failed"),)
    changed = plan(pod(container("main", image="busybox:2")), sandbox(), alive)
    assert [kill.why for kill in changed.kill] == ["Container main definition changed, will be restarted"]
    assert starts(changed) == [("main", 1)]
    never = plan(pod(restartPolicy="Never"), sandbox(), alive, failing={"main-0": "failed"})
    assert never.kill and never.finished


def test_other_limits_are_set_in_place() -> None:
    limits = Resources(cpu_shares=1024, cpu_quota=100_000, memory=1 << 30)
    main = container("main", resources={"limits": {"cpu": "2", "memory": "1Gi"}})
    running = instance("main", limits=limits)
    wanted = Resources(cpu_shares=2048, cpu_quota=200_000, memory=1 << 30, oom_score_adj=-997)
    assert plan(pod(main), sandbox(), running).resize == (Resize(running, wanted),)
    restart = {**main, "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}
    assert plan(pod(restart), sandbox(), running).kill == (Kill(running, "Container main resize requires restart"),)
    same = pod(container("main", resources={"limits": {"cpu": "1", "memory": "1Gi"}}))
    assert not plan(same, sandbox(), running)


def test_ephemeral_containers_are_started_once() -> None:
    target = pod(ephemeralContainers=[container("debug")])
    assert starts(plan(target, sandbox(), instance("main"))) == [("debug", 0)]
    assert not plan(target, sandbox(), instance("main"), instance("debug", state=EXITED, code=1))


states = st.sampled_from([RUNNING, EXITED, CREATED])
entries = st.tuples(st.sampled_from(["i1", "side", "a", "b"]), states, st.integers(0, 2), st.integers(0, 1))
histories = st.lists(entries, max_size=8)


@given(histories, st.lists(states, max_size=2), st.sampled_from(["Always", "OnFailure", "Never"]), st.booleans())
def test_nothing_runs_twice(
    history: list[tuple[str, str, int, int]], sandboxes: list[str], policy: str, started: bool
) -> None:
    """Whatever the runtime shows: no second instance beside a running one, and always a fresh attempt number."""
    target = pod(
        container("a"), container("b"), restartPolicy=policy,
        initContainers=[container("i1"), container("side", restartPolicy="Always")],
    )  # fmt: skip
    statuses = [sandbox(i, state) for i, state in enumerate(sandboxes)]
    attempts: dict[str, int] = {}
    for name, state, code, home in history:
        attempt = attempts[name] = attempts.get(name, -1) + 1
        statuses.append(instance(name, attempt, state, code, sandbox_attempt=home))
    shown = seen(*statuses)
    made = plan(target, *statuses, started=started)
    killed = {kill.status.id for kill in made.kill}
    for start in made.start:
        newest = shown.newest(start.container)
        assert shown.sandbox is not None
        if newest is None:
            assert start.attempt == 0
        elif newest.id in made.remove:
            assert (newest.state, start.attempt) == (CREATED, newest.attempt)
        else:
            assert start.attempt == newest.attempt + 1
            current = shown.current(start.container)
            assert current is None or not current.running or current.id in killed
    if made.create_sandbox is not None:
        assert not made.start
        assert {status.id for status in shown.running()} == killed
