"""Pods on a real engine, through a real API server: they run, restart, end and leave nothing behind."""

from kubelet.options import Options
from minikube_py.api.gvr import EVENTS, PODS
from minikube_py.api.types import Obj
from tests import harness
from tests.kubelet.conftest import Bridge, Nodes, container, is_ready, status_of


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def ended(pod: Obj, name: str = "main") -> Obj:
    """The terminated state of a container."""
    found: Obj = status_of(pod, name)["state"]["terminated"]
    return found


def test_a_bound_pod_runs_and_goes(nodes: Nodes, node: Options, namespace: str, bridge: Bridge) -> None:
    pod = nodes.pod(namespace, node)
    running = nodes.wait(pod, is_ready)
    status = running["status"]
    assert status["phase"] == "Running"
    assert status["podIP"].startswith(f"{bridge.prefix}.1.")
    assert status["hostIP"] == node.node_ip
    assert status["containerStatuses"][0]["containerID"].startswith("docker://")
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "PodReadyToStartContainers": "True", "Initialized": "True", "Ready": "True", "ContainersReady": "True",
        "PodScheduled": "True",
    }  # fmt: skip
    nodes.delete(pod)
    nodes.wait_gone(pod)
    uid = pod["metadata"]["uid"]
    harness.eventually(lambda: not [c for c in bridge.containers() if uid in c["Names"][0]], what="no container left")
    harness.eventually(
        lambda: not nodes.directory.joinpath(node.node_name, "pods", uid).exists(), what="no directory left"
    )


def test_exit_codes_and_restart_policies(nodes: Nodes, node: Options, namespace: str) -> None:
    never = nodes.pod(namespace, node, "never", [container("main", sh("exit 3"))], restartPolicy="Never")
    bye = container("main", sh("echo bye > /dev/termination-log"))
    done = nodes.pod(namespace, node, "done", [bye], restartPolicy="OnFailure")
    again = nodes.pod(namespace, node, "again", [container("main", sh("exit 1"))])
    failed = nodes.wait_phase(never, "Failed")
    assert (ended(failed)["exitCode"], ended(failed)["reason"]) == (3, "Error")
    succeeded = nodes.wait_phase(done, "Succeeded")
    assert (ended(succeeded)["reason"], ended(succeeded)["message"]) == ("Completed", "bye\n")
    assert status_of(succeeded, "main")["restartCount"] == 0
    backing_off = nodes.wait(again, lambda p: status_of(p, "main").get("restartCount", 0) >= 2)
    assert backing_off["status"]["phase"] == "Running"
    waiting = nodes.wait(again, lambda p: "waiting" in status_of(p, "main")["state"])
    state = status_of(waiting, "main")
    assert state["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert state["lastState"]["terminated"]["exitCode"] == 1


def test_a_killed_container_is_back_with_the_same_address(
    nodes: Nodes, node: Options, namespace: str, bridge: Bridge
) -> None:
    pod = nodes.pod(namespace, node)
    before = nodes.wait(pod, is_ready)
    container_id = status_of(before, "main")["containerID"].removeprefix("docker://")
    bridge.engine.api.kill(container_id)
    after = nodes.wait(pod, lambda p: status_of(p, "main")["restartCount"] == 1 and is_ready(p))
    assert after["status"]["podIP"] == before["status"]["podIP"]
    assert status_of(after, "main")["lastState"]["terminated"]["exitCode"] == 137
    assert status_of(after, "main")["containerID"] != status_of(before, "main")["containerID"]


def test_a_killed_sandbox_is_replaced(nodes: Nodes, node: Options, namespace: str, bridge: Bridge) -> None:
    pod = nodes.pod(namespace, node)
    before = nodes.wait(pod, is_ready)
    uid = pod["metadata"]["uid"]
    sandbox = next(c for c in bridge.containers() if c["Names"][0].startswith("/k8s_POD") and uid in c["Names"][0])
    bridge.engine.api.kill(sandbox["Id"])
    after = nodes.wait(pod, lambda p: status_of(p, "main")["restartCount"] == 1 and is_ready(p))
    assert after["status"]["podIP"] == before["status"]["podIP"]
    running = [c for c in bridge.containers() if uid in c["Names"][0] and c["State"] == "running"]
    assert len(running) == 2, running


def test_init_containers_run_one_after_the_other(nodes: Nodes, node: Options, namespace: str) -> None:
    volume: Obj = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    pod = nodes.pod(
        namespace, node,
        containers=[container("main", sh("cat /shared/log > /dev/termination-log"), **volume)],
        initContainers=[
            container("first", sh("echo one >> /shared/log"), **volume),
            container("second", sh("echo two >> /shared/log"), **volume),
        ],
        volumes=[{"name": "shared", "emptyDir": {}}], restartPolicy="Never",
    )  # fmt: skip
    final = nodes.wait_phase(pod, "Succeeded")
    assert ended(final)["message"] == "one\ntwo\n"
    assert [entry["ready"] for entry in final["status"]["initContainerStatuses"]] == [True, True]


def test_a_failing_init_container_holds_the_pod_back(nodes: Nodes, node: Options, namespace: str) -> None:
    inits = [container("first", sh("exit 1")), container("second", sh("true"))]
    pod = nodes.pod(namespace, node, "always", initContainers=inits)
    never = nodes.pod(namespace, node, "never", initContainers=inits, restartPolicy="Never")
    seen = nodes.wait(pod, lambda p: status_of(p, "first").get("restartCount", 0) >= 2)
    assert seen["status"]["phase"] == "Pending"
    assert status_of(seen, "main")["state"]["waiting"]["reason"] == "PodInitializing"
    initialized = next(c for c in seen["status"]["conditions"] if c["type"] == "Initialized")
    assert (initialized["status"], initialized["reason"]) == ("False", "ContainersNotInitialized")
    assert initialized["message"] == "containers with incomplete status: [first second]"
    assert nodes.wait_phase(never, "Failed")["status"]["phase"] == "Failed"


def test_a_sidecar_starts_first_and_ends_last(nodes: Nodes, node: Options, namespace: str) -> None:
    script = "trap 'echo stopped > /dev/termination-log; exit 0' TERM; touch /shared/up; while true; do sleep 0.1; done"
    mount: Obj = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    pod = nodes.pod(
        namespace, node,
        containers=[container("main", sh("ls /shared > /dev/termination-log"), **mount)],
        initContainers=[container("side", sh(script), restartPolicy="Always", startupProbe={
            "exec": {"command": ["test", "-f", "/shared/up"]}, "periodSeconds": 1}, **mount)],
        volumes=[{"name": "shared", "emptyDir": {}}], restartPolicy="Never",
    )  # fmt: skip
    final = nodes.wait_phase(pod, "Succeeded")
    assert ended(final)["message"] == "up\n"
    assert ended(final, "side")["message"] == "stopped\n"


def test_out_of_memory_is_reported(nodes: Nodes, node: Options, namespace: str) -> None:
    limits = {"limits": {"memory": "24Mi"}}
    eater = sh("x=a; while true; do x=$x$x; done")
    pod = nodes.pod(namespace, node, containers=[container("main", eater, resources=limits)], restartPolicy="Never")
    assert ended(nodes.wait_phase(pod, "Failed"))["reason"] == "OOMKilled"


def test_images_that_cannot_be_had(nodes: Nodes, node: Options, namespace: str) -> None:
    never = container("main", image="no/such:1")
    never["imagePullPolicy"] = "Never"
    first = nodes.pod(namespace, node, "never", [never])
    second = nodes.pod(namespace, node, "pulled", [container("main", image="registry.invalid/no/such:1")])
    third = nodes.pod(namespace, node, "badname", [container("main", image="NOT:a:name")])

    def reason(pod: Obj) -> str:
        return str(status_of(pod, "main").get("state", {}).get("waiting", {}).get("reason"))

    assert nodes.wait(first, lambda p: reason(p) == "ErrImageNeverPull")["status"]["phase"] == "Pending"
    nodes.wait(second, lambda p: reason(p) in ("ErrImagePull", "ImagePullBackOff"))
    nodes.wait(second, lambda p: reason(p) == "ImagePullBackOff")
    nodes.wait(third, lambda p: reason(p) == "InvalidImageName")


def test_a_command_that_does_not_exist(nodes: Nodes, node: Options, namespace: str) -> None:
    pod = nodes.pod(namespace, node, containers=[container("main", ["/no/such/program"])], restartPolicy="Never")
    state = ended(nodes.wait_phase(pod, "Failed"))
    assert (state["reason"], state["exitCode"]) == ("StartError", 128)
    assert "no such file" in state["message"]


def test_grace_period_and_prestop(nodes: Nodes, node: Options, namespace: str) -> None:
    """preStop runs before TERM; a stubborn container is killed when its time is up, at once when forced."""
    stubborn = sh("trap '' TERM; while true; do sleep 0.2; done")
    hook = {"preStop": {"exec": {"command": sh("echo asked > /out/log")}}}
    script = "trap 'cat /out/log > /dev/termination-log; exit 0' TERM; while true; do sleep 0.1; done"
    polite = container("main", sh(script), lifecycle=hook, volumeMounts=[{"name": "out", "mountPath": "/out"}])
    volumes = [{"name": "out", "emptyDir": {}}]
    pod = nodes.pod(namespace, node, "polite", [polite], terminationGracePeriodSeconds=20, volumes=volumes)
    slow = nodes.pod(namespace, node, "stubborn", [container("main", stubborn)], terminationGracePeriodSeconds=300)
    pod, slow = nodes.wait(pod, is_ready), nodes.wait(slow, is_ready)
    with nodes.client.watch(PODS, namespace, resource_version=slow["metadata"]["resourceVersion"]) as watch:
        nodes.delete(pod)
        final = next(obj for kind, obj in watch if kind == "DELETED")
    assert final["metadata"]["name"] == "polite"
    assert ended(final)["message"] == "asked\n"
    assert final["status"]["phase"] == "Succeeded"
    nodes.delete(slow)
    nodes.wait(slow, lambda p: p["metadata"].get("deletionTimestamp"))
    nodes.delete(slow, grace_period_seconds=1)
    nodes.wait_gone(slow, timeout=15)


def test_force_deletion_kills_what_runs(nodes: Nodes, node: Options, namespace: str, bridge: Bridge) -> None:
    pod = nodes.wait(nodes.pod(namespace, node, terminationGracePeriodSeconds=300), is_ready)
    nodes.delete(pod, grace_period_seconds=0)
    nodes.wait_gone(pod, 5)
    uid = pod["metadata"]["uid"]
    harness.eventually(lambda: not [c for c in bridge.containers() if uid in c["Names"][0]], what="no container left")


def test_active_deadline(nodes: Nodes, node: Options, namespace: str) -> None:
    pod = nodes.pod(namespace, node, activeDeadlineSeconds=2)
    final = nodes.wait_phase(pod, "Failed")
    assert final["status"]["reason"] == "DeadlineExceeded"
    assert "terminated" in nodes.wait(pod, lambda p: "terminated" in status_of(p, "main")["state"])["status"][
        "containerStatuses"][0]["state"]  # fmt: skip


def test_an_image_change_restarts_the_container(nodes: Nodes, node: Options, namespace: str, bridge: Bridge) -> None:
    bridge.engine.api.tag("busybox:latest", "mkpy-test-other", "1")
    pod = nodes.wait(nodes.pod(namespace, node), is_ready)
    patch = {"spec": {"containers": [{"name": "main", "image": "mkpy-test-other:1"}]}}
    nodes.client.patch(PODS, pod["metadata"]["name"], patch, namespace, kind="strategic")
    after = nodes.wait(pod, lambda p: status_of(p, "main")["restartCount"] == 1 and is_ready(p))
    assert status_of(after, "main")["image"] == "mkpy-test-other:1"
    assert after["status"]["observedGeneration"] == after["metadata"]["generation"]
    nodes.delete(pod)
    nodes.wait_gone(pod)
    bridge.engine.api.remove_image("mkpy-test-other:1", force=True)


def test_limits_are_changed_in_place(nodes: Nodes, node: Options, namespace: str, bridge: Bridge) -> None:
    body = container("main", ["sleep", "3600"], resources={"limits": {"cpu": "500m", "memory": "64Mi"}})
    pod = nodes.wait(nodes.pod(namespace, node, containers=[body]), is_ready)
    container_id = status_of(pod, "main")["containerID"].removeprefix("docker://")
    patch = {"spec": {"containers": [{"name": "main", "resources": {
        "limits": {"cpu": "1", "memory": "128Mi"}, "requests": {"cpu": "1", "memory": "128Mi"}}}]}}  # fmt: skip
    nodes.client.patch(PODS, pod["metadata"]["name"], patch, namespace, kind="strategic", subresource="resize")

    def limits() -> tuple[int, int]:
        host = bridge.engine.api.inspect_container(container_id)["HostConfig"]
        return host["CpuQuota"], host["Memory"]

    harness.eventually(lambda: limits() == (100_000, 128 << 20), what="the new limits")
    after = nodes.wait(pod, lambda p: status_of(p, "main")["resources"]["limits"]["memory"] == "128Mi")
    assert status_of(after, "main")["restartCount"] == 0


def test_an_ephemeral_container_joins(nodes: Nodes, node: Options, namespace: str) -> None:
    pod = nodes.wait(nodes.pod(namespace, node), is_ready)
    patch = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent",
                                               "command": sh("hostname > /dev/termination-log")}]}}  # fmt: skip
    nodes.client.patch(
        PODS, pod["metadata"]["name"], patch, namespace, kind="strategic", subresource="ephemeralcontainers"
    )
    after = nodes.wait(pod, lambda p: "terminated" in status_of(p, "debug").get("state", {}))
    assert ended(after, "debug")["message"].strip() == pod["metadata"]["name"]
    assert is_ready(after)


def test_poststart_hook_failure(nodes: Nodes, node: Options, namespace: str) -> None:
    bad = container("main", ["sleep", "3600"], lifecycle={"postStart": {"exec": {"command": ["false"]}}})
    pod = nodes.pod(namespace, node, containers=[bad])
    nodes.wait(pod, lambda p: status_of(p, "main").get("restartCount", 0) >= 1)
    harness.eventually(
        lambda: any(e["reason"] == "FailedPostStartHook" for e in nodes.client.list(EVENTS, namespace)["items"]),
        what="an event about the hook",
    )


def test_host_network(nodes: Nodes, node: Options, namespace: str) -> None:
    pod = nodes.pod(namespace, node, hostNetwork=True)
    assert nodes.wait(pod, is_ready)["status"]["podIP"] == node.node_ip


def test_the_node_refuses_what_does_not_fit(nodes: Nodes, node: Options, namespace: str) -> None:
    big = container("main", ["sleep", "1"], resources={"requests": {"cpu": "100"}})
    status = nodes.wait_phase(nodes.pod(namespace, node, "big", [big]), "Failed")["status"]
    assert status["reason"] == "OutOfcpu"
    port = container("main", ["sleep", "3600"], ports=[{"containerPort": 80, "hostPort": 18181}])
    nodes.wait(nodes.pod(namespace, node, "one", [port]), is_ready)
    assert nodes.wait_phase(nodes.pod(namespace, node, "two", [port]), "Failed")["status"]["reason"] == "NodePorts"
    elsewhere = nodes.pod(namespace, node, "elsewhere", nodeSelector={"no": "such"})
    assert nodes.wait_phase(elsewhere, "Failed")["status"]["reason"] == "NodeAffinity"


def test_events_tell_the_story(nodes: Nodes, node: Options, namespace: str) -> None:
    pod = nodes.wait(nodes.pod(namespace, node, "story"), is_ready)
    nodes.delete(pod)
    nodes.wait_gone(pod)

    def reasons() -> set[str]:
        return {
            e["reason"] for e in nodes.client.list(EVENTS, namespace)["items"] if e["involvedObject"]["name"] == "story"
        }

    harness.eventually(lambda: reasons() >= {"Pulled", "Created", "Started", "Killing"}, what="the usual events")


def test_the_end_of_the_log_is_a_termination_message(nodes: Nodes, node: Options, namespace: str) -> None:
    policy: Obj = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    bad = container("main", sh("echo first; echo the reason; exit 1"), **policy)
    good = container("main", sh("echo nothing to see"), **policy)
    own = container("main", sh("echo noise; echo mine > /dev/termination-log; exit 1"), **policy)
    placed = container("main", sh("echo here > /tmp/why; exit 1"), terminationMessagePath="/tmp/why")
    made = [
        nodes.pod(namespace, node, f"m{i}", [body], restartPolicy="Never") for i, body in enumerate((bad, own, placed))
    ]
    fine = nodes.pod(namespace, node, "fine", [good], restartPolicy="Never")
    messages = [ended(nodes.wait_phase(pod, "Failed"))["message"] for pod in made]
    assert messages == ["first\nthe reason\n", "mine\n", "here\n"]
    assert "message" not in ended(nodes.wait_phase(fine, "Succeeded"))


def test_a_sleep_before_the_end(nodes: Nodes, node: Options, namespace: str) -> None:
    """preStop sleep: the container runs on meanwhile, and is then told to end."""
    script = "trap 'echo $n > /dev/termination-log; exit 0' TERM; n=0; while true; do sleep 0.5; n=$((n + 1)); done"
    body = container("main", sh(script), lifecycle={"preStop": {"sleep": {"seconds": 3}}})
    pod = nodes.wait(nodes.pod(namespace, node, containers=[body], terminationGracePeriodSeconds=20), is_ready)
    with nodes.client.watch(PODS, namespace, resource_version=pod["metadata"]["resourceVersion"]) as watch:
        nodes.delete(pod)
        final = next(obj for kind, obj in watch if kind == "DELETED")
    assert int(ended(final)["message"]) >= 4


def test_a_kubelet_that_comes_back_finishes_what_was_ending(nodes: Nodes, namespace: str, bridge: Bridge) -> None:
    options = nodes.start(nodes.options(index=10))
    stubborn = sh("trap '' TERM; while true; do sleep 0.2; done")
    pod = nodes.wait(nodes.pod(namespace, options, containers=[container("main", stubborn)]), is_ready)
    nodes.stop(options)
    nodes.client.delete(PODS, pod["metadata"]["name"], namespace, grace_period_seconds=2)
    assert nodes.get(pod)["metadata"]["deletionTimestamp"]
    nodes.start(options)
    nodes.wait_gone(pod)
    uid = pod["metadata"]["uid"]
    harness.eventually(lambda: not [c for c in bridge.containers() if uid in c["Names"][0]], what="no container left")
    nodes.stop(options)


def test_the_engine_may_wire_the_pods(nodes: Nodes, namespace: str, bridge: Bridge) -> None:
    """`--network docker`, where we may not: pods have the engine's addresses, reach each other, and keep running."""
    options = nodes.start(nodes.options(index=11, network="docker"))
    served = container("main", sh("while true; do echo hello | nc -l -p 8080; done"), ports=[
        {"containerPort": 8080, "hostPort": 18383}])  # fmt: skip
    server = nodes.wait(nodes.pod(namespace, options, "server", [served]), is_ready)
    address = server["status"]["podIP"]
    assert address.startswith(f"{bridge.prefix}.")
    script = f"until nc -w 1 {address} 8080 > /dev/termination-log; do sleep 0.2; done"
    client = nodes.pod(namespace, options, "client", [container("main", sh(script))], restartPolicy="Never")
    assert ended(nodes.wait_phase(client, "Succeeded"))["message"] == "hello\n"
    probed = container("main", sh("while true; do echo x | nc -l -p 80; done"), readinessProbe={
        "tcpSocket": {"port": 80}, "periodSeconds": 1})  # fmt: skip
    nodes.wait(nodes.pod(namespace, options, "probed", [probed]), is_ready)
    bridge.engine.api.kill(status_of(server, "main")["containerID"].removeprefix("docker://"))
    after = nodes.wait(server, lambda p: status_of(p, "main")["restartCount"] == 1 and is_ready(p))
    assert after["status"]["podIP"] == address
    for pod in (server, client):
        nodes.delete(pod)
        nodes.wait_gone(pod)
    nodes.stop(options)
