"""Event recording against the real API server: one Event per thing that happens, however often; no floods; no blocking."""

import time

from minikube_py.api.clock import FakeClock
from minikube_py.api.gvr import CONFIGMAPS, EVENTS, new_object
from minikube_py.api.types import Obj
from minikube_py.client.config import Config
from minikube_py.client.events import EventRecorder
from minikube_py.client.rest import Client
from tests.harness import eventually, free_port


def _events(client: Client, namespace: str) -> list[Obj]:
    found: list[Obj] = client.list(EVENTS, namespace)["items"]
    return found


def test_repetitions_count_up(client: Client, namespace: str) -> None:
    clock = FakeClock(time.time())
    about = client.create(CONFIGMAPS, new_object(CONFIGMAPS, "thing", namespace))
    recorder = EventRecorder(client, "tester", clock, host="node-1")
    for _ in range(3):
        recorder.event(about, "Normal", "Happened", "it happened", field_path="data{x}")
        clock.advance(60)
    recorder.event(about, "Warning", "Other", "something else")
    eventually(lambda: sorted(e["count"] for e in _events(client, namespace)) == [1, 3])
    event = next(e for e in _events(client, namespace) if e["reason"] == "Happened")
    assert event["metadata"]["name"].startswith("thing.") and event["message"] == "it happened"
    assert event["involvedObject"]["uid"] == about["metadata"]["uid"]
    assert event["involvedObject"]["fieldPath"] == "data{x}"
    assert event["source"] == {"component": "tester", "host": "node-1"}
    assert event["firstTimestamp"] < event["lastTimestamp"]
    client.delete(EVENTS, event["metadata"]["name"], namespace)
    recorder.event(about, "Normal", "Happened", "it happened", field_path="data{x}")
    eventually(
        lambda: any(e["reason"] == "Happened" for e in _events(client, namespace)), what="made anew once it expired"
    )
    recorder.stop()


def test_one_object_cannot_flood(client: Client, namespace: str) -> None:
    clock = FakeClock(time.time())
    about = client.create(CONFIGMAPS, new_object(CONFIGMAPS, "loud", namespace))
    other = client.create(CONFIGMAPS, new_object(CONFIGMAPS, "calm", namespace))
    recorder = EventRecorder(client, "tester", clock)
    for number in range(60):
        clock.advance(0.001)
        recorder.event(about, "Warning", "Noise", f"message {number}")
    recorder.event(other, "Normal", "Fine", "all is well")
    eventually(lambda: any(e["reason"] == "Fine" for e in _events(client, namespace)))
    noise = [e for e in _events(client, namespace) if e["reason"] == "Noise"]
    assert len(noise) == 11, "ten of their own, the rest combined"
    assert sum(e["count"] for e in noise) == 25, "and no more than a burst"
    assert sum(e["message"].startswith("(combined from similar events): ") for e in noise) == 1
    recorder.stop()


def test_an_absent_server_blocks_nobody() -> None:
    recorder = EventRecorder(Client(Config(f"http://127.0.0.1:{free_port()}")), "tester")
    about = new_object(CONFIGMAPS, "a", "b")
    began = time.monotonic()
    for number in range(3000):
        recorder.event(about, "Normal", "Reason", f"message {number}")
    recorder.stop(timeout=1.0)
    assert time.monotonic() - began < 10
    recorder.event(about, "Normal", "Reason", "after the end")
