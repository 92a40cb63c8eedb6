"""Routes to HAProxy's configuration: the real HAProxy accepts whatever objects say, and nothing said becomes configuration."""

import subprocess
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from minikube_py.api.types import Obj
from minikube_py.ingress import gateways, haproxy, ingresses
from minikube_py.ingress.model import (
    EXACT,
    PREFIX,
    REGEX,
    Change,
    Condition,
    Listener,
    Match,
    Route,
    Server,
    servers_of,
    sorted_routes,
)

_text = st.text(st.characters(codec="utf-8"), max_size=12)
_match = st.builds(
    Match, st.sampled_from(["", "a.example", "*.b.example"]), st.builds(lambda t: f"/{t}", _text),
    st.sampled_from([EXACT, PREFIX]), st.sampled_from(["", "GET"]),
    st.lists(st.builds(Condition, _text, _text), max_size=2).map(tuple),
    st.lists(st.builds(Condition, _text, _text), max_size=1).map(tuple), st.booleans(),
)  # fmt: skip
_kinds = ["request-set", "request-add", "request-remove", "response-set", "host", "path", "prefix"]
_change = st.builds(Change, st.sampled_from(_kinds), st.sampled_from(["x-a", "x b", "'", "%[path]"]), _text)
_server = st.builds(
    Server, st.sampled_from(["10.0.0.1", "name.example"]), st.just(80), st.integers(0, 3), st.booleans()
)
_route = st.builds(
    Route,
    _text,
    _match,
    st.lists(_server, max_size=2).map(tuple),
    st.lists(_change, max_size=2).map(tuple),
    st.sampled_from(["", "10s"]),
    st.just(503),
)


@settings(max_examples=30)
@given(st.lists(_route, max_size=4))
def test_haproxy_accepts_whatever_objects_say(tmp_path_factory: Any, routes: list[Route]) -> None:
    directory: Path = tmp_path_factory.mktemp("haproxy")
    written = haproxy.write([Listener("http", 8080, sorted_routes(routes))], str(directory))
    (directory / "cfg").write_text(written.text)
    checked = subprocess.run(["haproxy", "-c", "-q", "-f", str(directory / "cfg")], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr + written.text
    sections = [line.split()[0] for line in written.text.splitlines() if line and not line.startswith(" ")]
    assert sections.count("frontend") == 2, "nobody writes sections of their own"


def test_an_empty_value_is_looked_for_without_a_pattern() -> None:
    match = Match(headers=(Condition("x-a", ""), Condition("x-b", "", REGEX)))
    assert haproxy.conditions(match) == ["if { req.hdr(x-a) -m len 0 } { req.hdr(x-b) -m found }"]


def test_an_empty_value_changes_nothing() -> None:
    route = Route("r", Match(), (Server("10.0.0.1", 80),), (Change("request-set", "x-a"), Change("path")))
    text = haproxy.write([Listener("http", 8080, (route,))], "/run").text
    assert "x-a" not in text and "set-path" not in text


def test_nothing_said_becomes_configuration() -> None:
    evil = Route("x", Match("", "/' }\nbackend evil"), (Server("10.0.0.1", 80),))
    quoted = Route("y", Match("", "/a' b"), (Server("10.0.0.1", 80),), (Change("request-set", "x-a", "%[env(HOME)]"),))
    text = haproxy.write([Listener("http", 8080, (evil, quoted))], "/run").text
    assert "evil" not in text
    assert """{ path -m str '/a'"'"' b' }""" in text
    assert "set-header 'x-a' '%%[env(HOME)]'" in text, "a value is text, no expression"


def test_the_most_specific_route_comes_first() -> None:
    def route(host: str, path: str, kind: str = PREFIX, **more: Any) -> Route:
        return Route(f"{host}{path}", Match(host, path, kind, **more))

    wanted = [
        route("a.example", "/long", EXACT), route("a.example", "/long"), route("a.example", "/", method="GET"),
        route("a.example", "/"), route("*.sub.example", "/"), route("*.example", "/long"), route("", "/very/long"),
        route("", "/", headers=(Condition("a", "b"),)), route("", "/"),
    ]  # fmt: skip
    assert list(sorted_routes(wanted[::-1])) == wanted


def _service(**spec: Any) -> dict[str, Obj]:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return {
        "ns/s": {
            "metadata": {"name": "s", "namespace": "ns"},
            "spec": {"clusterIP": "10.96.0.9", "ports": ports, **spec},
        }
    }


def test_how_a_service_is_reached() -> None:
    assert (
        servers_of(_service(), "ns", "s", "http") == servers_of(_service(), "ns", "s", 80) == (Server("10.96.0.9", 80),)
    )
    assert servers_of(_service(clusterIP="None"), "ns", "s", 80) == (Server("s.ns.svc", 8080, 1, True),)
    outside = _service(type="ExternalName", externalName="db.example", ports=[])
    assert servers_of(outside, "ns", "s", 5432) == (Server("db.example", 5432, 1, True),)
    assert servers_of(_service(), "ns", "s", 81) == servers_of(_service(), "ns", "other", 80) == ()


def test_only_our_classes_and_the_older_wins() -> None:
    classes: list[Obj] = [
        {"metadata": {"name": "mine"}, "spec": {"controller": ingresses.CONTROLLER}},
        {"metadata": {"name": "theirs"}, "spec": {"controller": "example.com/other"}},
    ]

    def ingress(name: str, when: str, service: str, **metadata: Any) -> Obj:
        path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}
        spec: Obj = {"rules": [{"host": "h.example", "http": {"paths": [path]}}]}
        if not metadata:
            spec["ingressClassName"] = "theirs" if name == "foreign" else "mine"
        return {"metadata": {"name": name, "namespace": "ns", "creationTimestamp": when, **metadata}, "spec": spec}

    old = {"annotations": {"kubernetes.io/ingress.class": "mine"}}
    found = ingresses.ours(
        [
            ingress("late", "2026-02", "late"),
            ingress("foreign", "2026-01", "x"),
            ingress("early", "2026-01", "s", **old),
        ],
        classes,
    )
    assert [entry["metadata"]["name"] for entry in found] == ["early", "late"]
    first, second = ingresses.routes(found, _service())
    assert first.servers and not second.servers


def test_hostnames_of_gateway_and_route_meet() -> None:
    meet = gateways._hosts
    assert meet("", []) == [""] and meet("a.example", []) == ["a.example"] and meet("", ["b.example"]) == ["b.example"]
    assert meet("*.example", ["a.example", "b.other", "x.y.example"]) == ["a.example", "x.y.example"]
    assert meet("a.example", ["*.example", "*.a.example"]) == ["a.example"]


def test_gateways_admit_their_own_namespace_unless_told() -> None:
    def world(allowed: Obj | None) -> gateways.World:
        listener: Obj = {
            "name": "web",
            "port": 80,
            "protocol": "HTTP",
            **({"allowedRoutes": allowed} if allowed else {}),
        }
        gateway = {
            "metadata": {"name": "g", "namespace": "ns"},
            "spec": {"gatewayClassName": "c", "listeners": [listener]},
        }
        route = {
            "metadata": {"name": "r", "namespace": "other"},
            "spec": {"parentRefs": [{"name": "g", "namespace": "ns"}], "rules": [
                {"backendRefs": [{"name": "s", "namespace": "ns", "port": 80}]},
            ]},
        }  # fmt: skip
        other = {"metadata": {"name": "other", "labels": {"team": "a"}}}
        classes: list[Obj] = [{"metadata": {"name": "c"}, "spec": {"controllerName": gateways.CONTROLLER}}]
        return gateways.World(classes, [gateway], [route], _service(), {}, {"other": other})

    def accepted(allowed: Obj | None) -> tuple[str, str]:
        [attachment] = gateways.evaluate(world(allowed)).parents["other/r"]
        return attachment.verdicts[0][1:3]

    assert accepted(None) == ("False", "NotAllowedByListeners")
    assert accepted({"namespaces": {"from": "All"}}) == ("True", "Accepted")
    chosen = {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}
    assert accepted({"namespaces": chosen}) == ("True", "Accepted")
    outcome = gateways.evaluate(world({"namespaces": {"from": "All"}}))
    assert outcome.parents["other/r"][0].verdicts[1][2] == "RefNotPermitted"
    assert outcome.attached["ns/g", "web"] == 1
    assert outcome.listeners[0].routes[0].failure == 500 and not outcome.listeners[0].routes[0].servers


def test_regular_expressions_are_taken_as_such() -> None:
    route = Route("r", Match("", "/v[0-9]+/.*", REGEX), (Server("10.0.0.1", 80),))
    assert "{ path -m reg '/v[0-9]+/.*' }" in haproxy.write([Listener("http", 8080, (route,))], "/run").text
