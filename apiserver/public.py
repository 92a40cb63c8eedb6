"""What is served beside the resources: health, version, metrics, discovery, OpenAPI, token keys.

Who calls it: the Flask application routes these paths here, through the pipeline. Invariant: read-only; health answers even
when nothing else can.
Upstream: staging/src/k8s.io/apiserver/pkg/server/{healthz,routes}, pkg/endpoints/discovery.
"""

import platform
from collections.abc import Callable

import orjson

from apiserver import discovery, encode, negotiate, openapi, openapi_protobuf
from apiserver.discovery import GroupVersion
from apiserver.pipeline import Admitted, Handler, Response
from apiserver.request import Request
from apiserver.resources import table
from apiserver.server import Server
from minikube_py.api import errors, exposition
from minikube_py.api.schema import RELEASE
from minikube_py.api.types import Obj

TEXT = "text/plain; charset=utf-8"


def health(server: Server, request: Request, admitted: Admitted) -> Response:
    """/livez, /healthz, /readyz and one check below them: "ok", or 500 (503 while not ready) naming what fails."""
    path = request.path.strip("/").split("/")
    checks = {"ping": _ping, **({} if path[0] == "livez" else server.checks)}
    if len(path) > 1:
        if path[1] not in checks:
            raise errors.NotFound("the server could not find the requested resource")
        checks = {path[1]: checks[path[1]]}
    found = {name: check() for name, check in checks.items() if name not in request.query.get("exclude", "").split(",")}
    failed = [name for name, wrong in found.items() if wrong]
    if not failed and "verbose" not in request.query:
        return Response(200, b"ok", TEXT)
    lines = [f"[-]{name} failed: {wrong}" if wrong else f"[+]{name} ok" for name, wrong in found.items()]
    lines.append(f"{path[0]} check {'failed' if failed else 'passed'}")
    return Response(500 if failed else 200, ("\n".join(lines) + "\n").encode(), TEXT)


def _ping() -> str:
    return ""


def version(server: Server, request: Request, admitted: Admitted) -> Response:
    """/version: the Kubernetes release whose API is served."""
    major, minor = RELEASE.split(".")[:2]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    known = {
        "major": major, "minor": minor, "gitVersion": f"v{major}.{minor}.0+minikube-py", "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "python" + platform.python_version(),
        "compiler": "cpython", "platform": f"linux/{machine}",
    }  # fmt: skip
    return Response(200, orjson.dumps(known, option=orjson.OPT_INDENT_2))


def metrics(server: Server, request: Request, admitted: Admitted) -> Response:
    lines = exposition.Lines()
    lines.family("aggregator_unavailable_apiservice", "gauge", "1 for an APIService whose server cannot be used.")
    for remote in server.services.remotes():
        lines.sample("aggregator_unavailable_apiservice", (("name", remote.name),), not remote.available)
    text = server.metrics.render(sorted(server.store.sizes().items())) + lines.text()
    return Response(200, text.encode(), exposition.CONTENT_TYPE)


def api_documents(server: Server, request: Request, admitted: Admitted) -> Response:
    """/openapi/v2, /openapi/v3 and below; 304 when the client has it already."""
    accept, known = request.headers.get("accept"), request.headers.get("if-none-match")
    as_protobuf = request.path == "/openapi/v2" and (accept or "").startswith(openapi_protobuf.ACCEPT)
    accept = None if as_protobuf else accept
    found = openapi.answer(table.rows(), request.path, _foreign(server), accept=accept, if_none_match=known)
    kept = {"ETag": found.etag, "Vary": "Accept", "Cache-Control": "public"}
    if as_protobuf and found.body:
        return Response(
            200, openapi_protobuf.encode(orjson.loads(found.body)), openapi_protobuf.CONTENT_TYPE, headers=kept
        )
    return Response(200 if found.body else 304, found.body, headers=kept)


def _foreign(server: Server) -> dict[str, openapi.Foreign]:
    """What aggregated servers wrote about the groups and versions that they serve."""
    known = {f"apis/{one.group}/{one.version}": server.documents.of(one) for one in server.services.remotes()}
    return {
        name: openapi.Foreign(document.etag, document.v3, document.paths, document.definitions)
        for name, document in known.items()
        if document is not None
    }


def token_keys(server: Server, request: Request, admitted: Admitted) -> Response:
    """/openid/v1/jwks: the key that verifies service-account tokens."""
    if server.accounts is None:
        raise errors.NotFound("the server could not find the requested resource")
    return Response(200, orjson.dumps(server.accounts.jwks()), "application/jwk-set+json")


def token_issuer(server: Server, request: Request, admitted: Admitted) -> Response:
    """/.well-known/openid-configuration."""
    if server.accounts is None:
        raise errors.NotFound("the server could not find the requested resource")
    address, port = server.options.advertised
    document = {
        "issuer": server.accounts.issuer, "jwks_uri": f"https://{address}:{port}/openid/v1/jwks",
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [server.accounts.algorithm],
    }  # fmt: skip
    return Response(200, orjson.dumps(document))


def paths(server: Server, request: Request, admitted: Admitted) -> Response:
    """/: the paths there are."""
    roots = sorted(path for path in ROUTES if "<" not in path)
    served = {row.gvr.root for row in table.rows()} | {
        f"/apis/{r.group}/{r.version}" for r in server.services.remotes()
    }
    return encode.obj(request, {"paths": sorted({*roots, *served})})


def api_versions(server: Server, request: Request, admitted: Admitted) -> Response:
    """/api: the core group's versions, or all its resources in one document."""
    address, port = server.options.advertised
    return _root(server, request, [("", "v1")], lambda listed: discovery.versions(f"{address}:{port}"))


def groups(server: Server, request: Request, admitted: Admitted) -> Response:
    """/apis: every other group, or all their resources in one document."""
    return _root(server, request, server.services.listed(table.rows()), discovery.groups)


def _root(
    server: Server, request: Request, listed: list[GroupVersion], plain: Callable[[list[GroupVersion]], Obj]
) -> Response:
    accepted = negotiate.negotiate(request.headers.get("accept"), negotiate.AGGREGATED, (negotiate.JSON,))
    if accepted.kind:
        document = discovery.aggregated(table.rows(), listed, _remote(server), accepted.api_version)
    else:
        document = plain(listed)
    return Response(200, orjson.dumps(document), accepted.content_type, {"Vary": "Accept"})


def _remote(server: Server) -> dict[GroupVersion, Obj]:
    """The versions that other servers serve, as aggregated discovery shows them."""
    made = {}
    for remote in server.services.remotes():
        known = server.documents.of(remote)
        fresh = "Current" if remote.available and known is not None else "Stale"
        entry = {"version": remote.version, "resources": known.resources if known else [], "freshness": fresh}
        made[remote.group, remote.version] = entry
    return made


def group(server: Server, request: Request, admitted: Admitted) -> Response:
    """/apis/GROUP."""
    return _found(request, discovery.group(server.services.listed(table.rows()), request.path.strip("/").split("/")[1]))


def resources(server: Server, request: Request, admitted: Admitted) -> Response:
    """/api/v1, /apis/GROUP/VERSION."""
    name, _, version = "/".join(request.path.strip("/").split("/")[1:]).rpartition("/")
    return _found(request, discovery.resources(table.rows(), name, version))


def _found(request: Request, document: Obj | None) -> Response:
    if document is None:
        raise errors.NotFound("the server could not find the requested resource")
    return encode.obj(request, document)


ROUTES: dict[str, Handler] = {
    "/livez": health, "/livez/<check>": health, "/healthz": health, "/healthz/<check>": health,
    "/readyz": health, "/readyz/<check>": health,
    "/version": version, "/metrics": metrics,
    "/openid/v1/jwks": token_keys, "/.well-known/openid-configuration": token_issuer,
    "/openapi/v2": api_documents, "/openapi/v3": api_documents, "/openapi/v3/<path:rest>": api_documents,
    "/api": api_versions, "/apis": groups, "/apis/<group>": group, "/api/<version>": resources,
    "/apis/<group>/<version>": resources,
}  # fmt: skip
