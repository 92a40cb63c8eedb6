"""Which user names and passwords an image may be pulled with: from the Secrets a pod names. Pure.

Who calls it: `images` before a pull. Invariants: a login is only ever shown to the registry it was written for (ports equal,
host patterns part by part, the path a prefix of the image's); longer, that is more particular, entries come first.
Upstream: pkg/credentialprovider/keyring.go, pkg/credentialprovider/config.go.
"""

import base64
import contextlib
import fnmatch
import json
from collections.abc import Iterable, Mapping

from minikube_py.api.types import Obj

_DEFAULT_HOSTS = ("docker.io", "index.docker.io")
_KEYS = ((".dockerconfigjson", "auths"), (".dockercfg", ""))


def logins(image: str, secrets: Iterable[Obj]) -> list[Mapping[str, str]]:
    """Every login that fits the image, to be tried in this order. Secrets that make no sense are passed over."""
    target = _full_name(image)
    found: list[tuple[str, Mapping[str, str]]] = []
    for secret in secrets:
        for server, entry in _entries(secret.get("data") or {}):
            place = _place(server)
            if _matches(place, target) and (login := _login(entry)):
                found.append((place, login))
    return [login for _, login in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _entries(data: Mapping[str, str]) -> Iterable[tuple[str, Obj]]:
    for key, path in _KEYS:
        with contextlib.suppress(ValueError, KeyError, AttributeError):
            config = json.loads(base64.b64decode(data[key]))
            yield from (config[path] if path else config).items()


def _full_name(image: str) -> str:
    """With its registry, without tag and digest."""
    name = image.split("@")[0]
    first, slash, _ = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        return f"docker.io/{name}"
    return name


def _place(server: str) -> str:
    """What a config file calls a server, as host[:port][/path]: "https://index.docker.io/v1/" is Docker Hub."""
    place = server.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, path = place.partition("/")
    path = "" if path in ("v1", "v2") else path.removeprefix("v1/").removeprefix("v2/")
    host = "docker.io" if host in _DEFAULT_HOSTS else host
    return f"{host}/{path}" if path else host


def _matches(place: str, target: str) -> bool:
    (host, _, path), (target_host, _, target_path) = place.partition("/"), target.partition("/")
    (name, _, port), (target_name, _, target_port) = host.partition(":"), target_host.partition(":")
    parts, target_parts = name.split("."), target_name.split(".")
    return (
        port == target_port
        and len(parts) == len(target_parts)
        and target_path.startswith(path)
        and all(fnmatch.fnmatchcase(own, pattern) for own, pattern in zip(target_parts, parts, strict=True))
    )


def _login(entry: Obj) -> Mapping[str, str] | None:
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        if entry.get("username"):
            return {"username": entry["username"], "password": entry.get("password", "")}
        user, colon, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
        return {"username": user, "password": password} if colon else None
    return None
