"""The aggregation layer: a real API server in front of an extension server that tells what reached it."""

import base64
import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controllers import hpa_metrics
from minikube_py.client.rest import Client
from tests.apiserver.extension_server import ExtensionServer
from tests.apiserver.wire import MERGE, Wire
from tests.conftest import APIServer
from tests.harness import eventually

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_serial = itertools.count(1)


@contextlib.contextmanager
def registered(
    apiserver: APIServer, ns: str, group: str = "", version: str = "v1alpha1", service: str = "sample-api"
) -> Iterator[ExtensionServer]:
    """A server behind a Service, registered and available."""
    wire = Wire(apiserver.url, apiserver.ca_file, apiserver.token)
    server = ExtensionServer(apiserver.pki, service, ns, group or f"wardle{next(_serial)}.example.com", version)
    register(wire, server, ns, apiserver.ca_file, service)
    eventually(lambda: condition(wire, server)["reason"] == "Passed", what="the APIService to be available")
    try:
        yield server
    finally:
        wire("DELETE", f"{SERVICES}/{name_of(server)}")
        server.stop()


@pytest.fixture
def extension(apiserver: APIServer, wire: Wire, ns: str) -> Iterator[ExtensionServer]:
    with registered(apiserver, ns) as server:
        yield server


def name_of(server: ExtensionServer) -> str:
    return f"{server.version}.{server.group}"


def register(wire: Wire, server: ExtensionServer, ns: str, ca_file: str, name: str) -> None:
    port = {"name": "https", "port": 7443, "protocol": "TCP"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [port]}}
    wire.ok("POST", f"/api/v1/namespaces/{ns}/services", service)
    wire.ok("POST", f"/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices", slice_of(name, server.port))
    fields = {
        "group": server.group, "version": server.version, "groupPriorityMinimum": 2000, "versionPriority": 200,
        "service": {"namespace": ns, "name": name, "port": 7443},
        "caBundle": base64.b64encode(Path(ca_file).read_bytes()).decode(),
    }  # fmt: skip
    metadata = {"name": name_of(server)}
    service = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": metadata, "spec": fields}
    answer = wire("POST", SERVICES, service)
    if answer.status == 409:  # there is one of our own: it is replaced
        answer = wire("PATCH", f"{SERVICES}/{name_of(server)}", {"spec": fields}, content_type=MERGE)
    assert answer.status < 300, answer.body


def slice_of(service: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": f"{service}-1", "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "https", "port": port}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
    }  # fmt: skip


def condition(wire: Wire, server: ExtensionServer) -> dict[str, Any]:
    found = wire.ok("GET", f"{SERVICES}/{name_of(server)}").get("status", {}).get("conditions", [])
    return next((one for one in found if one["type"] == "Available"), {"status": "", "reason": ""})


def headers_of(said: Any, name: str) -> list[str]:
    return [value for key, value in said["headers"] if key == name]


def test_what_we_serve_ourselves_is_registered_too(wire: Wire) -> None:
    def local() -> dict[str, Any]:
        found = {one["metadata"]["name"]: one for one in wire.ok("GET", SERVICES)["items"]}
        assert {"v1.", "v1.apps", "v2.autoscaling"} <= set(found)
        assert found["v1.apps"]["status"]["conditions"][0]["reason"] == "Local"
        return found

    apps = eventually(local)["v1.apps"]
    assert apps["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
    assert apps["spec"] == {"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15}
    groups = [group["name"] for group in wire.ok("GET", "/apis")["groups"]]
    assert groups[:3] == ["apiregistration.k8s.io", "apps", "events.k8s.io"]


def test_the_server_is_told_who_asks_and_never_gets_their_credentials(wire: Wire, extension: ExtensionServer) -> None:
    sent = {
        "X-Remote-User": "liar",
        "Impersonate-Group": "system:masters",
        "Impersonate-User": "ann",
        "Impersonate-Extra-a%2fb": "c",
    }
    said = wire.ok("POST", f"{extension.root}/namespaces/x/flunders", {"a": 1}, dryRun="All", headers=sent)
    assert (said["method"], said["path"]) == ("POST", f"{extension.root}/namespaces/x/flunders?dryRun=All")
    assert json.loads(said["body"]) == {"a": 1}
    assert headers_of(said, "x-remote-user") == ["ann"]
    assert headers_of(said, "x-remote-group") == ["system:masters", "system:authenticated"]
    assert headers_of(said, "x-remote-extra-a%2fb") == ["c"]
    assert not headers_of(said, "authorization") and not headers_of(said, "impersonate-user")


def test_who_may_not_is_refused_here(apiserver: APIServer, wire: Wire, extension: ExtensionServer) -> None:
    answer = wire("GET", f"{extension.root}/flunders", headers={"Impersonate-User": "nobody"})
    assert (answer.status, answer.reason) == (403, "Forbidden")
    anonymous = Wire(apiserver.url, apiserver.ca_file)
    assert anonymous("GET", f"{extension.root}/flunders").status == 403
    assert not extension.seen


def test_a_watch_streams(wire: Wire, extension: ExtensionServer) -> None:
    lines = wire.connection_text(f"{extension.root}/flunders?watch=1").splitlines()
    assert [json.loads(line)["object"]["metadata"]["name"] for line in lines] == ["f0", "f1", "f2"]


def test_a_websocket_is_carried(apiserver: APIServer, wire: Wire, extension: ExtensionServer) -> None:
    from websockets.sync.client import connect

    url = f"{apiserver.url.replace('https', 'wss')}{extension.root}/namespaces/x/flunders/f/console"
    header = {"Authorization": f"Bearer {apiserver.token}"}
    with connect(url, ssl=wire.context, additional_headers=header, subprotocols=["chat"]) as socket:  # type: ignore[list-item]
        socket.send("hello")
        assert socket.recv() == "token-admin: hello"


def test_spdy_is_refused_in_words(wire: Wire, extension: ExtensionServer) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
    answer = wire("POST", f"{extension.root}/namespaces/x/flunders/f/exec", headers=headers)
    assert answer.status == 400 and "WebSocket" in answer.body["message"]


def test_discovery_is_one(wire: Wire, extension: ExtensionServer) -> None:
    def listed() -> Any:
        items = wire.ok("GET", "/apis", headers={"Accept": AGGREGATED})["items"]
        group = next(item for item in items if item["metadata"]["name"] == extension.group)
        return group["versions"][0]["resources"] and group

    version = eventually(listed)["versions"][0]
    assert (version["version"], version["freshness"]) == ("v1alpha1", "Current")
    flunders = version["resources"][0]
    assert (flunders["resource"], flunders["scope"], flunders["responseKind"]["kind"]) == (
        "flunders",
        "Namespaced",
        "Flunder",
    )
    assert [sub["subresource"] for sub in flunders["subresources"]] == ["status"]
    assert wire.ok("GET", f"/apis/{extension.group}")["preferredVersion"]["version"] == "v1alpha1"
    assert wire.ok("GET", extension.root)["resources"][0]["name"] == "flunders"
    names = [group["name"] for group in wire.ok("GET", "/apis")["groups"]]
    assert names.index(extension.group) > names.index("resource.k8s.io")
    assert extension.root in wire.ok("GET", "/")["paths"]


def test_openapi_is_one(wire: Wire, extension: ExtensionServer) -> None:
    name = f"com.{extension.group.partition('.')[0]}.Flunder"

    def merged() -> Any:
        document = wire.ok("GET", "/openapi/v2")
        return name in document["definitions"] and document

    document = eventually(merged)
    assert f"{extension.root}/flunders" in document["paths"] and "/apis/apps/v1/" not in document["paths"]
    assert "/apis/else.example.com/v1/x" not in document["paths"] and "unused" not in document["definitions"]
    assert document["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"]
    url = wire.ok("GET", "/openapi/v3")["paths"][extension.root.lstrip("/")]["serverRelativeURL"]
    assert wire.ok("GET", url)["path"] == f"/openapi/v3{extension.root}?hash=ABC"


def _no_service(wire: Wire, ns: str, server: ExtensionServer) -> None:
    wire.ok("DELETE", f"/api/v1/namespaces/{ns}/services/sample-api")


def _no_port(wire: Wire, ns: str, server: ExtensionServer) -> None:
    change = {"spec": {"ports": [{"name": "https", "port": 1, "protocol": "TCP"}]}}
    wire.ok("PATCH", f"/api/v1/namespaces/{ns}/services/sample-api", change, content_type=MERGE)


def _no_slices(wire: Wire, ns: str, server: ExtensionServer) -> None:
    wire.ok("DELETE", f"/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices/sample-api-1")


def _not_ready(wire: Wire, ns: str, server: ExtensionServer) -> None:
    change = {"endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": False}}]}
    path = f"/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices/sample-api-1"
    wire.ok("PATCH", path, change, content_type=MERGE)


def _unwell(wire: Wire, ns: str, server: ExtensionServer) -> None:
    server.healthy = False
    wire.ok("PATCH", f"{SERVICES}/{name_of(server)}", {"spec": {"versionPriority": 9}}, content_type=MERGE)


def _other_ca(wire: Wire, ns: str, server: ExtensionServer) -> None:
    change = {"spec": {"caBundle": None}}  # what is left are the machine's own authorities
    wire.ok("PATCH", f"{SERVICES}/{name_of(server)}", change, content_type=MERGE)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_no_service, "ServiceNotFound"), (_no_port, "ServicePortError"), (_no_slices, "EndpointsNotFound"),
        (_not_ready, "MissingEndpoints"), (_unwell, "FailedDiscoveryCheck"), (_other_ca, "FailedDiscoveryCheck"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_be_used(
    wire: Wire, ns: str, extension: ExtensionServer, spoil: Callable[[Wire, str, ExtensionServer], None], reason: str
) -> None:
    spoil(wire, ns, extension)
    eventually(lambda: condition(wire, extension)["reason"] == reason, what=reason)
    assert condition(wire, extension)["status"] == "False"
    answer = wire("GET", f"{extension.root}/flunders")
    assert (answer.status, answer.body) == (503, b"service unavailable\n")
    items = wire.ok("GET", "/apis", headers={"Accept": AGGREGATED})["items"]
    group = next(item for item in items if item["metadata"]["name"] == extension.group)
    assert group["versions"][0]["freshness"] == "Stale"
    gauge = f'aggregator_unavailable_apiservice{{name="{name_of(extension)}"}} 1\n'
    assert gauge in wire("GET", "/metrics").body.decode()


def test_without_verification_any_certificate_will_do(wire: Wire, ns: str, extension: ExtensionServer) -> None:
    _other_ca(wire, ns, extension)
    eventually(lambda: condition(wire, extension)["status"] == "False")
    change = {"spec": {"insecureSkipTLSVerify": True}}
    wire.ok("PATCH", f"{SERVICES}/{name_of(extension)}", change, content_type=MERGE)
    eventually(lambda: condition(wire, extension)["reason"] == "Passed")
    assert condition(wire, extension)["message"] == "all checks passed"
    assert wire.ok("GET", f"{extension.root}/flunders")["kind"] == "Flunder"


def test_custom_groups_are_registered_and_forgotten(wire: Wire) -> None:
    group = f"crd{next(_serial)}.example.com"
    schema = {"openAPIV3Schema": {"type": "object"}}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"things.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names,
                 "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}]},
    }  # fmt: skip
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    wire.ok("POST", crds, crd)
    service = eventually(
        lambda: wire("GET", f"{SERVICES}/v1.{group}").status == 200 and wire.ok("GET", f"{SERVICES}/v1.{group}")
    )
    assert service["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
    assert (service["spec"]["groupPriorityMinimum"], service["spec"]["versionPriority"]) == (1000, 100)
    wire.ok("DELETE", f"{crds}/things.{group}")
    eventually(lambda: wire("GET", f"{SERVICES}/v1.{group}").status == 404)


def test_we_believe_a_front_proxy_too(apiserver: APIServer) -> None:
    keys, review = apiserver.pki, "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    headers = {"X-Remote-User": "eve", "X-Remote-Group": "readers", "X-Remote-Extra-Acme.com%2fproject": "p"}

    def whoami(certificate: str, sent: dict[str, str]) -> Any:
        proxy = Wire(apiserver.url, apiserver.ca_file, cert=(f"{keys}/{certificate}.crt", f"{keys}/{certificate}.key"))
        answer = proxy("POST", review, asked, headers=sent)
        return answer.status, answer.status < 300 and answer.body["status"]["userInfo"]

    status, user = whoami("front-proxy-client", headers)
    assert (status, user["username"], user["extra"]) == (201, "eve", {"acme.com/project": ["p"]})
    assert user["groups"] == ["readers", "system:authenticated"]
    assert whoami("front-proxy-client", {})[0] == 401
    assert whoami("admin", headers)[1]["username"] == "kubernetes-admin"


def test_extension_servers_can_read_whom_to_believe(wire: Wire, apiserver: APIServer) -> None:
    data = wire.ok("GET", "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")["data"]
    assert data["requestheader-client-ca-file"] == (apiserver.pki / "front-proxy-ca.crt").read_text()
    assert data["requestheader-allowed-names"] == '["front-proxy-client"]'
    assert data["requestheader-username-headers"] == '["X-Remote-User"]'
    assert data["requestheader-group-headers"] == '["X-Remote-Group"]'
    assert data["requestheader-extra-headers-prefix"] == '["X-Remote-Extra-"]'
    assert data["client-ca-file"] == Path(apiserver.ca_file).read_text()


def test_custom_and_external_metrics_are_other_peoples(apiserver: APIServer, ns: str, client: Client) -> None:
    at = "2026-01-01T00:00:00Z"
    with (
        registered(apiserver, ns, "custom.metrics.k8s.io", "v1beta2", "custom") as custom,
        registered(apiserver, ns, "external.metrics.k8s.io", "v1beta1", "external") as external,
    ):
        described = {"kind": "Pod", "namespace": ns, "name": "web"}
        value = {"describedObject": described, "metric": {"name": "queue"}, "timestamp": at, "value": "1500m"}
        custom.items[f"{custom.root}/namespaces/{ns}/pods/*/queue"] = [value]
        found = hpa_metrics.of_pods(client, ns, "app=web", "queue", "")
        assert found["web"].value == 1500
        assert "labelSelector=app%3Dweb" in custom.seen[-1][1]
        external.items[f"{external.root}/namespaces/{ns}/jobs"] = [
            {"metricName": "jobs", "timestamp": at, "value": value} for value in ("3", "4")
        ]
        assert hpa_metrics.of_external(client, ns, "jobs", "") == 7000
    with pytest.raises(hpa_metrics.MetricsError):
        hpa_metrics.of_external(client, ns, "jobs", "")


def test_a_metrics_server_takes_the_place_of_our_own(apiserver: APIServer, wire: Wire, ns: str) -> None:
    assert wire.ok("GET", "/apis/metrics.k8s.io/v1beta1/nodes")["kind"] == "NodeMetricsList"
    with registered(apiserver, ns, "metrics.k8s.io", "v1beta1", "metrics-server") as server:
        server.items[f"{server.root}/nodes"] = [{"metadata": {"name": "theirs"}}]
        assert wire.ok("GET", f"{server.root}/nodes")["items"][0]["metadata"]["name"] == "theirs"
        assert wire.ok("GET", server.root)["resources"][0]["name"] == "flunders"
        service = wire.ok("GET", f"{SERVICES}/v1beta1.metrics.k8s.io")
        assert service["spec"]["service"]["name"] == "metrics-server"
    eventually(lambda: wire("GET", "/apis/metrics.k8s.io/v1beta1/nodes").body.get("kind") == "NodeMetricsList")
    eventually(lambda: condition(wire, server)["reason"] == "Local", what="our own again")


def test_on_a_store_that_answers_from_elsewhere(etcd: str, tmp_path: Path, apiserver_marker: None) -> None:
    server = APIServer(tmp_path, "--store", f"etcd://{etcd}?prefix=aggregation")
    try:
        server.start()
        wire = Wire(server.url, server.ca_file, server.token)
        with registered(server, "default") as extension:
            said = wire.ok("PUT", f"{extension.root}/flunders/f", {"a": 1})
            assert headers_of(said, "x-remote-user") == ["token-admin"]
            assert len(wire.connection_text(f"{extension.root}/flunders?watch=1").splitlines()) == 3
            assert wire.ok("GET", "/apis/metrics.k8s.io/v1beta1/nodes")["items"] == []
        assert wire("GET", f"{extension.root}/flunders").status == 404
    finally:
        server.stop()
