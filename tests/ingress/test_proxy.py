"""The real HAProxy: configurations in quick succession, of which the last is served."""

import urllib.request
from pathlib import Path

import pytest

from minikube_py.ingress.haproxy import Configuration
from minikube_py.ingress.proxy import HAProxy
from tests import harness


def test_the_last_of_many_quick_configurations_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, proxy = harness.free_port(), HAProxy(tmp_path)

    def configuration(number: int) -> Configuration:
        text = f"""global
    hard-stop-after 1s
    stats socket {tmp_path}/s.sock expose-fd listeners
defaults
    mode http
    timeout client 5s
frontend one
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain string "{number}"
"""
        return Configuration(text, {})

    def said() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
            return bool(answer.read() == b"9")

    try:
        for number in range(10):
            assert proxy.apply(configuration(number))
        harness.eventually(said, 10, what="the last configuration")
    finally:
        monkeypatch.setattr("minikube_py.ingress.proxy._GRACE", 0.5)
        proxy.stop()
