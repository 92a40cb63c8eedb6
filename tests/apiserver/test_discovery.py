"""Discovery documents over the real table: they agree with each other and with what clients check."""

from typing import Any

import pytest

from apiserver import discovery, negotiate
from apiserver.resources.table import ROWS
from minikube_py.api import errors

GROUPS = [
    "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "apps", "authentication.k8s.io",
    "authorization.k8s.io", "autoscaling", "batch", "certificates.k8s.io", "coordination.k8s.io", "discovery.k8s.io",
    "events.k8s.io", "networking.k8s.io", "node.k8s.io", "policy", "scheduling.k8s.io", "storage.k8s.io",
    "flowcontrol.apiserver.k8s.io", "resource.k8s.io", "rbac.authorization.k8s.io",
]  # fmt: skip

LISTED = list(dict.fromkeys((row.group, row.version) for row in ROWS if row.group))


def test_every_expected_group_is_there_and_prefers_one_of_its_versions() -> None:
    listed = {group["name"]: group for group in discovery.groups(LISTED)["groups"]}
    assert set(GROUPS) <= set(listed)
    for name, group in listed.items():
        assert group["preferredVersion"] in group["versions"]
        assert discovery.group(LISTED, name) == {"kind": "APIGroup", "apiVersion": "v1", **group}
    assert listed["autoscaling"]["preferredVersion"] == {"groupVersion": "autoscaling/v2", "version": "v2"}
    assert [one["version"] for one in listed["autoscaling"]["versions"]] == ["v2", "v1"]
    assert discovery.group(LISTED, "nothing") is None
    assert discovery.resources(ROWS, "apps", "v9") is None


def test_resources_name_their_subresources_and_foreign_kinds() -> None:
    document = discovery.resources(ROWS, "apps", "v1")
    assert document is not None
    assert document["groupVersion"] == "apps/v1"
    found = {one["name"]: one for one in document["resources"]}
    assert found["deployments"]["shortNames"] == ["deploy"]
    assert found["deployments"]["categories"] == ["all"]
    assert found["deployments/status"]["kind"] == "Deployment"
    assert found["deployments/scale"]["group"] == "autoscaling"
    core = discovery.resources(ROWS, "", "v1")
    assert core is not None
    eviction = next(one for one in core["resources"] if one["name"] == "pods/eviction")
    assert (eviction["group"], eviction["version"], eviction["kind"]) == ("policy", "v1", "Eviction")


@pytest.mark.parametrize("api_version", [discovery.V2, discovery.V2BETA1])
def test_the_aggregated_form_says_the_same(api_version: str) -> None:
    for listed in ([("", "v1")], LISTED):
        document = discovery.aggregated(ROWS, listed, {}, api_version)
        assert document["apiVersion"] == api_version
        for group in document["items"]:
            name = group["metadata"].get("name", "")
            for version in group["versions"]:
                assert version["freshness"] == "Current"
                plain = discovery.resources(ROWS, name, version["version"])
                assert plain is not None
                assert flattened(version["resources"]) == [
                    (one["name"], one["kind"], one["verbs"]) for one in plain["resources"]
                ]
    stale = {"version": "v1", "resources": [], "freshness": "Stale"}
    foreign = discovery.aggregated(ROWS, [*LISTED, ("other.example.com", "v1")], {("other.example.com", "v1"): stale})
    assert foreign["items"][-1]["versions"] == [stale]


def flattened(resources: list[Any]) -> list[tuple[str, str, list[str]]]:
    found = []
    for one in resources:
        found.append((one["resource"], one["responseKind"]["kind"], one["verbs"]))
        found += [
            (f"{one['resource']}/{sub['subresource']}", sub["responseKind"]["kind"], sub["verbs"])
            for sub in one.get("subresources", ())
        ]
    return found


KUBECTL = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
CLIENT_GO = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)
NOPEER = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer," + CLIENT_GO
ACCEPTED: list[tuple[str | None, frozenset[str], tuple[str, str, str]]] = [
    (None, negotiate.NONE, ("json", "", "")),
    ("*/*", negotiate.TRANSFORMS, ("json", "", "")),
    ("application/yaml", negotiate.NONE, ("yaml", "", "")),
    ("application/vnd.kubernetes.protobuf, application/json", negotiate.NONE, ("json", "", "")),
    (KUBECTL, negotiate.TRANSFORMS, ("json", "Table", "v1")),
    (KUBECTL, negotiate.NONE, ("json", "", "")),
    ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", negotiate.TRANSFORMS, ("json", "Table", "v1beta1")),
    ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", negotiate.TRANSFORMS,
     ("json", "PartialObjectMetadataList", "v1")),
    (CLIENT_GO, negotiate.AGGREGATED, ("json", "APIGroupDiscoveryList", "v2")),
    (NOPEER, negotiate.AGGREGATED, ("json", "APIGroupDiscoveryList", "v2")),
    ("application/json;q=0.1, application/yaml", negotiate.NONE, ("yaml", "", "")),
]  # fmt: skip


@pytest.mark.parametrize(("accept", "transforms", "expected"), ACCEPTED)
def test_negotiation(accept: str | None, transforms: frozenset[str], expected: tuple[str, str, str]) -> None:
    found = negotiate.negotiate(accept, transforms)
    assert (found.form, found.kind, found.version) == expected


def test_discovery_repeats_its_parameters() -> None:
    chosen = negotiate.negotiate(CLIENT_GO, negotiate.AGGREGATED)
    assert chosen.content_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert chosen.api_version == discovery.V2


@pytest.mark.parametrize(
    ("accept", "transforms"),
    [
        ("application/json;as=Table;v=v1;g=meta.k8s.io", negotiate.NONE),
        ("text/html", negotiate.NONE),
        ("application/vnd.kubernetes.protobuf", negotiate.TRANSFORMS),
        ("application/json;as=Table;v=v7;g=meta.k8s.io", negotiate.TRANSFORMS),
        ("application/json;q=0", negotiate.NONE),
    ],
)
def test_nothing_fits(accept: str, transforms: frozenset[str]) -> None:
    with pytest.raises(errors.NotAcceptable, match="only the following media types are accepted"):
        negotiate.negotiate(accept, transforms)
