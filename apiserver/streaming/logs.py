"""pods/log: the kubelet's log stream, passed on as it comes; over a WebSocket too.

Who calls it: `Streams`. Invariant: options are checked here and selected by the kubelet; a chunk is forwarded when it
arrives, and the kubelet's connection ends with the client's.
Upstream: pkg/registry/core/pod/rest/log.go, validation.ValidatePodLogOptions, apiserver/pkg/endpoints/handlers/responsewriters
(streamed objects) and apimachinery's wsstream.Reader (subprotocols binary.k8s.io and base64.binary.k8s.io).
"""

import base64
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from apiserver.streaming.asgi import Stream, first_of
from apiserver.streaming.backend import described, kubelet_of, unreachable
from apiserver.streaming.container import container_of, pod_of
from apiserver.streaming.exec import choose
from minikube_py.api import errors
from minikube_py.api.clock import parse_rfc3339
from minikube_py.api.errors import Cause

if TYPE_CHECKING:
    import aiohttp

_FLAGS = ("follow", "previous", "timestamps")
_NUMBERS = {"sinceSeconds": 1, "tailLines": 0, "limitBytes": 1}
"""Options that are whole numbers, and the smallest each may be."""
_BASE64 = "base64.binary.k8s.io"


async def serve(stream: Stream) -> None:
    """Serve one log request."""
    pod = await pod_of(stream)
    container = container_of(pod, stream.query.get("container", ""))
    query = kubelet_query(stream)
    node = pod["spec"].get("nodeName", "")
    if not node:  # not scheduled: nothing was logged
        await stream.respond(204, [])
        await stream.write(b"", more=False)
        return
    place = f"{quote(pod['metadata']['namespace'])}/{quote(pod['metadata']['name'])}/{quote(container)}"
    url = f"{await kubelet_of(stream.server, node)}/containerLogs/{place}?{query}"
    try:
        answer = await stream.backends.request("GET", url, kubelet=True)
    except OSError as error:
        raise unreachable(node, error) from error
    try:
        if answer.status >= 400:
            raise described(answer.status, await answer.read(), "pods/log")
        await first_of(_forward(stream, answer), stream.disconnected())
    finally:
        answer.close()


def kubelet_query(stream: Stream) -> str:
    """The checked options for the kubelet. Raises Invalid."""
    query, causes = stream.query, []
    wanted = [(name, "true") for name in _FLAGS if query.flag(name)]
    for name, least in _NUMBERS.items():
        text = query.get(name)
        if text is None:
            continue
        try:
            valid = int(text) >= least
        except ValueError:
            raise errors.BadRequest(f"unable to decode query parameter {name}={text}: it must be a number") from None
        if not valid:
            why = "must be greater than 0" if least else "must be greater than or equal to 0"
            causes.append(Cause("FieldValueInvalid", f"Invalid value: {text}: {why}", name))
        wanted.append((name, text))
    if "sinceTime" in query:
        try:
            parse_rfc3339(query["sinceTime"])
        except ValueError:
            raise errors.BadRequest(f"sinceTime={query['sinceTime']} is not an RFC 3339 time") from None
        wanted.append(("sinceTime", query["sinceTime"]))
        if "sinceSeconds" in query:
            why = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
            causes.append(Cause("FieldValueForbidden", why, ""))
    if causes:
        raise errors.invalid("PodLogOptions", stream.info.name, causes)
    return urlencode(wanted)


async def _forward(stream: Stream, answer: "aiohttp.ClientResponse") -> None:
    if stream.is_websocket:
        protocol = choose(stream, ("binary.k8s.io", _BASE64))
        await stream.accept(protocol or None)
        async for chunk in answer.content.iter_any():
            frame = {"text": base64.b64encode(chunk).decode()} if protocol == _BASE64 else {"bytes": chunk}
            await stream.send({"type": "websocket.send", **frame})
        await stream.send({"type": "websocket.close", "code": 1000})
        return
    await stream.respond(200, [(b"content-type", b"text/plain")])
    async for chunk in answer.content.iter_any():
        await stream.write(chunk)
    await stream.write(b"", more=False)
