"""The REST application: a Flask app whose few routes all lead into the pipeline.

Who calls it: the shell, as a WSGI application; reads on the event loop, writes on a thread. The request travels in the WSGI
environment under `REQUEST`, already taken apart by the shell.
Invariant: no route answers without the pipeline, so nothing is served unauthenticated but what the authoriser leaves open;
what Flask itself refuses is a Status too.
Upstream: staging/src/k8s.io/apiserver/pkg/endpoints/installer.go (routes), pkg/server/routes.
"""

import io
import sys
from collections.abc import Callable
from typing import Any, cast

import flask
from flask.sessions import SessionInterface
from werkzeug.exceptions import HTTPException

from apiserver import pipeline, public, rest
from apiserver.pipeline import Handler, Response
from apiserver.request import Request
from apiserver.server import Server
from minikube_py.api import errors

REQUEST = "minikube_py.request"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class _NoSession(SessionInterface):
    """An API has no cookies; saying so saves every request the look for one."""

    def open_session(self, app: flask.Flask, request: flask.Request) -> Any:
        return None

    def is_null_session(self, obj: object) -> bool:
        return True


def make(server: Server) -> flask.Flask:
    """The application over one server."""
    app = flask.Flask("apiserver", static_folder=None)
    app.session_interface = _NoSession()
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False

    def route(path: str, handler: Handler, methods: list[str] | None = None) -> None:
        app.add_url_rule(
            path, path, _view(server, handler), methods=methods or ["GET"], provide_automatic_options=False
        )

    for path, handler in public.ROUTES.items():
        route(path, handler)
    for path in ("/api/<version>/<path:rest>", "/apis/<group>/<version>/<path:rest>"):
        route(path, rest.serve, _METHODS)
    route("/", public.paths)
    app.register_error_handler(HTTPException, _refused(server))
    return app


def call(application: flask.Flask, request: Request) -> Response:
    """Run the application on one request, on this very thread."""
    status, answered = "", list[tuple[str, str]]()

    def start_response(text: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[[bytes], object]:
        nonlocal status
        status = text
        answered.extend(headers)
        return lambda _: None

    body = b"".join(application.wsgi_app(_environ(request), start_response))
    headers = {name.title(): value for name, value in answered}
    headers.pop("Content-Length", None)
    return Response(int(status[:3]), body, headers.pop("Content-Type", ""), headers)


_EMPTY = io.BytesIO()


def _environ(request: Request) -> dict[str, Any]:
    """The little of a WSGI environment that routing needs; the request itself rides along."""
    return {
        "REQUEST_METHOD": request.method, "PATH_INFO": request.path, "QUERY_STRING": "", "SCRIPT_NAME": "",
        "SERVER_NAME": "apiserver", "SERVER_PORT": "443", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "apiserver",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "https", "wsgi.input": _EMPTY, "wsgi.errors": sys.stderr,
        "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False, REQUEST: request,
    }  # fmt: skip


def _view(server: Server, handler: Handler) -> Callable[..., flask.Response]:
    def view(**_: str) -> flask.Response:
        return _answer(pipeline.handle(server, _request(), handler))

    return view


def _refused(server: Server) -> Callable[[HTTPException], flask.Response]:
    """Paths and methods that no route takes: a Status as well, for those who may know."""

    def refuse(error: HTTPException) -> flask.Response:
        def handler(*_: object) -> Response:
            if error.code == 405:
                raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
            raise errors.NotFound("the server could not find the requested resource")

        return _answer(pipeline.handle(server, _request(), handler))

    return refuse


def _request() -> Request:
    return cast(Request, flask.request.environ[REQUEST])


def _answer(response: Response) -> flask.Response:
    answer = flask.Response(response.whole(), response.code, content_type=response.content_type)
    if response.headers:
        answer.headers.extend(response.headers)
    return answer
