"""Every route of our own OpenAPI document, with queries, bodies and headers at random: no 5xx, no hang, always a Status.

On a server of its own, because it deletes collections and impersonates.
"""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.apiserver.wire import APPLY, JSON_PATCH, MERGE, STRATEGIC, Wire
from tests.conftest import APIServer

NAMES = ["x", "default", "kube-system", "kubernetes", "a/b", "..", "%00", "ü", "x" * 300, "-", "A b"]
ODD = ["", "0", "1", "-1", "true", "x", "99999999999999999999", "a=b,c!=d", "metadata.name=x", "All", "\x00", "%", "{}"]
TYPES = [
    "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/plain", "", MERGE, STRATEGIC,
    JSON_PATCH, APPLY, "application/json; charset=latin-1", "application/cbor",
]  # fmt: skip
ACCEPTS = [
    "application/json", "*/*", "application/yaml", "application/json;as=Table;v=v1;g=meta.k8s.io", "text/html", "", "x/y;q=z",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
]  # fmt: skip
BODIES = [
    b"", b"{}", b"[]", b"null", b"1", b'"x"', b"{", b'{"kind":"X","apiVersion":"v1"}', b'{"metadata":{"name":5}}',
    b"k8s\x00\x01", b"a: [b", b"\xff",
    b'{"metadata":null,"spec":null,"status":null}', b'{"metadata":{"name":"f","labels":{"a":null}},"spec":{}}',
    b'[{"op":"add","path":"/metadata/labels","value":{}}]', b'[{"op":"test"}]', b'{"spec":{"$patch":"replace"}}',
]  # fmt: skip
MAY_BE_AWAY = ("/proxy", "/exec", "/attach", "/portforward", "/log")
"""What is on another machine may not answer: that is 503, as upstream's."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    server = APIServer(tmp_path_factory.mktemp("fuzzed"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def requests(document: Any, pick: random.Random) -> Iterator[tuple[str, str, Any, dict[str, str], dict[str, str]]]:
    """For every operation of the document: method, path, body, headers, query."""
    for template, item in document["paths"].items():
        shared = item.get("parameters", [])
        for method, operation in item.items():
            if method == "parameters":
                continue
            path, query = template, dict[str, str]()
            for parameter in (*shared, *operation.get("parameters", [])):
                if parameter["in"] == "path":
                    path = path.replace(f"{{{parameter['name']}}}", pick.choice(NAMES))
                elif parameter["in"] == "query" and pick.random() < 0.35:
                    query[parameter["name"]] = pick.choice(ODD)
            query["timeoutSeconds"] = "1"
            headers = {"Accept": pick.choice(ACCEPTS)}
            if pick.random() < 0.05:
                name = pick.choice(["Impersonate-User", "Impersonate-Group", "Impersonate-Extra-%ZZ"])
                headers[name] = pick.choice(ODD).strip("\x00")
            body = None if method in ("get", "head", "options") else pick.choice(BODIES)
            yield method.upper(), path, body, headers, query


@pytest.mark.apiserver
@pytest.mark.parametrize("seed", [1, 2])
def test_no_route_breaks_or_hangs(own: APIServer, seed: int) -> None:
    wire, pick = Wire(own.url, own.ca_file, own.token), random.Random(seed)
    document = wire.ok("GET", "/openapi/v2")
    asked = [one for _ in range(3) for one in requests(document, pick)]
    assert len(asked) > 1500, "the document names every route"

    def ask(one: tuple[str, str, Any, dict[str, str], dict[str, str]]) -> str:
        method, path, body, headers, query = one
        kind = pick.choice(TYPES)
        try:
            answer = _sent(wire, method, path, body, kind, headers, query)
        except Exception as error:  # a hang is a timeout of the connection, a torn one an exception: both are findings
            return f"{method} {path} {query} {body!r}: {error!r}"
        away = answer in (502, 503) and any(word in path for word in MAY_BE_AWAY)
        too_new = answer == 504 and "resourceVersion" in query
        return "" if answer < 500 or away or too_new else f"{method} {path} {query} {headers} {kind} {body!r}: {answer}"

    with ThreadPoolExecutor(8) as pool:
        found = [problem for problem in pool.map(ask, asked) if problem]
    assert not found, "\n".join(found[:10]) + f"\n({len(found)} in all)"
    assert wire("GET", "/readyz").status == 200
    assert "Traceback" not in (own.directory / "apiserver.log").read_text()


def _sent(
    wire: Wire, method: str, path: str, body: Any, kind: str, headers: dict[str, str], query: dict[str, str]
) -> int:
    connection = wire.connection()
    sent = {**headers, "Authorization": f"Bearer {wire.token}", **({"Content-Type": kind} if body is not None else {})}
    connection.request(method, f"{quote(path, safe='/%:')}?{urlencode(query)}", body, sent)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status
