"""How a webhook is reached: a URL or a Service, and the authorities that may have signed its certificate.

Who calls it: validation of admission webhooks and of conversion webhooks. Invariant: pure.
Upstream: staging/src/k8s.io/apiserver/pkg/util/webhook/validation.go.
"""

import base64
import ssl
from urllib.parse import urlsplit

from apiserver.strategies.checks import invalid, required
from minikube_py.api import names
from minikube_py.api.errors import Cause
from minikube_py.api.types import Obj

_FORM = "; desired format: https://host[/path]"


def client_config(config: Obj, path: str) -> list[Cause]:
    """A WebhookClientConfig."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [required(path, "exactly one of url or service is required")]
    causes = _service(service, f"{path}.service") if service is not None else _url(url or "", f"{path}.url")
    return causes + ca_bundle(config.get("caBundle") or "", f"{path}.caBundle")


def ca_bundle(bundle: str, path: str) -> list[Cause]:
    """Certificates in PEM, as base64; none at all means the system's."""
    if not bundle:
        return []
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=base64.b64decode(bundle).decode())
    except (ValueError, ssl.SSLError):
        why = "unable to load root certificates: unable to parse bytes as PEM block"
        return [invalid(path, bundle, why)]
    return []


def _url(url: str, path: str) -> list[Cause]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return [required(path, f"url must be a valid URL: {error}{_FORM}")]
    causes = []
    if parts.scheme != "https":
        causes.append(invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{_FORM}"))
    if not parts.hostname or port == 0:
        causes.append(invalid(path, parts.netloc, f"host must be specified{_FORM}"))
    for part, what in (
        (parts.netloc.rpartition("@")[0], "user information is not permitted in the URL"),
        (parts.fragment, "fragments are not permitted in the URL"),
        (parts.query, "query parameters are not permitted in the URL"),
    ):
        if part:
            causes.append(invalid(path, part, what))
    return causes


def _service(service: Obj, path: str) -> list[Cause]:
    causes = [required(f"{path}.{name}") for name in ("name", "namespace") if not service.get(name)]
    port = service.get("port")
    if port is not None and (wrong := names.port_number(port)):
        causes.append(invalid(f"{path}.port", port, f"port is not valid: {wrong}"))
    way = service.get("path") or "/"
    if way == "/":
        return causes
    if not way.startswith("/"):
        causes.append(invalid(f"{path}.path", way, "must start with a '/'"))
    for index, step in enumerate(way[1:].removesuffix("/").split("/")):
        wrong = "may not be empty" if not step else names.subdomain(step)
        if wrong:
            causes.append(invalid(f"{path}.path", way, f"segment[{index}]{' ' if not step else ': '}{wrong}"))
    return causes
