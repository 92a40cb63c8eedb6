"""One HAProxy process: started, given new configurations, reloaded without dropping a request.

Who calls it: main.py. Invariant: a configuration HAProxy itself refuses is never used: the one before goes on. A reload starts
a new worker with the listening sockets of the old one, which finishes what it has.
Upstream: docs.haproxy.org management guide 2.6, master-worker mode (SIGUSR2 reloads, SIGUSR1 ends softly).
"""

import logging
import signal
import subprocess
from pathlib import Path

from minikube_py.api.clock import REAL
from minikube_py.ingress.haproxy import Configuration

log = logging.getLogger(__name__)

_GRACE, _HEARD, _ATTEMPTS = 25.0, 2.0, 5


class HAProxy:
    """`directory` holds the configuration; nobody else writes there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._current: Configuration | None = None

    def apply(self, wanted: Configuration) -> bool:
        """Serve this from now on. Out: whether it is served (False: HAProxy refused it, and why is in the log)."""
        if wanted == self._current and self._alive():
            return True
        for name, text in wanted.files.items():
            self._write(name, text)
        self._write("new.cfg", wanted.text)
        checked = subprocess.run(["haproxy", "-c", "-q", "-f", self._path("new.cfg")], capture_output=True, text=True)
        if checked.returncode:
            log.error("HAProxy refuses the new configuration, the old one stays: %s", checked.stderr.strip())
            return False
        Path(self._path("new.cfg")).replace(self._path("haproxy.cfg"))
        self._load()
        for old in (self._current.files.keys() if self._current else ()) - wanted.files.keys():
            Path(self._path(old)).unlink(missing_ok=True)
        self._current = wanted
        return True

    def _load(self) -> None:
        """Start it, or have it read its file again. A master that loads may miss a signal: a new worker shows it heard."""
        before = self._workers()
        for _ in range(_ATTEMPTS):
            if self._process is not None and self._alive():
                self._process.send_signal(signal.SIGUSR2)
            else:
                self._process = subprocess.Popen(["haproxy", "-W", "-db", "-f", self._path("haproxy.cfg")])
            deadline = REAL.monotonic() + _HEARD
            while REAL.monotonic() < deadline:
                if self._workers() - before:
                    return
                REAL.sleep(0.02)
        log.error("HAProxy does not load its configuration")

    def _workers(self) -> set[str]:
        if self._process is None or not self._alive():
            return set()
        pid = self._process.pid
        try:
            return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        except OSError:  # it has just ended
            return set()

    def stop(self) -> None:
        """Take no more connections, finish those there are."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGUSR1)
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _path(self, name: str) -> str:
        return str(self.directory / name)

    def _write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(text)
