"""The scheduling queue: order, back-off, parking and waking, on a clock that the test moves."""

import threading

from controllers.scheduler.queue import ACTIVE, BACKING_OFF, GATED, OUT, PARKED, Queued, SchedulingQueue
from minikube_py.api.clock import FakeClock
from tests.scheduler.build import Core, info

FIT = frozenset(["NodeResourcesFit"])


def make() -> tuple[SchedulingQueue, FakeClock]:
    clock, profile = FakeClock(), Core().profile
    return SchedulingQueue(clock, profile.pre_enqueue, profile.interests, profile.queue_sort), clock


def take(queue: SchedulingQueue) -> Queued:
    queued = queue.pop()
    assert queued is not None
    return queued


def test_priority_first_then_age() -> None:
    queue, clock = make()
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        queue.add(info(name, priority=priority))
        clock.advance(0.1)
    assert [take(queue).pod.key for _ in range(4)] == ["default/b", "default/d", "default/a", "default/c"]


def test_a_refused_pod_waits_for_an_event_its_refusers_care_about_and_for_its_back_off() -> None:
    queue, clock = make()
    queue.add(info("a"))
    queue.park(take(queue), FIT)
    queue.happened("NodeTaint")
    assert queue.state("default/a") == PARKED
    queue.happened("AssignedPodDelete")
    assert queue.state("default/a") == BACKING_OFF
    clock.advance(1.01)
    assert take(queue).attempts == 2


def test_back_off_doubles_up_to_ten_seconds() -> None:
    queue, clock = make()
    queue.add(info("a"))
    rests = []
    for _ in range(6):
        queued = take(queue)
        rests.append(queue.rest(queued))
        queue.retry(queued)
        clock.advance(10.01)
    assert rests == [1, 2, 4, 8, 10, 10]


def test_parked_pods_are_tried_again_after_five_minutes_anyway() -> None:
    queue, clock = make()
    queue.add(info("a"))
    queue.park(take(queue), FIT)
    clock.advance(299)
    assert queue.state("default/a") == PARKED
    clock.advance(2)
    assert take(queue).pod.key == "default/a"


def test_gates_keep_a_pod_out_until_they_are_removed() -> None:
    queue, _ = make()
    gated = info("a", schedulingGates=[{"name": "example.com/wait"}])
    queue.add(gated)
    assert queue.state("default/a") == GATED
    free = info("a")
    free.uid = gated.uid
    queue.add(free)
    assert queue.state("default/a") == ACTIVE


def test_a_pod_is_out_only_once_and_a_deleted_or_recreated_one_does_not_come_back() -> None:
    queue, _ = make()
    queue.add(info("a"))
    queued = take(queue)
    queue.add(queued.pod)
    assert queue.state("default/a") == OUT and queue.has_out(queued)
    queue.delete("default/a")
    queue.add(info("a"))
    assert not queue.has_out(queued)
    queue.park(queued, FIT)
    queue.retry(queued)
    assert queue.state("default/a") == ACTIVE
    assert take(queue).attempts == 1


def test_pop_waits_and_close_ends_it() -> None:
    queue, _ = make()
    found: list[Queued | None] = []
    thread = threading.Thread(target=lambda: found.extend([queue.pop(), queue.pop()]))
    thread.start()
    queue.add(info("a"))
    queue.close()
    thread.join(5)
    assert not thread.is_alive() and found[-1] is None
