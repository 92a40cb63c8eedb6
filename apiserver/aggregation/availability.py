"""Whether an aggregated API server can be used: the condition Available of its APIService.

Who calls it: the aggregation controller. Invariant: the checks come in upstream's order and with its reasons: the Service,
its port, its slices, an endpoint, and last a request for the discovery document that every such server has to serve.
Upstream: kube-aggregator/pkg/controllers/status/{remote,local}.
"""

import http.client
from typing import NamedTuple

from apiserver import services
from apiserver.aggregation.catalogue import Remote
from apiserver.aggregation.dial import Dialer
from apiserver.storage.cache import Store
from minikube_py.api.types import Obj

_ATTEMPTS = 3


class Verdict(NamedTuple):
    """A condition's status, reason and message."""

    status: str
    reason: str
    message: str


LOCAL = Verdict("True", "Local", "Local APIServices are always available")
PASSED = Verdict("True", "Passed", "all checks passed")


def judge(store: Store, dialer: Dialer, remote: Remote) -> Verdict:
    """All checks. Blocks for as long as the server takes to answer, but no longer than some seconds."""
    place = f'service/{remote.service} in "{remote.namespace}"'
    service = services.find(store, remote.namespace, remote.service)
    if service is None:
        return Verdict("False", "ServiceNotFound", f"{place} is not present")
    if (service["spec"].get("type") or "ClusterIP") == "ClusterIP":
        refused = _endpoints(store, remote, service, place)
        if refused is not None:
            return refused
    wrong = ""
    for _ in range(_ATTEMPTS):
        wrong = discovery_error(dialer, remote)
        if not wrong:
            return PASSED
    return Verdict("False", "FailedDiscoveryCheck", wrong)


def _endpoints(store: Store, remote: Remote, service: Obj, place: str) -> Verdict | None:
    port = services.port_name(service, remote.port)
    if port is None:
        return Verdict("False", "ServicePortError", f"{place} is not listening on port {remote.port}")
    slices = services.slices(store, remote.namespace, remote.service)
    if not slices:
        return Verdict("False", "EndpointsNotFound", f"cannot find endpointslices for {place}")
    if not any(services.ready(piece, port) for piece in slices):
        why = f'endpointslices for {place} have no addresses with port name "{port}"'
        return Verdict("False", "MissingEndpoints", why)
    return None


def discovery_error(dialer: Dialer, remote: Remote) -> str:
    """What is wrong with the server's answer to the one request it must know, "" when nothing is."""
    path = f"/apis/{remote.group}/{remote.version}"
    url = f"https://{remote.host}:{remote.port}{path}"
    try:
        status = dialer.get(remote, path).status
    except services.NoEndpoint as error:
        return str(error)
    except TimeoutError:
        return f'failing or missing response from {url}: Get "{url}": context deadline exceeded'
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f'failing or missing response from {url}: Get "{url}": {error}'
    return "" if 200 <= status < 300 else f"failing or missing response from {url}: bad status from {url}: {status}"
