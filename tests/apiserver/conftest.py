"""What the API server's own tests share: raw connections, and namespaces made without our own client."""

import itertools
import os
from collections.abc import Iterator

import pytest

from tests.apiserver.wire import Wire
from tests.conftest import APIServer

_serial = itertools.count(1)


@pytest.fixture
def wire(apiserver: APIServer) -> Wire:
    """Raw requests as a member of system:masters."""
    return Wire(apiserver.url, apiserver.ca_file, apiserver.token)


@pytest.fixture
def ns(wire: Wire) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"wire-{os.getpid()}-{next(_serial)}"
    wire.ok("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    wire("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def maps(ns: str) -> str:
    """The path of that namespace's ConfigMaps."""
    return f"/api/v1/namespaces/{ns}/configmaps"
