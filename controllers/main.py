"""The controllers process: wires client, informers, controllers and scheduler, in the order they start.

Who calls it: the supervisor (`run`), or a shell (`python -m controllers.main`). Invariants: controllers act only while this
process leads (if it takes part in the election); an API server that is away, at start or later, is waited for; SIGTERM
ends it within two seconds, giving the lease back.
Upstream: cmd/kube-controller-manager/app/controllermanager.go.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from controllers import (
    clusterrole_aggregation,
    cronjob,
    csrapproving,
    csrcleaner,
    csrsigning,
    daemonset,
    deployment,
    disruption,
    endpoints,
    endpointslice,
    endpointslicemirroring,
    garbagecollector,
    hpa,
    job,
    loadbalancer,
    metrics,
    namespace,
    nodeipam,
    nodelifecycle,
    podgc,
    replicaset,
    resourceclaim,
    resourcequota,
    root_ca,
    serviceaccount,
    serviceaccount_token,
    serving,
    statefulset,
    tainteviction,
    tokencleaner,
)
from controllers.context import Context
from controllers.options import Options, enabled, parse
from controllers.scheduler import config
from controllers.scheduler import main as scheduler
from controllers.scheduler.main import Scheduler
from controllers.storage import (
    attachdetach,
    claims,
    ephemeral,
    expand,
    local_path,
    local_snapshots,
    protection,
    snapshots,
    volumes,
)
from minikube_py.api.clock import REAL, Clock
from minikube_py.api.errors import ServiceUnavailable
from minikube_py.api.types import Obj
from minikube_py.client import kubeconfig
from minikube_py.client.controller import Controller
from minikube_py.client.delegated import Reviewer
from minikube_py.client.informer import SharedInformers
from minikube_py.client.leader import LeaderElector
from minikube_py.client.rest import Client

log = logging.getLogger("controllers")

# One line per controller: its name, and the function that makes it.
CONTROLLERS: tuple[tuple[str, Callable[[Context], Controller]], ...] = (
    ("serviceaccount", serviceaccount.build),
    ("serviceaccount-token", serviceaccount_token.build),
    ("root-ca", root_ca.build),
    ("clusterrole-aggregation", clusterrole_aggregation.build),
    ("replicaset", replicaset.build),
    ("replicationcontroller", replicaset.build_replicationcontroller),
    ("deployment", deployment.build),
    ("daemonset", daemonset.build),
    ("statefulset", statefulset.build),
    ("job", job.build),
    ("cronjob", cronjob.build),
    ("horizontal-pod-autoscaler", hpa.build),
    ("endpointslice", endpointslice.build),
    ("endpoints", endpoints.build),
    ("endpointslicemirroring", endpointslicemirroring.build),
    ("service-lb", loadbalancer.build),
    ("resource-claim", resourceclaim.build),
    ("node-ipam", nodeipam.build),
    ("node-lifecycle", nodelifecycle.build),
    ("taint-eviction", tainteviction.build),
    ("pod-garbage-collector", podgc.build),
    ("disruption", disruption.build),
    ("resourcequota", resourcequota.build),
    ("persistentvolume-binder", claims.build),
    ("persistentvolume-reclaimer", volumes.build),
    ("pvc-protection", protection.build_claims),
    ("pv-protection", protection.build_volumes),
    ("ephemeral-volume", ephemeral.build),
    ("volume-expand", expand.build),
    ("attachdetach", attachdetach.build),
    ("local-path-provisioner", local_path.build),
    ("volume-snapshot", snapshots.build),
    ("local-path-snapshots", local_snapshots.build),
    ("namespace", namespace.build),
    ("csrapproving", csrapproving.build),
    ("csrsigning", csrsigning.build),
    ("csrcleaner", csrcleaner.build),
    ("token-cleaner", tokencleaner.build),
    # Last, so that it shares the informers the others have asked for.
    ("garbage-collector", garbagecollector.build),
)


class Running:
    """Everything that acts, from `start` to `stop`."""

    def __init__(self, client: Client, options: Options, clock: Clock = REAL) -> None:
        self._client, self._options, self._clock, self._started = client, options, clock, clock.time()
        self._informers: SharedInformers | None = None
        self._controllers: list[Controller] = []
        self._context: Context | None = None
        self._scheduler: Scheduler | None = None
        self._scheduling = scheduler.SchedulerOptions(config.load(options.scheduler_config))

    def start(self) -> None:
        """Build all controllers, then let the informers run; each controller begins when its informers have synced."""
        options = self._options
        self._informers = SharedInformers(self._client, self._clock)
        self._context = Context(self._client, self._informers, options, self._clock)
        self._controllers = [build(self._context) for name, build in CONTROLLERS if enabled(options, name)]
        if options.scheduler:
            self._scheduler = scheduler.start(self._client, self._informers, self._clock, self._scheduling)
        self._informers.start()
        for controller in self._controllers:
            controller.start()
        names = [controller.reconciler.name for controller in self._controllers]
        log.info("started: %s", ", ".join([*names, *(["scheduler"] if self._scheduler else [])]))

    def explain(self, namespace: str, name: str) -> Obj | None:
        """Why the pod is where it is, or nowhere. Raises ServiceUnavailable when this instance does not schedule."""
        if self._scheduler is None:
            raise ServiceUnavailable("this instance does not schedule now; ask the one that leads")
        return self._scheduler.explain(namespace, name)

    def metrics(self) -> str:
        """The text of the /metrics page."""
        return metrics.render(self._controllers, self._scheduler, self._informers is not None, self._started)

    def stop(self) -> None:
        """Stop acting: no key is handed out after this returns, and what was in progress had a moment to finish."""
        if self._scheduler is not None:
            self._scheduler.stop()
        for controller in self._controllers:
            controller.queue.shutdown()
        for controller in self._controllers:
            controller.stop(timeout=0.5)
        if self._informers is not None:
            self._informers.stop()
        for recorder in self._context.recorders if self._context else ():
            recorder.stop(timeout=0.2)
        self._controllers, self._scheduler, self._informers, self._context = [], None, None, None


def run(options: Options) -> None:
    """Run until SIGTERM or SIGINT. Raises KubeconfigError; ValueError for a scheduler configuration that makes no sense."""
    _log_to_stderr(options.verbosity)
    # Blocked before any thread starts, then waited for: a handler could run while this thread holds a lock it needs.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    client = Client(kubeconfig.load(options.kubeconfig or None), user_agent="minikube-py/controllers")
    running = Running(client, options)
    if options.secure_port:
        _serve(client, options, running)
    if not options.leader_elect:
        running.start()
        signal.sigwait(signals)
        running.stop()
        return
    elector = LeaderElector(
        client, options.leader_elect_resource_name, options.identity or f"controllers-{os.getpid()}",
        lease_duration=options.leader_elect_lease_duration, renew_deadline=options.leader_elect_renew_deadline,
        retry_period=options.leader_elect_retry_period,
    )  # fmt: skip
    thread = threading.Thread(target=elector.run, args=(running.start, running.stop), name="leader", daemon=True)
    thread.start()
    signal.sigwait(signals)
    elector.stop()
    thread.join(1.9)


def _serve(client: Client, options: Options, running: Running) -> None:
    """Raises OSError when the address is not ours, the port is taken, or a certificate is missing."""
    tls = serving.tls_context(options.tls_cert, options.tls_key, options.client_ca)
    pages = {"metrics": serving.metrics_page(running.metrics), "scheduling": serving.scheduling_page(running.explain)}
    serving.Server(options.bind_address, options.secure_port, tls, Reviewer(client, REAL), pages).start()


def _log_to_stderr(verbosity: int) -> None:
    level = {0: logging.INFO, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    logging.basicConfig(level=level, format="%(asctime)s %(levelname).1s %(name)s: %(message)s", force=True)


def main() -> None:
    try:
        run(parse(sys.argv[1:]))
    except (kubeconfig.KubeconfigError, OSError, ValueError) as error:
        sys.exit(f"controllers: {error}")


if __name__ == "__main__":
    main()
