"""The mesh's control plane: watches, tells every sidecar its configuration, has its certificate signed, injects sidecars.

Who runs it: the Deployment of the add-on `mesh` (`python3 -m minikube_py.mesh.control`); server.py speaks HTTPS for it.
Invariant: level-triggered: every change of anything watched makes a new view of everything; a sidecar is told only what differs
from what it says it has. A sidecar is who its projected token says, and that only as long as its pod exists. Nothing is kept:
killed and started again it says the same; meanwhile sidecars go on with what they know.
"""

import argparse
import base64
import logging
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import orjson

from minikube_py.api import errors
from minikube_py.api.clock import REAL
from minikube_py.api.gvr import ENDPOINTSLICES, GVR, PODS, SERVICES, TOKENREVIEWS
from minikube_py.api.meta import key_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client import kubeconfig, termination
from minikube_py.client.informer import SharedInformers
from minikube_py.client.rest import Client
from minikube_py.mesh import certificates, haproxy, inject, view
from minikube_py.mesh.kinds import AUDIENCE, MESHPOLICIES, MESHROUTES, identity

log = logging.getLogger("mesh")

WEBHOOKS = GVR(
    "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False
)
_WATCHED = (SERVICES, ENDPOINTSLICES, PODS, MESHROUTES, MESHPOLICIES)
_COALESCE, _LONG_POLL, _RETRY = 0.05, 20.0, 1.0
_POD = "authentication.kubernetes.io/pod-"


@dataclass(frozen=True)
class Options:
    """`account` and `service` are our own; `seconds` is how long a certificate holds."""

    kubeconfig: str = ""
    namespace: str = "mesh-system"
    account: str = "mesh"
    service: str = "mesh"
    image: str = "minikube-py/mesh:latest"
    webhook: str = "minikube-py-mesh"
    seconds: int = 86400
    port: int = 8443


def parse(argv: Sequence[str]) -> Options:
    """Command line to Options; argparse ends the process on bad flags."""
    parser = argparse.ArgumentParser(prog="mesh", description="The control plane of the service mesh.")
    parser.add_argument("--kubeconfig", default="", help="how to reach the API server (default: the pod's account)")
    parser.add_argument("--certificate-seconds", dest="seconds", type=int, default=Options.seconds)
    return Options(**vars(parser.parse_args(argv)))


class Control:
    """What server.py asks: `inject`, `certificate`, `configuration`, each with the asker's token where it matters."""

    def __init__(self, client: Client, options: Options) -> None:
        self.client, self.options = client, options
        self.informers = SharedInformers(client)
        self._of = {resource: self.informers.of(resource) for resource in _WATCHED}
        self._news = threading.Condition()
        self._changes, self._shared = 0, (-1, view.Common((), (), {}))
        for informer in self._of.values():
            informer.add_handler(lambda old, new: self._changed())

    def _changed(self) -> None:
        with self._news:
            self._changes += 1
            self._news.notify_all()

    def inject(self, asked: Obj) -> Obj:
        """An AdmissionReview's answer."""
        options = self.options
        return inject.review(asked, options.image, f"{options.service}.{options.namespace}.svc:443")

    def certificate(self, token: str, request: str) -> Obj:
        """{"certificate": PEM} for the pod of this token. Raises Unauthorized, BadRequest, and what the API server says."""
        wanted = view.identity_of(self._pod(token))
        try:
            proper = certificates.asks_for(request, wanted)
        except ValueError as error:
            raise errors.BadRequest(f"not a certificate request: {error}") from None
        if not proper:
            raise errors.BadRequest(f"this pod may ask for {wanted} alone")
        return {"certificate": certificates.signed(self.client, request, self.options.seconds)}

    def configuration(self, token: str, have: str) -> Obj:
        """{"digest", "text", "files"} as soon as the digest is another than `have`, {} if it stays the same for a while."""
        pod = asker = self._pod(token)
        deadline = REAL.monotonic() + _LONG_POLL
        while True:
            seen = self._changes
            pod = self._of[PODS].get_key(key_of(asker)) or pod  # its address and labels may have changed
            view_of_pod = view.sidecar(pod, self._common(seen), self._of[MESHPOLICIES].list())
            written = haproxy.write(view_of_pod)
            answer = {"text": written.text, "files": written.files}
            digest = sha256(orjson.dumps(answer, option=orjson.OPT_SORT_KEYS)).hexdigest()
            if digest != have:
                return {"digest": digest, **answer}
            with self._news:
                left = deadline - REAL.monotonic()
                if left <= 0:
                    return {}
                if self._changes == seen:
                    self._news.wait(left)
            REAL.sleep(_COALESCE)

    def _common(self, change: int) -> view.Common:
        """Computed once for all the sidecars that ask after a change."""
        known, shared = self._shared
        if known != change:
            of = self._of
            pods = {key_of(pod): pod for pod in of[PODS].list()}
            lists = (
                of[SERVICES].list(),
                of[ENDPOINTSLICES].list(),
                pods,
                of[MESHROUTES].list(),
                of[MESHPOLICIES].list(),
            )
            shared = view.common(view.World(*lists))
            self._shared = (change, shared)
        return shared

    def _pod(self, token: str) -> Obj:
        asked = {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }  # fmt: skip
        status = self.client.create(TOKENREVIEWS, asked)["status"] if token else {}
        user = status.get("user") or {}
        name, uid = ((user.get("extra") or {}).get(_POD + part, [""])[0] for part in ("name", "uid"))
        if not status.get("authenticated") or not name:
            raise errors.Unauthorized("no token of a pod for this audience")
        namespace = user["username"].split(":")[2]
        pod = self._of[PODS].get(namespace, name)
        if pod is None or uid_of(pod) != uid:  # the informer may be behind
            pod = self.client.get(PODS, name, namespace)
        if uid_of(pod) != uid:
            raise errors.Unauthorized("the token's pod is gone")
        return pod

    def own_certificate(self) -> tuple[str, str]:
        """Our certificate and key, as the API server (by our Service's name) and sidecars know us. Raises APIError."""
        key, options = certificates.new_key(), self.options
        name = f"{options.service}.{options.namespace}.svc"
        request = certificates.request(key, identity(options.namespace, options.account), name)
        return certificates.signed(self.client, request, options.seconds), certificates.key_pem(key)

    def announce(self, authority: bytes) -> None:
        """Write the CA into our webhook's configuration; it does nothing before. Raises APIError (NotFound: not made yet)."""
        bundle = base64.b64encode(authority).decode()
        known = self.client.get(WEBHOOKS, self.options.webhook)
        if any(hook["clientConfig"].get("caBundle") != bundle for hook in known["webhooks"]):
            path = "/webhooks/0/clientConfig/caBundle"
            self.client.patch(
                WEBHOOKS, self.options.webhook, [{"op": "add", "path": path, "value": bundle}], kind="json"
            )


def run(client: Client, options: Options, ended: threading.Event) -> None:
    """Until `ended`."""
    from minikube_py.mesh.server import Server

    control = Control(client, options)
    control.informers.start()
    while not control.informers.wait_synced(1.0):
        if ended.is_set():
            return
    authority = client.config.ca_data or Path(client.config.ca_file).read_bytes()
    server, renew_at = None, 0.0
    while not ended.is_set():
        try:
            if REAL.monotonic() >= renew_at:
                pair = control.own_certificate()
                server = server or Server(control, options.port)
                server.use(*pair)
                renew_at = REAL.monotonic() + options.seconds * 2 / 3
            control.announce(authority)
            if server is not None:
                server.ready = True
        except errors.APIError as error:
            log.warning("%s; trying again", error)
        REAL.wait(ended, _RETRY if server is None or not server.ready else 30 * _RETRY)
    control.informers.stop()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    ended = termination.event()
    options = parse(sys.argv[1:])
    run(Client(kubeconfig.load(options.kubeconfig or None), user_agent="minikube-py/mesh"), options, ended)


if __name__ == "__main__":
    main()
