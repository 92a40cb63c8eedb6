"""One HAProxy process: started, given new configurations, reloaded without dropping a request.

Who calls it: main.py. Invariant: a configuration HAProxy itself refuses is never used: the one before goes on. A reload starts
a new worker with the listening sockets of the old one, which finishes what it has.
Upstream: docs.haproxy.org management guide 2.6, master-worker mode (SIGUSR2 reloads, SIGUSR1 ends softly).
"""

import logging
import signal
import subprocess
from pathlib import Path

from minikube_py.ingress.haproxy import Configuration

log = logging.getLogger(__name__)

_GRACE = 25.0


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
        if self._process is not None and self._alive():
            self._process.send_signal(signal.SIGUSR2)
        else:
            self._process = subprocess.Popen(["haproxy", "-W", "-db", "-f", self._path("haproxy.cfg")])
        for old in (self._current.files.keys() if self._current else ()) - wanted.files.keys():
            Path(self._path(old)).unlink(missing_ok=True)
        self._current = wanted
        return True

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
