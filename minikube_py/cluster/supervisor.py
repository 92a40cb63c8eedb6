"""The supervisor: one process per profile that keeps the components of `cluster.json` running.

Who starts it: `minikube-py up`. Who talks to it: `minikube-py` commands change `cluster.json` and send SIGHUP; SIGTERM ends
the components and then the supervisor. What it knows is written to `run/components.json` for `minikube-py status`.
Invariants: it has one thread, because it forks. It imports each component's code once and forks from there, so a component
starts (and after a crash restarts) in milliseconds and shares its memory with its siblings. It keeps no state of the cluster:
killed and started again, it ends what an earlier one left running and starts afresh; kubelets re-adopt their containers.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from setproctitle import setproctitle

from minikube_py.cluster import process
from minikube_py.cluster.components import Component, components
from minikube_py.cluster.errors import ClusterError
from minikube_py.cluster.profile import Profile, load

_SIGNALS = {signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM, signal.SIGINT}
_BACKOFF_FIRST, _BACKOFF_MOST, _STEADY = 0.1, 5.0, 10.0
_GRACE = 5.0


@dataclass
class Child:
    """A component that should run. `pid` is 0 while it waits for its restart, due at `due` (monotonic seconds)."""

    component: Component
    pid: int = 0
    started: float = 0.0
    since: float = 0.0
    due: float = 0.0
    backoff: float = _BACKOFF_FIRST
    restarts: int = 0
    last_exit: str = ""


class Supervisor:
    """Keeps the children equal to the profile's components."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.children: dict[str, Child] = {}
        self.stopping = False

    def run(self) -> None:
        """Start everything, then react to signals until SIGTERM; returns when every child is gone."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._obey()
        while not self.stopping:
            received = signal.sigtimedwait(_SIGNALS, self._patience())
            self.stopping = received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT)
            if not self.stopping:
                self._reap()
                self._obey()  # also after a death: a node that was powered off must not come back
                self._start_due()
        self._end(list(self.children.values()))

    def _obey(self) -> None:
        """Make the set of children the one `cluster.json` asks for; a component whose flags changed is replaced."""
        with contextlib.suppress(ClusterError):
            self.profile = load(self.profile.name)
        wanted = {component.name: component for component in components(self.profile)}
        gone = [c for name, c in self.children.items() if wanted.get(name) != c.component]
        self._end(gone)
        for child in gone:
            del self.children[child.component.name]
        for name, component in wanted.items():
            if name not in self.children:
                self.children[name] = Child(component)
                self._start(self.children[name])
        self._report()

    def _start(self, child: Child) -> None:
        importlib.import_module(child.component.module)
        gc.collect()
        gc.freeze()  # what is shared now stays shared: the collector will not touch it in the child
        log = self.profile.logs / f"{child.component.name}.log"
        child.pid = os.fork()
        if child.pid == 0:
            _become(child.component, log, self.profile.name)
        child.started, child.since = time.monotonic(), time.time()
        (self.profile.directory / "run" / f"{child.component.name}.pid").write_text(str(child.pid))

    def _start_due(self) -> None:
        for child in self.children.values():
            if child.pid == 0 and child.due <= time.monotonic():
                self._start(child)
                self._report()

    def _reap(self) -> None:
        """Note every child that ended and when it may start again: at once, then ever later while it keeps failing."""
        for child in self.children.values():
            if child.pid == 0:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid == 0:
                continue
            child.last_exit = _describe(status)
            lived = time.monotonic() - child.started
            child.backoff = _BACKOFF_FIRST if lived > _STEADY else min(child.backoff * 2, _BACKOFF_MOST)
            child.pid, child.restarts = 0, child.restarts + 1
            child.due = time.monotonic() + (0 if lived > _STEADY else child.backoff)
            self._report()

    def _patience(self) -> float:
        waiting = [child.due - time.monotonic() for child in self.children.values() if child.pid == 0]
        return max(0.0, min(waiting, default=3600.0))

    def _end(self, children: list[Child]) -> None:
        """SIGTERM, a grace period, SIGKILL; the API server goes last, because the others still write to it."""
        alive = [child for child in children if child.pid]
        for last in (False, True):
            process.end([c.pid for c in alive if (c.component.name == "apiserver") == last], _GRACE, ours=True)
        for child in children:
            child.pid = 0
            (self.profile.directory / "run" / f"{child.component.name}.pid").unlink(missing_ok=True)

    def _report(self) -> None:
        rows = {
            name: {"pid": c.pid, "restarts": c.restarts, "since": c.since, "last_exit": c.last_exit}
            for name, c in self.children.items()
        }
        path = self.profile.directory / "run" / "components.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(rows, indent=2))
        temporary.replace(path)


def _become(component: Component, log: Path, profile: str) -> None:
    """In the forked child: turn into the component; never returns."""
    code = 1
    try:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        setproctitle(f"minikube-py: {component.name} ({profile})")
        module = importlib.import_module(component.module)
        module.run(module.parse(list(component.argv)))
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _describe(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def main(name: str) -> None:
    """Run the supervisor of the profile called `name` in this process."""
    profile = load(name)
    run = profile.directory / "run"
    run.mkdir(exist_ok=True)
    profile.logs.mkdir(exist_ok=True)
    process.end([int(file.read_text()) for file in run.glob("*.pid") if file.name != "supervisor.pid"], _GRACE)
    (run / "supervisor.pid").write_text(str(os.getpid()))
    setproctitle(f"minikube-py: supervisor ({name})")
    Supervisor(profile).run()
    (run / "supervisor.pid").unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1])
