"""A node for the streaming tests: HTTPS with the node's certificate and the kubelet's stream paths, in this process.

It answers what it is asked, so that a test sees what the API server passed on; the kubelet's own tests judge the real one.
"""

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from aiohttp import web

from minikube_py.cluster import pki

SUCCESS = {"metadata": {}, "status": "Success"}


class KubeletStandIn:
    """`seen` holds the method, path and query of every request; `port` is the HTTPS port, `plain_port` an HTTP one."""

    def __init__(self, keys: Path, node: str) -> None:
        pki.issue_node(keys, node, ["127.0.0.1"])
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(keys / "ca.crt"))
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._tls.load_cert_chain(keys / f"kubelet-{node}.crt", keys / f"kubelet-{node}.key")
        self.seen: list[tuple[str, str]] = []
        self.release = threading.Event()
        self.closed = threading.Event()
        self.port = self.plain_port = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        threading.Thread(target=self._run, daemon=True, name="kubelet-stand-in").start()
        assert self._started.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._started.set()
        self._loop.run_forever()

    async def _start(self) -> None:
        routes: list[tuple[str, Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]]] = [
            ("/containerLogs/{namespace}/{pod}/{container}", self._logs),
            ("/exec/{namespace}/{pod}/{container}", self._exec),
            ("/attach/{namespace}/{pod}/{container}", self._exec),
            ("/portForward/{namespace}/{pod}", self._port_forward),
            ("/{rest:.*}", self._echo),
        ]
        for secure in (True, False):
            app = web.Application()
            for path, handler in routes if secure else routes[-1:]:
                app.router.add_route("*", path, handler)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls if secure else None)
            await site.start()
            port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
            if secure:
                self.port = port
            else:
                self.plain_port = port

    def _note(self, request: web.Request) -> None:
        self.seen.append((request.method, request.raw_path))

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if request.match_info["container"] == "waiting":
            return web.Response(
                status=400, text='container "waiting" in pod "p" is waiting to start: ContainerCreating'
            )
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        await response.write(b"line one\n")
        if "follow" in request.query:
            try:
                while not self.release.is_set():
                    await asyncio.sleep(0.01)
                    await response.write(b"")
                    if request.transport is None or request.transport.is_closing():
                        raise ConnectionResetError
            except ConnectionResetError:
                self.closed.set()
                raise
        await response.write(b"line two\n")
        return response

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        """Says its command on channel 1, then stdin back in upper case, then (end of stdin, "exit") that all went well."""
        self._note(request)
        if request.match_info["container"] == "gone":
            return web.Response(status=404, text='container not found ("gone")')
        socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io", "v4.channel.k8s.io"))
        await socket.prepare(request)
        with contextlib.suppress(ConnectionResetError):
            await socket.send_bytes(b"\1" + " ".join(request.query.getall("command", [])).encode())
            if "input" in request.query:
                async for message in socket:
                    if message.data in (b"\xff\0", b"\0exit"):
                        break
                    await socket.send_bytes(b"\1" + message.data[1:].upper())
            await socket.send_bytes(b"\3" + json.dumps(SUCCESS).encode())
            await socket.close()
        self.closed.set()
        return socket

    async def _port_forward(self, request: web.Request) -> web.StreamResponse:
        """Sends back what it gets, in reverse; on the end of data (v5) says goodbye and closes. Port 1 has no listener."""
        self._note(request)
        if request.query["port"] == "1":
            return web.Response(status=500, text="nothing listens on port 1")
        socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io", "v4.channel.k8s.io"))
        await socket.prepare(request)
        port = int(request.query["port"]).to_bytes(2, "little")
        with contextlib.suppress(ConnectionResetError):
            await socket.send_bytes(b"\0" + port)
            await socket.send_bytes(b"\1" + port)
            async for message in socket:
                if message.data == b"\xff\0":
                    await socket.send_bytes(b"\0goodbye")
                    break
                await socket.send_bytes(b"\0" + message.data[1:][::-1])
            await socket.close()
        self.closed.set()
        return socket

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if request.headers.get("Upgrade") == "websocket":
            socket = web.WebSocketResponse(protocols=("chat",))
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(message.data[::-1])
            return socket
        if request.query.get("page"):
            moved = {"Location": "/elsewhere?a=b"} if request.query["page"] == "moved" else {}
            return web.Response(
                text='<a href="/x">', content_type="text/html", status=302 if moved else 200, headers=moved
            )
        said = {
            "method": request.method, "path": request.raw_path, "body": (await request.read()).decode(),
            "headers": {name.lower(): value for name, value in request.headers.items()},
        }  # fmt: skip
        return web.json_response(said, status=int(request.query.get("code", 200)), headers={"X-From": "pod"})
