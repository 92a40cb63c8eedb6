"""The Swagger document in protobuf, judged by the client that asks for it: stock kubectl."""

import subprocess

from apiserver import openapi_protobuf
from tests.conftest import APIServer

DOCUMENT = {
    "swagger": "2.0", "info": {"title": "t", "version": "v"},
    "paths": {"/x": {"get": {"operationId": "read", "parameters": [{"in": "query", "name": "q", "type": "string"}]}}},
    "definitions": {"a.B": {"type": "object", "properties": {"c": {"type": "array", "items": {"$ref": "#/definitions/a.B"}}},
                            "x-kubernetes-group-version-kind": [{"group": "a", "kind": "B", "version": "v1"}]}},
}  # fmt: skip


def test_the_document_survives() -> None:
    made = openapi_protobuf._class().FromString(openapi_protobuf.encode(DOCUMENT))
    (path,) = made.f8.f2
    assert (path.f1, path.f2.f2.f5, path.f2.f2.f8[0].f1.f2.f3.f4) == ("/x", "read", "q")
    (definition,) = made.f9.f1
    assert definition.f1 == "a.B"
    (field,) = definition.f2.f25.f1
    assert (field.f1, list(field.f2.f22.f1), field.f2.f23.f1[0].f1) == ("c", ["array"], "#/definitions/a.B")
    assert definition.f2.f31[0].f1 == "x-kubernetes-group-version-kind"


def _kubectl(server: APIServer, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    command = ["kubectl", "--kubeconfig", server.kubeconfig, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_a_kind_nobody_serves_is_named(apiserver: APIServer) -> None:
    manifest = "apiVersion: example.com/v1\nkind: Nothing\nmetadata: {name: x}\n"
    code, _, said = _kubectl(apiserver, "apply", "-f", "-", stdin=manifest)
    assert code == 1
    assert 'no matches for kind "Nothing" in version "example.com/v1"' in said


def test_explain_from_the_old_document(apiserver: APIServer) -> None:
    code, text, said = _kubectl(apiserver, "explain", "pod.spec.containers", "--output", "plaintext-openapiv2")
    assert code == 0, said
    assert "A single application container" in text
