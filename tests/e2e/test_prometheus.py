"""A Prometheus configuration with every role of `kubernetes_sd_configs`: all is discovered, and scraped over TLS.

Debian builds its Prometheus without Kubernetes; Debian's VictoriaMetrics reads the same configuration and answers the same
queries. PROMETHEUS=PATH runs the test with a Prometheus that has it.
"""

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from minikube_py.api import yaml
from tests import harness
from tests.e2e.conftest import WEB, Cluster, deployment

ROLES = ("node", "service", "pod", "endpoints", "endpointslice", "ingress")
INGRESS = {
    "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "scraped", "namespace": "default"},
    "spec": {"rules": [{"host": "scraped.example", "http": {"paths": [
        {"path": "/metrics", "pathType": "Prefix", "backend": {"service": {"name": "scraped", "port": {"number": 80}}}},
    ]}}]},
}  # fmt: skip


def _config(cluster: Cluster) -> dict[str, Any]:
    """One job per role; the API server and the nodes are scraped over TLS with the administrator's certificate."""
    pki = cluster.profile.pki
    tls = {"ca_file": str(pki / "ca.crt"), "cert_file": str(pki / "admin.crt"), "key_file": str(pki / "admin.key")}
    sd: dict[str, Any] = {"api_server": cluster.profile.server, "tls_config": tls}
    jobs: list[dict[str, Any]] = [
        {"job_name": role, "kubernetes_sd_configs": [{**sd, "role": role}], "scheme": "https", "tls_config": tls}
        for role in ROLES
    ]
    jobs.append({"job_name": "apiserver", "scheme": "https", "tls_config": tls,
                 "static_configs": [{"targets": [cluster.profile.server.removeprefix("https://")]}]})  # fmt: skip
    return {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}


@pytest.fixture
def prometheus(cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "config.yml").write_text(yaml.dump(_config(cluster)))
    address = f"127.0.0.1:{harness.free_port()}"
    own = os.environ.get("PROMETHEUS", "")
    binary = shutil.which(own or "victoria-metrics")
    assert binary, "nothing to scrape with: apt-get install victoria-metrics (make test does)"
    flags = (
        ["--config.file={0}/config.yml", "--storage.tsdb.path={0}/data", "--web.listen-address={1}"] if own else
        ["-promscrape.config={0}/config.yml", "-storageDataPath={0}/data", "-httpListenAddr={1}", "-memory.allowedBytes=64MB",
         "-promscrape.kubernetesSDCheckInterval=1s", "-search.latencyOffset=0s"]
    )  # fmt: skip
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([binary, *(f.format(tmp_path, address) for f in flags)], stdout=log, stderr=log)
    try:
        yield f"http://{address}/api/v1"
    finally:
        harness.stop(process)


def test_every_role_is_discovered_and_nodes_and_api_server_are_scraped(cluster: Cluster, prometheus: str) -> None:
    cluster.kubectl(
        "apply", "-f", "-", stdin=json.dumps(deployment("scraped", 2, WEB, ports=[{"containerPort": 8080}]))
    )
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(INGRESS))
    cluster.kubectl("expose", "deployment", "scraped", "--port=80", "--target-port=8080")
    addresses = {pod["status"]["podIP"] for pod in cluster.ready_pods("app=scraped", 2)}

    def get(path: str) -> Any:
        return json.load(urllib.request.urlopen(f"{prometheus}/{path}", timeout=5))["data"]

    def found(role: str) -> list[dict[str, str]]:
        return [t["discoveredLabels"] for t in get("targets?state=active")["activeTargets"] if t["scrapePool"] == role]

    def both_in(role: str) -> bool:
        return addresses <= {one["__address__"].removesuffix(":8080") for one in found(role)}

    def up(job: str, count: int) -> bool:
        return sum(float(one["value"][1]) for one in get(f"query?query=up{{job=%22{job}%22}}")["result"]) == count

    try:
        harness.eventually(lambda: len(found("node")) == 3, 30, what="three nodes")
        for role in ("pod", "endpoints", "endpointslice"):
            harness.eventually(partial(both_in, role), 30, what=f"both pods by role {role}")
        assert {"kubernetes", "scraped"} <= {t["__meta_kubernetes_service_name"] for t in found("service")}
        assert [t["__meta_kubernetes_ingress_path"] for t in found("ingress")] == ["/metrics"]
        for job, count in (("node", 3), ("apiserver", 1)):
            harness.eventually(partial(up, job, count), 30, what=f"{job} up")
        assert get("query?query=apiserver_request_total")["result"]
    finally:
        for kind in ("deployment", "service", "ingress"):
            cluster.kubectl("delete", kind, "scraped", "--wait=false", check=False)
