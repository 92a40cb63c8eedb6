"""Which runtime a node drives, and waiting until it answers.

Who calls it: `kubelet.main`, once; tests that crash a kubelet. Invariant: an engine that is away is waited for, never an error:
a node comes up before its engine as well as after it.
Upstream: pkg/kubelet/kubelet.go (PreInitRuntimeService).
"""

import logging
import threading
from pathlib import Path

from kubelet.options import Options
from kubelet.runtime.base import Info, Runtime, RuntimeUnavailable
from kubelet.runtime.cri import CriRuntime
from kubelet.runtime.docker import DockerRuntime
from kubelet.runtime.simulated import SimulatedRuntime
from minikube_py.api.clock import Clock

_log = logging.getLogger("kubelet")


def make_runtime(options: Options, clock: Clock) -> Runtime:
    """The runtime the options name, once it answers."""
    if options.runtime == "simulated":
        return SimulatedRuntime(clock)
    if options.runtime == "cri":
        return CriRuntime(
            options.profile, options.node_name, options.runtime_endpoint, Path(options.root_dir), clock,
            options.runtime_request_timeout,
        )  # fmt: skip
    while True:
        try:
            return DockerRuntime(
                options.profile, options.node_name, options.docker_host, timeout=round(options.runtime_request_timeout)
            )
        except RuntimeUnavailable as error:
            _log.warning("%s", error)
            clock.sleep(1.0)


def connect(runtime: Runtime, clock: Clock, ended: threading.Event) -> tuple[Runtime, Info]:
    """The runtime and what it says of itself, once it answers."""
    while True:
        try:
            return runtime, runtime.info()
        except RuntimeUnavailable as error:
            if ended.is_set():
                raise
            _log.warning("%s", error)
            clock.wait(ended, 1.0)
