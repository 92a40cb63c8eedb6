"""Create, get, update, patch, delete: who owns which field, what counts as a change, and what the answers look like."""

import re
import threading
from typing import Any

import pytest

from tests.apiserver.wire import APPLY, JSON_PATCH, MERGE, STRATEGIC, Wire, config_map, deployment

APPS = "/apis/apps/v1/namespaces"
PODS = "/api/v1/namespaces/{}/pods"


def pod(name: str, **metadata: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "busybox"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


class TestCreate:
    def test_the_server_owns_its_metadata(self, wire: Wire, maps: str) -> None:
        sent = config_map("a", data={"k": "v"})
        sent["metadata"] |= {
            "uid": "mine", "generation": 7, "creationTimestamp": "2001-01-01T00:00:00Z", "selfLink": "/x",
            "deletionTimestamp": "2001-01-01T00:00:00Z", "deletionGracePeriodSeconds": 3,
        }  # fmt: skip
        made = wire.ok("POST", maps, sent)
        meta = made["metadata"]
        assert meta["uid"] != "mine"
        assert not meta["creationTimestamp"].startswith("2001")
        assert not {"generation", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"} & set(meta)
        assert re.fullmatch("[1-9][0-9]*", meta["resourceVersion"])
        assert wire.ok("GET", f"{maps}/a") == made
        again = wire("POST", maps, config_map("a"))
        assert (again.status, again.reason) == (409, "AlreadyExists")
        assert again.body["message"] == 'configmaps "a" already exists'
        assert again.body["details"] == {"name": "a", "kind": "configmaps"}

    def test_generate_name(self, wire: Wire, maps: str) -> None:
        sent = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "job-"}}
        names = {wire.ok("POST", maps, sent)["metadata"]["name"] for _ in range(5)}
        assert len(names) == 5
        assert all(re.fullmatch("job-[a-z0-9]{5}", name) for name in names)
        long = {**sent, "metadata": {"generateName": "x" * 70}}
        assert len(wire.ok("POST", maps, long)["metadata"]["name"]) == 63

    def test_type_fields_may_be_left_out(self, wire: Wire, maps: str) -> None:
        made = wire.ok("POST", maps, {"metadata": {"name": "bare"}})
        assert (made["apiVersion"], made["kind"]) == ("v1", "ConfigMap")

    def test_status_is_not_taken_at_creation(self, wire: Wire, ns: str) -> None:
        made = wire.ok("POST", f"{APPS}/{ns}/deployments", {**deployment("d"), "status": {"replicas": 9}})
        assert not made.get("status")
        assert made["metadata"]["generation"] == 1

    def test_yaml_bodies(self, wire: Wire, maps: str) -> None:
        text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\ndata:\n  k: 'yes'\n"
        made = wire.ok("POST", maps, text, content_type="application/yaml")
        assert made["data"] == {"k": "yes"}

    def test_unknown_fields_warn_or_refuse(self, wire: Wire, maps: str) -> None:
        sent = {**config_map("w"), "wrong": 1}
        answer = wire("POST", maps, sent)
        assert answer.status == 201
        assert "wrong" not in answer.body
        assert answer.headers["warning"] == '299 - "unknown field \\"wrong\\""'
        assert "warning" not in wire("POST", maps, {**config_map("v"), "wrong": 1}, fieldValidation="Ignore").headers

    def test_dry_run_stores_nothing(self, wire: Wire, maps: str) -> None:
        made = wire("POST", maps, config_map("dry"), dryRun="All")
        assert made.status == 201
        assert made.body["metadata"]["uid"]
        assert wire("GET", f"{maps}/dry").status == 404
        wire.ok("POST", maps, config_map("dry"))
        assert wire("POST", maps, config_map("dry"), dryRun="All").reason == "AlreadyExists"


class TestUpdate:
    def test_resource_version_decides(self, wire: Wire, maps: str) -> None:
        first = wire.ok("POST", maps, config_map("a", data={"k": "1"}))
        second = wire.ok("PUT", f"{maps}/a", {**first, "data": {"k": "2"}})
        assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
        stale = wire("PUT", f"{maps}/a", {**first, "data": {"k": "3"}})
        assert (stale.status, stale.reason) == (409, "Conflict")
        assert stale.body["message"] == (
            'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
            "please apply your changes to the latest version and try again"
        )
        unconditional = config_map("a", data={"k": "4"})
        assert wire.ok("PUT", f"{maps}/a", unconditional)["data"] == {"k": "4"}

    def test_the_same_content_is_no_write(self, wire: Wire, ns: str) -> None:
        path = f"{APPS}/{ns}/deployments"
        made = wire.ok("POST", path, deployment("d"))
        assert wire.ok("PUT", f"{path}/d", made) == made
        bare = deployment("d")
        again = wire.ok("PUT", f"{path}/d", bare)
        assert again["metadata"]["generation"] == 1
        labelled = {**made, "metadata": {**made["metadata"], "labels": {"a": "b"}}}
        changed = wire.ok("PUT", f"{path}/d", {**labelled, "metadata": {**labelled["metadata"], "resourceVersion": ""}})
        assert changed["metadata"]["generation"] == 1
        changed["spec"]["replicas"] = 5
        assert wire.ok("PUT", f"{path}/d", changed)["metadata"]["generation"] == 2

    def test_names_must_agree(self, wire: Wire, maps: str) -> None:
        wire.ok("POST", maps, config_map("a"))
        answer = wire("PUT", f"{maps}/a", config_map("b"))
        assert (answer.status, answer.reason) == (400, "BadRequest")
        assert answer.body["message"] == "the name of the object (b) does not match the name on the URL (a)"

    def test_another_uid_is_another_object(self, wire: Wire, maps: str) -> None:
        wire.ok("POST", maps, config_map("a"))
        sent = config_map("a")
        sent["metadata"]["uid"] = "4711"
        answer = wire("PUT", f"{maps}/a", sent)
        assert (answer.status, answer.reason) == (409, "Conflict")
        assert "UID in precondition: 4711" in answer.body["message"]

    def test_status_and_spec_are_apart(self, wire: Wire, ns: str) -> None:
        path = f"{APPS}/{ns}/deployments"
        made = wire.ok("POST", path, deployment("d"))
        main = wire.ok("PUT", f"{path}/d", {**made, "status": {"replicas": 3}})
        assert not main.get("status")
        sent = {**main, "spec": {**main["spec"], "replicas": 9}, "status": {"replicas": 3}}
        sent["metadata"] = {**main["metadata"], "annotations": {"seen": "yes"}}
        status = wire.ok("PUT", f"{path}/d/status", sent)
        assert status["status"]["replicas"] == 3
        assert status["spec"]["replicas"] == 1
        assert status["metadata"]["annotations"] == {"seen": "yes"}
        assert status["metadata"]["generation"] == 1
        assert wire.ok("GET", f"{path}/d/status") == status

    def test_dry_run_changes_nothing(self, wire: Wire, maps: str) -> None:
        made = wire.ok("POST", maps, config_map("a"))
        assert wire.ok("PUT", f"{maps}/a", {**made, "data": {"k": "v"}}, dryRun="All")["data"] == {"k": "v"}
        assert wire.ok("GET", f"{maps}/a") == made


class TestPatch:
    def test_four_ways(self, wire: Wire, ns: str) -> None:
        path = f"{APPS}/{ns}/deployments"
        wire.ok("POST", path, deployment("d"))
        merged = wire.ok("PATCH", f"{path}/d", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
        assert merged["metadata"]["labels"] == {"a": "b"}
        ops = [{"op": "replace", "path": "/spec/replicas", "value": 2}]
        assert wire.ok("PATCH", f"{path}/d", ops, content_type=JSON_PATCH)["spec"]["replicas"] == 2
        added = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "x"}]}}}}
        strategic = wire.ok("PATCH", f"{path}/d", added, content_type=STRATEGIC)
        assert sorted(c["name"] for c in strategic["spec"]["template"]["spec"]["containers"]) == ["c", "side"]
        assert strategic["metadata"]["generation"] == 3
        text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: 4}\n"
        applied = wire.ok("PATCH", f"{path}/d", text, content_type=APPLY, fieldManager="t", force="true")
        assert applied["spec"]["replicas"] == 4

    def test_apply_creates(self, wire: Wire, maps: str) -> None:
        text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\ndata: {a: b}\n"
        answer = wire("PATCH", f"{maps}/new", text, content_type=APPLY, fieldManager="t")
        assert answer.status == 201
        assert answer.body["data"] == {"a": "b"}
        again = wire("PATCH", f"{maps}/new", text, content_type=APPLY, fieldManager="t")
        assert again.status == 200
        assert again.body["metadata"]["resourceVersion"] == answer.body["metadata"]["resourceVersion"]

    def test_annotation_and_status_in_one_merge_patch(self, wire: Wire, ns: str) -> None:
        path = f"{APPS}/{ns}/deployments"
        wire.ok("POST", path, deployment("d"))
        patch = {"metadata": {"annotations": {"p": "q"}}, "spec": {"replicas": 9}, "status": {"replicas": 7}}
        patched = wire.ok("PATCH", f"{path}/d/status", patch, content_type=MERGE)
        assert patched["metadata"]["annotations"] == {"p": "q"}
        assert (patched["status"]["replicas"], patched["spec"]["replicas"]) == (7, 1)
        main = wire.ok("PATCH", f"{path}/d", {"status": {"replicas": 1}, "spec": {"replicas": 2}}, content_type=MERGE)
        assert (main["status"]["replicas"], main["spec"]["replicas"]) == (7, 2)

    def test_repeating_what_is_there_is_tolerated(self, wire: Wire, maps: str) -> None:
        made = wire.ok("POST", maps, config_map("a"))
        patch = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": made["metadata"]["uid"]}}
        assert wire.ok("PATCH", f"{maps}/a", patch, content_type=MERGE) == made

    def test_a_version_in_the_patch_is_a_precondition(self, wire: Wire, maps: str) -> None:
        wire.ok("POST", maps, config_map("a"))
        patch = {"metadata": {"resourceVersion": "1"}, "data": {"a": "b"}}
        assert wire("PATCH", f"{maps}/a", patch, content_type=MERGE).reason == "Conflict"

    def test_strict_patches_refuse_unknown_fields(self, wire: Wire, maps: str) -> None:
        wire.ok("POST", maps, config_map("a"))
        answer = wire("PATCH", f"{maps}/a", {"dada": {}}, content_type=MERGE, fieldValidation="Strict")
        assert (answer.status, answer.reason) == (422, "Invalid")
        assert 'strict decoding error: unknown field "dada"' in answer.body["message"]


class TestDelete:
    def test_a_status_says_what_went(self, wire: Wire, maps: str) -> None:
        made = wire.ok("POST", maps, config_map("a"))
        status = wire.ok("DELETE", f"{maps}/a")
        assert (status["kind"], status["status"]) == ("Status", "Success")
        assert status["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
        assert wire("DELETE", f"{maps}/a").reason == "NotFound"

    @pytest.mark.parametrize("key", ["uid", "resourceVersion"])
    def test_preconditions(self, wire: Wire, maps: str, key: str) -> None:
        made = wire.ok("POST", maps, config_map("a"))
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {key: "7"}}
        answer = wire("DELETE", f"{maps}/a", options)
        assert (answer.status, answer.reason) == (409, "Conflict")
        assert "Precondition failed" in answer.body["message"]
        by_query = wire("DELETE", f"{maps}/a?preconditions.{key}=7")
        assert by_query.reason == "Conflict"
        options["preconditions"] = {key: made["metadata"][key]}
        assert wire("DELETE", f"{maps}/a", options).status == 200

    def test_finalizers_hold_an_object(self, wire: Wire, maps: str) -> None:
        sent = config_map("a")
        sent["metadata"]["finalizers"] = ["example.com/hold"]
        wire.ok("POST", maps, sent)
        marked = wire.ok("DELETE", f"{maps}/a")
        assert marked["kind"] == "ConfigMap"
        assert marked["metadata"]["deletionTimestamp"]
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
        again = wire.ok("DELETE", f"{maps}/a")
        assert again["metadata"]["deletionTimestamp"] == marked["metadata"]["deletionTimestamp"]
        more = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
        assert wire("PATCH", f"{maps}/a", more, content_type=MERGE).reason == "Invalid"
        let_go = wire.ok("PATCH", f"{maps}/a", {"metadata": {"finalizers": None}}, content_type=MERGE)
        assert let_go["metadata"]["name"] == "a"
        assert wire("GET", f"{maps}/a").status == 404

    @pytest.mark.parametrize(
        ("policy", "finalizer"), [("Orphan", "orphan"), ("Foreground", "foregroundDeletion"), ("Background", None)]
    )
    @pytest.mark.parametrize("in_body", [True, False])
    def test_propagation(self, wire: Wire, ns: str, policy: str, finalizer: str | None, in_body: bool) -> None:
        path = f"{APPS}/{ns}/deployments"
        wire.ok("POST", path, deployment("d"))
        if in_body:
            answer = wire("DELETE", f"{path}/d", {"propagationPolicy": policy})
        else:
            answer = wire("DELETE", f"{path}/d", propagationPolicy=policy)
        assert answer.status == 200
        left = wire("GET", f"{path}/d")
        if finalizer is None:
            assert left.status == 404
            return
        assert left.body["metadata"]["finalizers"] == [finalizer]
        assert left.body["metadata"]["deletionTimestamp"]
        wire.ok("PATCH", f"{path}/d", {"metadata": {"finalizers": []}}, content_type=MERGE)
        assert wire("GET", f"{path}/d").status == 404

    def test_pods_are_given_time(self, wire: Wire, ns: str) -> None:
        path = PODS.format(ns)
        wire.ok("POST", path, pod("waiting"))
        assert wire.ok("DELETE", f"{path}/waiting")["kind"] == "Pod"
        assert wire("GET", f"{path}/waiting").status == 404  # it was on no node
        made = wire.ok("POST", path, pod("running"))
        target = {"apiVersion": "v1", "kind": "Node", "name": "n1"}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "running"}, "target": target}
        wire.ok("POST", f"{path}/running/binding", binding)
        marked = wire.ok("DELETE", f"{path}/running")
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
        assert marked["metadata"]["generation"] == made["metadata"]["generation"] + 1
        sooner = wire.ok("DELETE", f"{path}/running", gracePeriodSeconds=5)
        assert sooner["metadata"]["deletionGracePeriodSeconds"] == 5
        later = wire.ok("DELETE", f"{path}/running", gracePeriodSeconds=60)
        assert later["metadata"]["deletionGracePeriodSeconds"] == 5
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": made["metadata"]["uid"]}}
        wire.ok("DELETE", f"{path}/running", options)
        assert wire("GET", f"{path}/running").status == 404

    def test_a_collection_with_selectors(self, wire: Wire, maps: str) -> None:
        for index in range(12):
            made = config_map(f"m{index:02}")
            made["metadata"]["labels"] = {"odd": str(index % 2)}
            wire.ok("POST", maps, made)
        gone = wire.ok("DELETE", maps, labelSelector="odd=1")
        assert [item["metadata"]["name"] for item in gone["items"]] == [f"m{index:02}" for index in range(1, 12, 2)]
        wire.ok("DELETE", maps, fieldSelector="metadata.name=m04")
        left = [item["metadata"]["name"] for item in wire.ok("GET", maps)["items"]]
        assert left == ["m00", "m02", "m06", "m08", "m10"]
        wire.ok("DELETE", maps)
        assert not wire.ok("GET", maps)["items"]

    def test_dry_run_deletes_nothing(self, wire: Wire, maps: str) -> None:
        wire.ok("POST", maps, config_map("a"))
        wire.ok("DELETE", f"{maps}/a", {"dryRun": ["All"]})
        wire.ok("DELETE", f"{maps}/a", dryRun="All")
        assert wire("GET", f"{maps}/a").status == 200


def test_a_namespace_terminates_before_it_goes(wire: Wire) -> None:
    path = "/api/v1/namespaces"
    made = wire.ok("POST", path, {"metadata": {"name": "ending"}})
    assert made["status"]["phase"] == "Active"
    assert made["spec"]["finalizers"] == ["kubernetes"]
    marked = wire.ok("DELETE", f"{path}/ending")
    assert marked["status"]["phase"] == "Terminating"
    refused = wire("POST", f"{path}/ending/configmaps", config_map("late"))
    assert (refused.status, refused.reason) == (403, "Forbidden")
    assert wire.ok("GET", f"{path}/ending")["metadata"]["deletionTimestamp"]
    wire.ok("PUT", f"{path}/ending/finalize", {**marked, "spec": {"finalizers": []}})
    assert wire("GET", f"{path}/ending").status == 404


def test_two_updaters_one_wins(wire: Wire, maps: str) -> None:
    made = wire.ok("POST", maps, config_map("a"))
    barrier, answers = threading.Barrier(8), []

    def update(index: int) -> None:
        barrier.wait()
        answers.append(wire("PUT", f"{maps}/a", {**made, "data": {"who": str(index)}}))

    threads = [threading.Thread(target=update, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7
    winner = next(answer for answer in answers if answer.status == 200)
    assert wire.ok("GET", f"{maps}/a") == winner.body


def test_an_update_without_a_version_overwrites_whoever_was_faster(wire: Wire, maps: str) -> None:
    wire.ok("POST", maps, config_map("a"))
    answers = []

    def overwrite(index: int) -> None:
        for step in range(15):
            answer = wire("PUT", f"{maps}/a", config_map("a", data={"who": f"{index}-{step}"}))
            answers.append(answer.status)

    threads = [threading.Thread(target=overwrite, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 90


def test_no_patch_is_lost(wire: Wire, maps: str) -> None:
    wire.ok("POST", maps, config_map("a"))

    def add(index: int) -> None:
        for step in range(10):
            wire.ok("PATCH", f"{maps}/a", {"data": {f"k{index}-{step}": "v"}}, content_type=MERGE)

    threads = [threading.Thread(target=add, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wire.ok("GET", f"{maps}/a")["data"]) == 60


def test_forms_of_an_answer(wire: Wire, maps: str) -> None:
    wire.ok("POST", maps, config_map("a", data={"k": "v"}))
    table = wire("GET", maps, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}).body
    assert table["kind"] == "Table"
    assert table["rows"][0]["object"]["metadata"]["name"] == "a"
    partial = wire(
        "GET", f"{maps}/a", headers={"Accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}
    ).body
    assert partial["kind"] == "PartialObjectMetadata"
    assert "data" not in partial
    yaml = wire("GET", f"{maps}/a", headers={"Accept": "application/yaml"})
    assert b"kind: ConfigMap" in yaml.body
    assert b'\n  "kind"' in wire.connection_text(f"{maps}/a?pretty=true")


def test_two_versions_of_one_kind(wire: Wire, ns: str) -> None:
    v1, v2 = (f"/apis/autoscaling/{version}/namespaces/{ns}/horizontalpodautoscalers" for version in ("v1", "v2"))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    spec = {"maxReplicas": 3, "scaleTargetRef": target, "targetCPUUtilizationPercentage": 60}
    wire.ok("POST", v1, {"metadata": {"name": "h"}, "spec": spec})
    newer = wire.ok("GET", f"{v2}/h")
    assert newer["apiVersion"] == "autoscaling/v2"
    assert newer["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    patched = wire.ok("PATCH", f"{v1}/h", {"spec": {"targetCPUUtilizationPercentage": 70}}, content_type=MERGE)
    assert patched["apiVersion"] == "autoscaling/v1"
    assert wire.ok("GET", v1)["items"][0]["spec"]["targetCPUUtilizationPercentage"] == 70
    other = {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "i"}, "spec": spec}
    applied = wire.ok("PATCH", f"{v1}/i", other, content_type=APPLY, fieldManager="t")
    assert applied["spec"]["targetCPUUtilizationPercentage"] == 60


def test_events_are_one_store_under_two_names(wire: Wire, ns: str) -> None:
    core, modern = f"/api/v1/namespaces/{ns}/events", f"/apis/events.k8s.io/v1/namespaces/{ns}/events"
    regarding = {"kind": "Pod", "name": "p", "namespace": ns}
    wire.ok("POST", core, {"metadata": {"name": "e"}, "involvedObject": regarding, "message": "hello", "reason": "R",
                           "source": {"component": "test"}})  # fmt: skip
    seen = wire.ok("GET", f"{modern}/e")
    assert (seen["apiVersion"], seen["note"], seen["regarding"]) == ("events.k8s.io/v1", "hello", regarding)
    found = wire.ok("GET", modern, fieldSelector="regarding.name=p,reason=R")["items"]
    assert [item["note"] for item in found] == ["hello"]
    assert not wire.ok("GET", core, fieldSelector="involvedObject.name=other")["items"]
