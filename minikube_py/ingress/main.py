"""The ingress controller's process: watches, writes HAProxy's configuration, says in statuses what became of each object.

Who runs it: the Deployment of the add-on `ingress` (`python3 -m minikube_py.ingress.main`), with HAProxy beside it in the pod.
Invariant: level-triggered: every change of anything it watches leads to one look at everything, and an equal configuration
or status writes nothing; what cannot be written now is tried again. Killed and started again it serves the same.
"""

import argparse
import logging
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minikube_py.api import errors
from minikube_py.api.clock import REAL
from minikube_py.api.gvr import INGRESSCLASSES, INGRESSES, NAMESPACES, SECRETS, SERVICES
from minikube_py.api.meta import key_of
from minikube_py.api.types import Obj
from minikube_py.client import kubeconfig, termination
from minikube_py.client.informer import SharedInformers
from minikube_py.client.rest import Client
from minikube_py.ingress import gateways, haproxy, ingresses, statuses
from minikube_py.ingress.kinds import GATEWAYCLASSES, GATEWAYS, HTTPROUTES
from minikube_py.ingress.model import Listener
from minikube_py.ingress.proxy import HAProxy

log = logging.getLogger("ingress")

_COALESCE, _RETRY, _CHECK, _LINGER = 0.05, 2.0, 60.0, 1.0
_WATCHED = (INGRESSES, INGRESSCLASSES, SERVICES, NAMESPACES, GATEWAYCLASSES, GATEWAYS, HTTPROUTES)


@dataclass(frozen=True)
class Options:
    """`namespace` and `service`: where other people's requests come in; ports are inside the pod."""

    kubeconfig: str = ""
    namespace: str = "ingress-system"
    service: str = "ingress"
    http_port: int = 8080
    https_port: int = 8443


def parse(argv: Sequence[str]) -> Options:
    """Command line to Options; argparse ends the process on bad flags."""
    parser = argparse.ArgumentParser(prog="ingress", description="Ingresses and Gateways, served by HAProxy.")
    parser.add_argument("--kubeconfig", default="", help="how to reach the API server (default: the pod's account)")
    parser.add_argument("--namespace", default=Options.namespace, help="where this add-on lives")
    parser.add_argument("--service", default=Options.service, help="the Service whose address Ingresses have")
    parser.add_argument("--http-port", type=int, default=Options.http_port)
    parser.add_argument("--https-port", type=int, default=Options.https_port)
    return Options(**vars(parser.parse_args(argv)))


class Ingress:
    """The controller; `sync` may be called by hand in tests."""

    def __init__(self, client: Client, options: Options, directory: Path) -> None:
        self.options, self.client = options, client
        self.proxy = HAProxy(directory)
        self.informers = SharedInformers(client)
        self._of = {resource: self.informers.of(resource) for resource in _WATCHED}
        self._secrets = self.informers.of(SECRETS, field_selector="type=kubernetes.io/tls")
        self.changed = threading.Event()
        for informer in (*self._of.values(), self._secrets):
            informer.add_handler(lambda old, new: self.changed.set())

    def run(self, ended: threading.Event) -> None:
        """Until `ended`; then requests in progress are finished."""
        threading.Thread(target=self._wake_at, args=(ended,), daemon=True, name="ingress-end").start()
        self.informers.start()
        while not self.informers.wait_synced(1.0):
            if ended.is_set():
                return
        while not ended.is_set():
            self.changed.clear()
            try:
                self.sync()
            except errors.APIError as error:
                log.log(
                    logging.DEBUG if isinstance(error, errors.Conflict) else logging.WARNING, "%s; trying again", error
                )
                REAL.wait(ended, _RETRY)
                self.changed.set()
            REAL.wait(self.changed, _CHECK)
            REAL.sleep(_COALESCE)
        REAL.sleep(_LINGER)  # until the Service's endpoints no longer name us
        self.proxy.stop()
        self.informers.stop()

    def _wake_at(self, ended: threading.Event) -> None:
        ended.wait()
        self.changed.set()

    def sync(self) -> None:
        """Serve what there is now, then write the statuses. Raises APIError."""
        options = self.options
        services, secrets = _by_key(self._of[SERVICES].list()), _by_key(self._secrets.list())
        mine = ingresses.ours(self._of[INGRESSES].list(), self._of[INGRESSCLASSES].list())
        world = gateways.World(
            self._of[GATEWAYCLASSES].list(), self._of[GATEWAYS].list(), self._of[HTTPROUTES].list(), services, secrets,
            _by_key(self._of[NAMESPACES].list()),
        )  # fmt: skip
        routes, certificates = ingresses.routes(mine, services), ingresses.certificates(mine, secrets)
        outcome = gateways.evaluate(world)
        listeners = [Listener("http", options.http_port, routes)]
        if certificates:
            listeners.append(Listener("https", options.https_port, routes, certificates))
        served = self.proxy.apply(haproxy.write([*listeners, *outcome.listeners], str(self.proxy.directory)))
        front = services.get(f"{options.namespace}/{options.service}")
        statuses.write_ingresses(self.client, mine, front)
        statuses.write_gateways(self.client, options.namespace, world, outcome, served=served)


def _by_key(objects: Sequence[Obj]) -> dict[str, Obj]:
    return {key_of(obj): obj for obj in objects}


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    ended = termination.event()
    options = parse(sys.argv[1:])
    client = Client(kubeconfig.load(options.kubeconfig or None), user_agent="minikube-py/ingress")
    with tempfile.TemporaryDirectory(prefix="ingress-") as directory:
        Ingress(client, options, Path(directory)).run(ended)


if __name__ == "__main__":
    main()
