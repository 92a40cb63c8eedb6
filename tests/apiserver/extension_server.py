"""An extension API server for the tests of the aggregation layer: HTTPS under its Service's name, in this process.

It answers one group and version with what it was asked and by whom, so that a test sees what the API server passed on. It
believes X-Remote-* headers only from a client with a certificate of the front proxy's CA, as a real one does.
"""

import asyncio
import json
import ssl
import threading
from pathlib import Path
from typing import Any

from aiohttp import web

from minikube_py.api.types import Obj
from minikube_py.cluster import pki

RESOURCES = [
    {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "verbs": ["get", "list", "watch"]},
    {"name": "flunders/status", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get"]},
]  # fmt: skip


class ExtensionServer:
    """`healthy` False answers discovery with 500. `seen` holds method, path and the user of every request.

    A request with `?wait` is answered once `release` is set. `items` are the answers by path, if not what was asked.
    """

    def __init__(self, keys: Path, service: str, namespace: str, group: str, version: str = "v1alpha1") -> None:
        self.group, self.version, self.healthy = group, version, True
        self.seen: list[tuple[str, str, str]] = []
        self.items: dict[str, list[Obj]] = {}
        name = f"extension-{service}-{namespace}"
        pki.issue(keys, name, name, addresses=[f"{service}.{namespace}.svc"])
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(keys / "front-proxy-ca.crt"))
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._tls.load_cert_chain(keys / f"{name}.crt", keys / f"{name}.key")
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self.release = threading.Event()
        threading.Thread(target=self._run, daemon=True, name="extension-server").start()
        assert self._started.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    @property
    def root(self) -> str:
        return f"/apis/{self.group}/{self.version}"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._started.set()
        self._loop.run_forever()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get(self.root, self._discovery)
        app.router.add_get("/openapi/v2", self._openapi_v2)
        app.router.add_get("/openapi/v3", self._openapi_v3)
        app.router.add_route("*", self.root + "/{rest:.*}", self._resource)
        app.router.add_route("*", f"/openapi/v3{self.root}", self._resource)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def _discovery(self, request: web.Request) -> web.StreamResponse:
        if not self.healthy:
            return web.Response(status=500, text="not well")
        version = f"{self.group}/{self.version}"
        listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": RESOURCES}
        return web.json_response(listed)

    async def _openapi_v2(self, request: web.Request) -> web.StreamResponse:
        name = f"com.{self.group.partition('.')[0]}.Flunder"
        kind = {"group": self.group, "version": self.version, "kind": "Flunder"}
        good = {"200": {"schema": {"$ref": f"#/definitions/{name}"}}}
        paths = {f"{self.root}/flunders": {"get": {"responses": good}}, "/apis/else.example.com/v1/x": {}}
        meta = {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
        flunder = {"type": "object", "properties": {"metadata": meta}, "x-kubernetes-group-version-kind": [kind]}
        theirs = {name: flunder, "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {}, "unused": {}}
        return web.json_response({"swagger": "2.0", "paths": paths, "definitions": theirs}, headers={"ETag": '"one"'})

    async def _openapi_v3(self, request: web.Request) -> web.StreamResponse:
        url = f"/openapi/v3{self.root}?hash=ABC"
        return web.json_response({"paths": {self.root.lstrip("/"): {"serverRelativeURL": url}}})

    async def _resource(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.raw_path, request.headers.get("X-Remote-User", "")))
        if request.headers.get("Upgrade") == "websocket":
            socket = web.WebSocketResponse(protocols=("chat",))
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(f"{request.headers['X-Remote-User']}: {message.data}")
            return socket
        if "watch" in request.query:
            return await self._watch(request)
        while "wait" in request.query and not self.release.is_set():
            await asyncio.sleep(0.01)
        if (items := self.items.get(request.path)) is not None:
            return web.json_response({"kind": "List", "apiVersion": f"{self.group}/{self.version}", "items": items})
        pairs = [[name.lower(), value] for name, value in request.headers.items()]
        return web.json_response(self.said(request, pairs, (await request.read()).decode()))

    def said(self, request: web.Request, headers: list[list[str]], body: str) -> Obj:
        return {
            "apiVersion": f"{self.group}/{self.version}", "kind": "Flunder", "metadata": {"name": "asked"},
            "method": request.method, "path": request.raw_path, "body": body, "headers": headers,
        }  # fmt: skip

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for number in range(3):
            event: Any = {"type": "ADDED", "object": {"metadata": {"name": f"f{number}"}}}
            await response.write(json.dumps(event).encode() + b"\n")
            await asyncio.sleep(0.05)
        return response
