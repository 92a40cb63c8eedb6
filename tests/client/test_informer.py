"""Informers against the real API server: complete, in order, through restarts and forgotten revisions."""

import os
import random
import threading
import time

from minikube_py.api.gvr import CONFIGMAPS, new_object
from minikube_py.api.meta import name_of
from minikube_py.api.types import Obj
from minikube_py.client.informer import Informer, SharedInformers
from minikube_py.client.rest import Client
from tests.conftest import APIServer
from tests.harness import eventually


class Model:
    """A handler that checks that the story it is told makes sense."""

    def __init__(self) -> None:
        self.objects: dict[str, Obj] = {}
        self.told: list[str] = []
        self.wrong: list[str] = []

    def __call__(self, old: Obj | None, new: Obj | None) -> None:
        name = name_of(new or old or {"metadata": {}})
        known = self.objects.get(name)
        if new is not None:
            self.told.append(f"{'+' if old is None else '~'}{name}")
            if (old is None) != (known is None):
                self.wrong.append(f"{name}: told {old is None}, knew {known is None}")
            if old is not None and known is not old:
                self.wrong.append(f"{name}: another old object")
            self.objects[name] = new
        else:
            self.told.append(f"-{name}")
            if known is None:
                self.wrong.append(f"{name}: deleted but unknown")
            self.objects.pop(name, None)


def _map(name: str, namespace: str, value: str = "") -> Obj:
    return new_object(CONFIGMAPS, name, namespace, data={"v": value})


def test_tells_every_change_in_order_and_indexes(client: Client, namespace: str) -> None:
    client.create(CONFIGMAPS, _map("before", namespace, "1"))
    informer, model = Informer(client, CONFIGMAPS, namespace=namespace), Model()
    informer.add_handler(model)
    informer.add_index("value", lambda obj: [obj["data"]["v"]])
    assert not informer.wait_synced(0)
    informer.start()
    assert informer.wait_synced(5)
    assert model.told == ["+before"], "synced means told"

    def broken(old: Obj | None, new: Obj | None) -> None:
        raise RuntimeError("a handler's own bug")

    informer.add_handler(broken)
    written = client.create(CONFIGMAPS, _map("a", namespace, "1"))
    eventually(lambda: informer.has_seen(written["metadata"]["resourceVersion"]))
    assert sorted(name_of(o) for o in informer.by_index("value", "1")) == ["a", "before"]
    client.patch(CONFIGMAPS, "a", {"data": {"v": "2"}}, namespace)
    client.delete(CONFIGMAPS, "before", namespace)
    eventually(lambda: model.told == ["+before", "+a", "~a", "-before"])
    assert [name_of(o) for o in informer.by_index("value", "2")] == ["a"] and informer.by_index("value", "1") == []
    found = informer.get(namespace, "a")
    assert found is not None and found["kind"] == "ConfigMap" and "managedFields" not in found["metadata"]
    late = Model()
    informer.add_handler(late)
    assert late.told == ["+a"], "a late handler is told what is there"
    informer.stop()
    assert model.wrong == []


def test_survives_restarts_without_losing_or_repeating_anything(fresh_apiserver: APIServer) -> None:
    client = fresh_apiserver.client()
    informer, model = Informer(client, CONFIGMAPS, namespace="default"), Model()
    informer.add_handler(model)
    informer.start()
    assert informer.wait_synced(5)
    truth: dict[str, str] = {}
    chance = random.Random(7)
    for round_ in range(3):
        for number in range(20):
            name = f"c{chance.randrange(8)}"
            if name in truth and chance.random() < 0.4:
                client.delete(CONFIGMAPS, name, "default")
                del truth[name]
            elif name in truth:
                truth[name] = f"{round_}-{number}"
                client.patch(CONFIGMAPS, name, {"data": {"v": truth[name]}}, "default")
            else:
                truth[name] = f"{round_}-{number}"
                client.create(CONFIGMAPS, _map(name, "default", truth[name]))
        fresh_apiserver.kill()
        fresh_apiserver.start()
    client.create(CONFIGMAPS, _map("last", "default", "x"))
    eventually(lambda: "last" in model.objects, timeout=15)
    held = {name: obj["data"]["v"] for name, obj in model.objects.items() if name[0] == "c"}
    assert held == truth and model.wrong == []
    assert {name_of(o) for o in informer.list()} == set(model.objects)
    informer.stop()


def test_an_object_made_again_is_told_as_two_lives(client: Client, namespace: str) -> None:
    informer, model = Informer(client, CONFIGMAPS, namespace=namespace), Model()
    informer.add_handler(model)
    client.create(CONFIGMAPS, _map("a", namespace, "1"))
    informer._relist()  # as if a watch had been lost for a while
    client.delete(CONFIGMAPS, "a", namespace)
    client.create(CONFIGMAPS, _map("a", namespace, "2"))
    client.create(CONFIGMAPS, _map("b", namespace))
    informer._relist()
    assert model.told == ["+a", "-a", "+a", "+b"] and model.wrong == []
    client.delete(CONFIGMAPS, "b", namespace)
    informer._relist()
    informer._relist()
    assert model.told[4:] == ["-b"]


def test_idle_informers_cost_no_cpu_and_stop_at_once(client: Client, namespace: str) -> None:
    informers = SharedInformers(client)
    made = [informers.of(CONFIGMAPS, namespace=namespace, label_selector=f"n={n}") for n in range(20)]
    assert informers.of(CONFIGMAPS, namespace=namespace, label_selector="n=3") is made[3]
    informers.start()
    assert informers.wait_synced(10)
    before = os.times()
    time.sleep(1)
    after = os.times()
    assert after.user + after.system - before.user - before.system < 0.1
    informers.stop()
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "informer-configmaps"], timeout=3)
