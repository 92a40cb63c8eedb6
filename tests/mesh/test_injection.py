"""Pods get a sidecar, once, and keep all that is theirs; the rules it writes are nft's."""

import base64
import json
import subprocess
from typing import Any

from minikube_py.api import patch
from minikube_py.api.types import Obj
from minikube_py.mesh import inject
from minikube_py.mesh.kinds import INJECT, SIDECAR


def injected(pod: Obj) -> Obj:
    asked = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u", "object": pod}}
    response = inject.review(asked, "mesh:latest", "mesh.mesh-system.svc:443")["response"]
    assert response["uid"] == "u" and response["allowed"]
    changes = json.loads(base64.b64decode(response["patch"])) if "patch" in response else []
    changed: Obj = patch.json_patch(pod, changes)
    return changed


def pod(metadata: Obj | None = None, **spec: Any) -> Obj:
    return {"metadata": {"name": "p", **(metadata or {})}, "spec": {"containers": [{"name": "main"}], **spec}}


def test_a_sidecar_comes_first_and_nothing_is_lost() -> None:
    before = pod({"labels": {"app": "x"}}, initContainers=[{"name": "own"}], volumes=[{"name": "data", "emptyDir": {}}])
    after = injected(before)
    assert [c["name"] for c in after["spec"]["initContainers"]] == ["mesh-init", "mesh-proxy", "own"]
    assert after["spec"]["initContainers"][1]["restartPolicy"] == "Always"
    assert [v["name"] for v in after["spec"]["volumes"]] == ["data", "mesh-run", "mesh-identity"]
    assert after["metadata"]["labels"] == {"app": "x", SIDECAR: "true"}
    assert after["spec"]["containers"] == before["spec"]["containers"]
    assert injected(after) == after, "once"


def test_a_bare_pod_gets_one_too() -> None:
    after = injected(pod())
    assert after["metadata"]["labels"] == {SIDECAR: "true"} and len(after["spec"]["initContainers"]) == 2


def test_who_stays_as_they_are() -> None:
    for left in (pod({"annotations": {INJECT: "false"}}), pod(hostNetwork=True)):
        assert injected(left) == left


def test_nft_takes_the_rules() -> None:
    rules = inject.NFT.replace("$(HOST_IP)", "10.244.1.1")
    assert subprocess.run(["nft", "-c", rules], capture_output=True, text=True).stderr == ""
