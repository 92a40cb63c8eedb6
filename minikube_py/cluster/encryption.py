"""Rotating the key that encrypts Secrets at rest.

Who calls it: `minikube-py encryption rotate`. Invariant: the key file always holds every key that something in the store needs;
it is replaced at once, so an interrupted rotation is continued by the next call, from whichever step it had reached.
Upstream: kubernetes.io "Encrypting Confidential Data at Rest", rotating a decryption key.
"""

import os
import re
import signal
from pathlib import Path

from minikube_py.cluster import access, identities, process
from minikube_py.cluster.errors import ClusterError
from minikube_py.cluster.profile import Profile

_READY_SECONDS, _RESEAL_SECONDS = 30.0, 600.0
_STALE = re.compile(rb"^minikube_py_encryption_stale_objects (\d+)$", re.MULTILINE)


def rotate(profile: Profile) -> str:
    """Seal every Secret with a new key and drop the old ones. Out: the new key's name. Raises ClusterError."""
    file = profile.pki / "encryption.key"
    keys = _lines(file)
    if len(keys) == 1:  # with more than one, a rotation was interrupted: go on with it
        number = max([int(found[1]) for key in keys if (found := re.match(r"key(\d+):", key))] or [0]) + 1
        keys = [identities.encryption_key_line(f"key{number}"), *keys]
        _write(file, keys)
    _restart(profile)
    if not access.until(lambda: _left(profile) == 0, _RESEAL_SECONDS, 0.1):
        raise ClusterError(
            f"Secrets are still being sealed with the new key after {_RESEAL_SECONDS:.0f} s; run the command again later "
            f"(minikube-py logs apiserver -p {profile.name})"
        )
    _write(file, keys[:1])
    _restart(profile)
    return keys[0].partition(":")[0]


def _lines(file: Path) -> list[str]:
    """The keys of the file, newest first."""
    lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    keys = [line for line in lines if line]
    if not keys:
        raise ClusterError(f"{file} holds no key: put back the one that the Secrets were encrypted with")
    return keys


def _write(file: Path, keys: list[str]) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write("".join(f"{key}\n" for key in keys))
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(file)


def _restart(profile: Profile) -> None:
    """The supervisor starts the API server again, with the keys that are now in the file."""
    file = profile.directory / "run" / "apiserver.pid"
    old = process.read_pid(file)
    if old:
        process.signal_quietly(old, signal.SIGTERM)
    access.until(lambda: process.read_pid(file) not in (0, old), _READY_SECONDS)
    access.wait_ready(profile, _READY_SECONDS)


def _left(profile: Profile) -> int | None:
    _, _, text = access.client(profile).request("GET", "/metrics")
    found = _STALE.search(text)
    return int(found[1]) if found else None
