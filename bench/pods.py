"""Pods as their users wait for them: created → Ready, a Deployment of 20 available, 20 deleted; `docker run` as the peer.

Who calls it: __main__.py. Every moment is taken from a watch through the API, so polling adds nothing. `docker run -d` of the
same image on the same engine is measured in the same run: it starts one container where a pod starts two and a network.
"""

import concurrent.futures
import shutil
import subprocess
import time

from bench.figures import Figure, missing, seconds
from bench.target import Options, Seen, Target, until
from minikube_py.api.gvr import DEPLOYMENTS, PODS, new_object
from minikube_py.api.meta import condition_is
from minikube_py.api.types import Obj

_COMMAND = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"]
_SINGLE = 5
_CONTAINERS_GONE = "their containers gone"


def pod_spec(image: str) -> Obj:
    container = {"name": "c", "image": image, "imagePullPolicy": "IfNotPresent", "command": _COMMAND}
    return {"containers": [container], "terminationGracePeriodSeconds": 0}


def deployment(name: str, namespace: str, replicas: int, image: str) -> Obj:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod_spec(image)}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return new_object(DEPLOYMENTS, name, namespace, spec=spec)


def is_ready(kind: str, pod: Obj) -> bool:
    return kind in ("ADDED", "MODIFIED") and condition_is(pod, "Ready")


def measure(target: Target, options: Options) -> list[Figure]:
    if not target.ready_nodes():
        return [missing("pods", "no node is Ready")]
    with target.namespace() as namespace:
        figures = _one_by_one(target, namespace, options)
        figures += _batch(target, namespace, options)
    return figures


def _one_by_one(target: Target, namespace: str, options: Options) -> list[Figure]:
    client, name = target.client(), "pod created → Ready"
    revision = client.list(PODS, namespace)["metadata"]["resourceVersion"]
    took = []
    with client.watch(PODS, namespace, resource_version=revision) as watch:
        ready = Seen(iter(watch), is_ready)
        for number in range(1, _SINGLE + 1):
            start = time.monotonic()
            client.create(PODS, new_object(PODS, f"one-{number}", namespace, spec=pod_spec(options.image)))
            if not ready.wait(number, 60):
                return [missing(name, "a pod was not Ready within 60 s")]
            took.append(ready.at[f"one-{number}"] - start)
    client.delete_collection(PODS, namespace, grace_period_seconds=0)
    return seconds(name, took, "one at a time")


def _batch(target: Target, namespace: str, options: Options) -> list[Figure]:
    client, count = target.client(), options.pods
    available = f"Deployment of {count} available"
    revision = client.list(DEPLOYMENTS, namespace)["metadata"]["resourceVersion"]

    def all_available(kind: str, obj: Obj) -> bool:
        return int((obj.get("status") or {}).get("availableReplicas", 0)) >= count

    with client.watch(DEPLOYMENTS, namespace, resource_version=revision) as watch:
        done = Seen(iter(watch), all_available)
        start = time.monotonic()
        client.create(DEPLOYMENTS, deployment("many", namespace, count, options.image))
        if not done.wait(1, 180):
            return [missing(available, "not within 180 s")]
        took = done.at["many"] - start
    client.delete(DEPLOYMENTS, "many", namespace, propagation_policy="Background")
    until(lambda: not client.list(PODS, namespace)["items"], 90, interval=0.2)
    return [Figure(available, took, "s", note=f"{count / took:.1f} pods/s"), *_bare(target, namespace, options)]


def _bare(target: Target, namespace: str, options: Options) -> list[Figure]:
    """Pods that nobody replaces: all Ready, then, with one call, all gone from the API."""
    client, count = target.client(), options.pods
    ready_name, gone_name = f"{count} pods created together, all Ready", f"{count} pods deleted, grace 0"
    revision = client.list(PODS, namespace)["metadata"]["resourceVersion"]
    with client.watch(PODS, namespace, resource_version=revision) as watch:
        ready = Seen(iter(watch), is_ready)
        start = time.monotonic()
        for number in range(count):
            client.create(PODS, new_object(PODS, f"bare-{number}", namespace, spec=pod_spec(options.image)))
        if not ready.wait(count, 180):
            return [missing(ready_name, "not within 180 s")]
        together = Figure(ready_name, max(ready.at.values()) - start, "s")
    revision = client.list(PODS, namespace)["metadata"]["resourceVersion"]
    with client.watch(PODS, namespace, resource_version=revision) as watch:
        gone = Seen(iter(watch), lambda kind, obj: kind == "DELETED")
        start = time.monotonic()
        client.delete_collection(PODS, namespace, grace_period_seconds=0)
        if not gone.wait(count, 120):
            return [together, missing(gone_name, "not within 120 s")]
        deleted = Figure(gone_name, max(gone.at.values()) - start, "s", note="from the API, which does not wait")
    stopped = _containers_gone(target, namespace, start)
    return [together, deleted, *stopped]


def _containers_gone(target: Target, namespace: str, start: float) -> list[Figure]:
    """When the engine has none of the namespace's containers left, sandboxes included. Only where the engine is ours."""
    docker = shutil.which("docker")
    if target.profile is None or target.profile.runtime != "docker" or docker is None:
        return []
    labels = {"io.minikube-py.profile": target.profile.name, "io.kubernetes.pod.namespace": namespace}
    command = [docker, "ps", "-aq", *(f"--filter=label={key}={value}" for key, value in labels.items())]
    if (
        until(lambda: not subprocess.run(command, capture_output=True, text=True).stdout.strip(), 90, interval=0.1)
        is None
    ):
        return [missing(_CONTAINERS_GONE, "not within 90 s")]
    return [Figure(_CONTAINERS_GONE, time.monotonic() - start, "s", note="two containers per pod")]


def docker_peer(options: Options) -> list[Figure]:
    """The same image through the `docker` command: one at a time, and as many at once as the Deployment has."""
    docker = shutil.which("docker")
    if docker is None:
        return [missing("pod created → Ready", "no docker command here")]
    names: list[str] = []

    def run(number: int) -> float:
        names.append(f"minikube-py-bench-{number}")
        start = time.monotonic()
        command = [docker, "run", "-d", "--name", names[-1], "--network", "bridge", options.image, *_COMMAND]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return time.monotonic() - start

    try:
        single = seconds("pod created → Ready", [run(number) for number in range(_SINGLE)], "docker run -d")
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(options.pods) as pool:
            list(pool.map(run, range(100, 100 + options.pods)))
        together = time.monotonic() - start
        batch = Figure(f"Deployment of {options.pods} available", together, "s", note="docker run -d, all at once")
        start = time.monotonic()
        subprocess.run([docker, "rm", "-f", *names[_SINGLE:]], check=True, capture_output=True, timeout=120)
        deleted = Figure(_CONTAINERS_GONE, time.monotonic() - start, "s", note="docker rm -f")
        return [*single, batch, deleted]
    except subprocess.CalledProcessError as error:
        return [missing("pod created → Ready", f"docker run failed: {error.stderr.decode()[-200:]}")]
    finally:
        subprocess.run([docker, "rm", "-f", *names], capture_output=True, timeout=120)
