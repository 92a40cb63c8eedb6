"""Plugins that register with the kubelet: each puts a socket into `plugins_registry` and is asked who it is.

Who calls it: `main`, with one handler per type of plugin. Invariants: a socket is asked once per life (inode); a plugin whose
socket goes away is taken off; a plugin that cannot be taken on is told why and tried again later.
Upstream: pkg/kubelet/pluginmanager; the pluginregistration v1 API.
"""

import logging
import os
import stat
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from kubelet import grpc_messages
from minikube_py.api.clock import Clock
from minikube_py.api.errors import APIError
from minikube_py.api.messages import classes

_log = logging.getLogger(__name__)
_PERIOD, _AGAIN, _SECONDS = 1.0, 5.0, 10.0
_SERVICE = "/pluginregistration.Registration"
_TEXT = """
InfoRequest:
PluginInfo: type 1 string, name 2 string, endpoint 3 string, supported_versions 4 string[]
RegistrationStatus: plugin_registered 1 bool, error 2 string
RegistrationStatusResponse:
"""


def messages() -> Mapping[str, Any]:
    """The registration API's message classes, by name."""
    return classes("pluginregistration", _TEXT)


class Handler(Protocol):
    """What takes on plugins of one type."""

    def register(self, name: str, endpoint: str, versions: Sequence[str]) -> None:
        """In: the versions that it says it supports. Raises any exception when it cannot be taken on: it is told why."""
        ...

    def deregister(self, name: str) -> None: ...

    def settled(self) -> None:
        """All that were there at the start have been asked. Raises APIError: called again."""
        ...


class PluginWatcher:
    """Looks at the directory once a second; that costs one system call while nothing changes."""

    def __init__(self, directory: Path, clock: Clock, handlers: Mapping[str, Handler]) -> None:
        self._directory, self._clock, self._handlers = directory, clock, handlers
        self._known: dict[str, tuple[int, str, str]] = {}  # socket → (inode, type, name)
        self._failed: dict[str, float] = {}
        self._stopped = threading.Event()

    def start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        threading.Thread(target=self._run, name="plugin-watcher", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        seen, settled = -1, False
        while not self._stopped.is_set():
            try:
                changed = self._directory.stat().st_mtime_ns
                if changed != seen or self._failed:
                    self._look()
                seen = changed
                if not settled:
                    for handler in self._handlers.values():
                        handler.settled()
                    settled = True
            except APIError as error:
                _log.info("the plugins in %s: %s", self._directory, error)
            except Exception:
                _log.exception("the plugins in %s", self._directory)
            self._clock.wait(self._stopped, _PERIOD)

    def _look(self) -> None:
        there = dict(self._sockets())
        for path, (inode, kind, name) in list(self._known.items()):
            if there.get(path) != inode:
                del self._known[path]
                self._handlers[kind].deregister(name)
                _log.info("plugin %s is gone", name)
        for path, inode in there.items():
            if path not in self._known and self._failed.get(path, 0.0) <= self._clock.monotonic():
                self._ask(path, inode)
        self._failed = {path: at for path, at in self._failed.items() if path in there}

    def _sockets(self) -> list[tuple[str, int]]:
        found = []
        for root, _, names in os.walk(self._directory):
            for name in names:
                info = os.lstat(os.path.join(root, name))
                if stat.S_ISSOCK(info.st_mode) and not name.startswith("."):
                    found.append((os.path.join(root, name), info.st_ino))
        return found

    def _ask(self, path: str, inode: int) -> None:
        m = messages()
        try:
            info = grpc_messages.call(path, f"{_SERVICE}/GetInfo", m["InfoRequest"](), m["PluginInfo"], _SECONDS)
            handler = self._handlers.get(info.type)
            if handler is None:
                raise ValueError(f"no handler registered for plugin type: {info.type} at socket {path}")
            handler.register(info.name, info.endpoint or path, list(info.supported_versions))
        except Exception as error:
            _log.warning("plugin at %s: %s", path, error)
            self._failed[path] = self._clock.monotonic() + _AGAIN
            self._tell(path, str(error))
            return
        self._failed.pop(path, None)
        self._known[path] = (inode, info.type, info.name)
        self._tell(path, "")
        _log.info("plugin %s is registered", info.name)

    def _tell(self, path: str, error: str) -> None:
        m = messages()
        status = m["RegistrationStatus"](plugin_registered=not error, error=error)
        try:
            method = f"{_SERVICE}/NotifyRegistrationStatus"
            grpc_messages.call(path, method, status, m["RegistrationStatusResponse"], _SECONDS)
        except grpc_messages.CallFailed as failure:
            _log.info("plugin at %s was not told: %s", path, failure)
