"""The kubelet's process: everything is wired here, in start-up order.

Who calls it: the supervisor (`parse`, then `run` in a forked child), or `python -m kubelet.main`.
Invariants: nothing happens at import, but everything is imported, so that the kubelets the supervisor forks share it;
SIGTERM ends the process and leaves every pod running; killed at any point and started again it takes over what runs.
Upstream: cmd/kubelet/app/server.go.
"""

import logging
import sys
import threading
from dataclasses import replace
from pathlib import Path

from kubelet import certificates, cgroups, env
from kubelet.auth import Gate
from kubelet.backoff import Backoff
from kubelet.devices import setup as devices
from kubelet.devices.base import DeviceManager
from kubelet.dra.claims import PodClaims
from kubelet.dra.drivers import Drivers
from kubelet.dra.schema import PLUGIN_TYPE
from kubelet.eviction.manager import EvictionManager
from kubelet.eviction.usage import Meter
from kubelet.fleet import FleetAgent, FleetPods
from kubelet.fleet import names as fleet_names
from kubelet.image_gc import ImageCollector, image_disk
from kubelet.images import Images
from kubelet.lifecycle import Terminator
from kubelet.network.setup import network_services, pod_network
from kubelet.node import NodeAgent
from kubelet.node_services import NodeServices
from kubelet.object_watch import ObjectWatches
from kubelet.objects import ObjectCache, TokenCache
from kubelet.options import Options, parse
from kubelet.pod_manager import PodManager
from kubelet.pod_source import PodSource
from kubelet.probe_action import runner
from kubelet.probes import Probes
from kubelet.runtime.base import Info, Runtime, RuntimeUnavailable
from kubelet.runtime.choose import connect, make_runtime
from kubelet.sandbox import Sandboxes
from kubelet.server import KubeletServer
from kubelet.start_container import Starter
from kubelet.static_pods import StaticPods
from kubelet.stats.collect import Collector
from kubelet.stats.handlers import Reports
from kubelet.status import Verdict
from kubelet.status_writer import StatusWriter
from kubelet.volumes.setup import Storage
from minikube_py.api.clock import REAL, Clock
from minikube_py.api.gvr import NODES, PODS, SERVICES
from minikube_py.api.meta import namespace_of, uid_of
from minikube_py.api.types import Obj
from minikube_py.client import termination
from minikube_py.client.events import EventRecorder
from minikube_py.client.informer import Informer, SharedInformers
from minikube_py.client.kubeconfig import load
from minikube_py.client.rest import Client

_log = logging.getLogger("kubelet")
_SWITCH_SECONDS = 0.0005
__all__ = ["Options", "parse", "run"]


def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT. Raises ValueError or OSError when the options cannot work."""
    sys.setswitchinterval(_SWITCH_SECONDS)  # cluster DNS must not wait long for the threads that start pods
    ended = termination.event()
    certificates.join(options, REAL, ended)
    if ended.is_set():
        return
    kubelet = Kubelet(options, REAL)
    kubelet.start(ended)
    ended.wait()
    kubelet.stop()


class Kubelet:
    """One node agent; `start` and `stop` once each. Tests build it with their own runtime and clock."""

    def __init__(self, options: Options, clock: Clock, runtime: Runtime | None = None) -> None:
        self.options, self.clock = options, clock
        self._given_runtime = runtime
        self.manager = PodManager()

    def start(self, ended: threading.Event) -> None:
        """Bring everything up; returns when pods are being run. `ended` cuts the waiting short."""
        options = self.options
        Path(options.root_dir, "pods").mkdir(parents=True, exist_ok=True)
        self.network = pod_network(options)
        self.network.ensure_node()
        self.client = self._client()
        self.runtime, info = connect(self._given_runtime or make_runtime(options, self.clock), self.clock, ended)

        pods, nodes = self._register(info)
        self.network_services = network_services(options, self.informers, pods, nodes, self.agent.node, self.clock)
        self.node = self._services(info, StatusWriter(self.client, pods, self.clock))
        meter = Meter(options, self.runtime, self.node.cgroups, self.clock)
        self.eviction = self._eviction(info, meter)
        self.static = self._static_pods(pods)
        self.devices.start(self._devices_changed)
        self._serve(info, meter)

        self.informers.start()
        self.agent.start()
        if not options.simulated_nodes:
            self.storage.start()
        for part in self.network_services.parts:
            part.start()
        while not self.informers.wait_synced(1.0):
            if ended.is_set():
                return
        self.manager.start(self.node, pods, self.static.first())
        self.static.start(self.manager.pod_changed)
        if not options.simulated_nodes:
            self.eviction.start()
            self.collector.start()
        _log.info("node %s runs its pods", options.node_name)

    def _client(self) -> Client:
        options = self.options
        config = load(options.kubeconfig)
        if options.network != "none" and not _is_loopback(config.server):
            config = replace(config, source_address=options.node_ip)  # so that cutting the node off cuts this too
        return Client(config, user_agent=f"minikube-py/kubelet-{options.node_name}")

    def _register(self, info: Info) -> tuple[PodSource, Informer]:
        """What follows the API and what speaks for the node. Out: the pods that run here, the Node object for them."""
        options, client, clock = self.options, self.client, self.clock
        self.informers = SharedInformers(client, clock)
        self.devices: DeviceManager = devices.make(options, info, clock)
        self.events = EventRecorder(client, "kubelet", clock, options.node_name)
        pods: PodSource = self.informers.of(PODS, field_selector=f"spec.nodeName={options.node_name}")
        nodes = self.informers.of(NODES, field_selector=f"metadata.name={options.node_name}")
        self.agent: NodeAgent | FleetAgent
        if options.simulated_nodes:
            pods = FleetPods(self.informers.of(PODS), fleet_names(options))
            every_node = self.informers.of(NODES)
            self.agent = FleetAgent(options, client, self.runtime, info, self.devices, every_node, clock)
        else:
            self.agent = NodeAgent(
                options, client, self.runtime, info, self.devices, nodes, clock,
                lambda: self.eviction.conditions(), lambda: self.storage.csi.in_use(),
            )  # fmt: skip
        return pods, nodes

    def _static_pods(self, pods: PodSource) -> StaticPods:
        manager = self.manager

        def known(*name: str) -> bool:
            return manager.pod(*name) is not None

        return StaticPods(self.options, self.client, pods, self.clock, self.agent.node, known, manager.wake)

    def _devices_changed(self) -> None:
        self.agent.changed()
        holders = self.devices.holders()
        for pod in self.manager.pods():
            if uid_of(pod) in holders:
                self.manager.wake(uid_of(pod))

    def _serve(self, info: Info, meter: Meter) -> None:
        """The kubelet's own HTTPS API, and its certificates renewed for as long as it runs."""
        options, client, clock = self.options, self.client, self.clock
        collector = Collector(options, self.runtime, self.manager, self.node.cgroups, meter.disk_of, clock)
        reports = Reports(
            collector, self.runtime, self.manager, info, self.node.probes.counts, self.network_services.pages
        )
        gate = Gate(client, options.node_name, clock)
        self.server = KubeletServer(options, self.runtime, self.manager, reports, gate, clock)
        self.server.start()
        self.renewals = certificates.Renewals(client, options.node_name, clock)
        if options.bootstrap_kubeconfig:
            self.renewals.start(certificates.client_certificate(options))
        if options.rotate_server_certificates and not options.tls_cert:
            self.renewals.start(certificates.serving_certificate(options), self.server.renewed)

    def stop(self) -> None:
        """Let go of everything; pods run on."""
        for part in (
            self.eviction,
            self.collector,
            self.static,
            self.manager,
            self.agent,
            self.server,
            self.renewals,
            self.node.probes,
            self.node.statuses,
            self.storage,
            self.drivers,
            *self.network_services.parts,
        ):
            part.stop()
        self.informers.stop()
        self.devices.stop()
        self.events.stop()
        self.runtime.close()

    def _eviction(self, info: Info, meter: Meter) -> EvictionManager:
        options, clock, manager = self.options, self.clock, self.manager

        def tell(pod: Obj | None, reason: str, message: str) -> None:
            self.events.event(pod or self.agent.node(), "Warning", reason, message)

        disk = image_disk(options.root_dir, info.root_dir)
        self.collector = ImageCollector(options, self.runtime, clock, disk, lambda *told: tell(None, *told))
        self.node.images.used = self._image_used
        return EvictionManager(
            options,
            meter,
            manager.occupying,
            manager.evict,
            tell,
            self.collector.remove_all_unused,
            self.agent.changed,
            clock,
        )

    def _refuse(self, pod: Obj) -> Verdict | None:
        return self.eviction.refuse(pod) or self.manager.refuse(pod, self.agent.node(pod["spec"].get("nodeName", "")))

    def _image_used(self, reference: str, pulled: bool) -> None:
        self.collector.used(reference, pulled)
        if pulled:
            self.agent.images_changed()

    def _services(self, info: Info, statuses: StatusWriter) -> NodeServices:
        """Everything a pod's worker uses."""
        options, client, clock, runtime, manager = self.options, self.client, self.clock, self.runtime, self.manager
        groups = cgroups.of(options, info)
        groups.prepare_node(options)
        objects, tokens = ObjectCache(client, clock, options.sync_frequency), TokenCache(client, clock)
        watches = 0 if runtime.name == "simulated" else 64  # thousands of simulated nodes share a process
        images = Images(runtime, clock, options.image_backoff, options.crash_backoff_max)
        self.drivers = Drivers(client, options.node_name, options.root_dir, clock)
        self.storage = Storage(
            options,
            client,
            self.informers,
            self.events,
            objects,
            tokens,
            clock,
            self.agent.node,
            manager.pods,
            self.agent.changed,
            {PLUGIN_TYPE: self.drivers},
        )

        services = self.informers.of(SERVICES)

        def service_env(pod: Obj) -> dict[str, str]:
            return env.services(namespace_of(pod), services.list(), pod["spec"].get("enableServiceLinks", True))

        def claim(namespace: str, name: str) -> Obj | None:
            return objects.get("resourceclaims", namespace, name, clock.monotonic())

        claims = PodClaims(Path(options.root_dir), self.drivers, claim, options.cdi_spec_dirs)

        def unhealthy(pod: Obj, container: str, kind: str, reason: str, message: str) -> None:
            self.events.event(pod, kind, reason, message, field_path=f"spec.containers{{{container}}}")

        return NodeServices(
            options=options, clock=clock, runtime=runtime, network=self.network,
            sandboxes=Sandboxes(options, runtime, self.network, groups, self.network_services.isolate),
            volumes=self.storage.manager,
            objects=objects, watches=ObjectWatches(self.informers, objects, manager.refresh, limit=watches),
            tokens=tokens, images=images, devices=self.devices, claims=claims,
            terminator=Terminator(runtime, clock),
            starter=Starter(options, info, groups, runtime, images, objects, self.devices, claims, service_env, clock),
            restarts=Backoff(clock, options.crash_backoff, options.crash_backoff_max),
            probes=Probes(clock, runner(runtime), manager.wake, unhealthy),
            statuses=statuses, events=self.events, allocatable=self.agent.allocatable,
            refuse=self._refuse,
            cgroups=groups,
        )  # fmt: skip


def _is_loopback(server: str) -> bool:
    return "//127." in server or "//localhost" in server or "//[::1]" in server


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        run(parse(sys.argv[1:]))
    except (OSError, ValueError, RuntimeUnavailable) as error:
        sys.exit(f"kubelet: {error}")
