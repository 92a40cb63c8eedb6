"""The benchmark measures what it says: figures, ratios, and one real, short run of the load client and of the cycle."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import api, cycle, figures, resources, server, target
from bench.figures import Figure
from bench.target import Options, Target
from minikube_py.api.gvr import NAMESPACES
from minikube_py.client.rest import Client
from tests.conftest import APIServer
from tests.harness import ROOT


def test_a_ratio_above_one_means_that_ours_is_better() -> None:
    assert figures.ratio(Figure("x", 2.0, "s"), Figure("x", 6.0, "s")) == 3
    assert figures.ratio(Figure("x", 2.0, "/s", "higher"), Figure("x", 6.0, "/s", "higher")) == pytest.approx(1 / 3)
    assert figures.ratio(figures.missing("x", "why"), Figure("x", 1.0, "s")) is None


def test_the_table_has_a_line_per_figure_and_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    figures.show({"ours": [Figure("a", 2.0, "s"), figures.missing("b", "no engine")], "other": [Figure("a", 5.0, "s")]})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["FIGURE", "OURS", "OTHER", "TIMES", "BETTER", "NOTE"]
    assert lines[1].split() == ["a", "2.00", "s", "5.00", "s", "2.50"]
    assert lines[2].split() == ["b", "-", "-", "no", "engine"]


def test_the_json_holds_every_figure(tmp_path: Path) -> None:
    figures.save(tmp_path / "r.json", {"ours": [Figure("a", 2.0, "s")]}, {"machine": {"cores": 2}})
    saved = json.loads((tmp_path / "r.json").read_text())
    assert saved["machine"] == {"cores": 2}
    assert saved["results"]["ours"][0] == {"name": "a", "value": 2.0, "unit": "s", "better": "lower", "note": ""}


def test_memory_and_cpu_of_a_process_are_read() -> None:
    assert resources.pss_bytes(os.getpid()) > 5_000_000
    assert resources.cpu_seconds(os.getpid()) > 0


@pytest.mark.parametrize("kind", ["plain", "spread", "anti-affinity"])
def test_the_cycle_is_measured(kind: str) -> None:
    assert cycle.pods_per_second(20, 20, kind) > 0


def test_an_unknown_measurement_is_one_sentence() -> None:
    done = subprocess.run([sys.executable, "-m", "bench", "nonsense"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no measurement 'nonsense'; there are: startup, resources" in done.stderr


def test_the_api_is_measured_and_the_namespace_goes(
    apiserver: APIServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("go") is None:
        pytest.skip("no Go compiler")
    monkeypatch.setattr(target, "NAMESPACE_GONE_SECONDS", 0.0)  # no namespace controller runs beside this server
    options = Options(seconds=1, objects=50, watchers=5)
    found = {figure.name: figure for figure in api.measure(Target("ours", apiserver.kubeconfig), options)}
    assert list(found) == [
        "API create", "API create, p99", "API get", "API get, p99", "API list of all", "API merge-patch",
        "API merge-patch, p99", "API watch deliveries", "API delete", "API delete, p99",
    ]  # fmt: skip
    assert all(figure.value and "FAILED" not in figure.note for figure in found.values())
    left = [n for n in client.list(NAMESPACES)["items"] if n["metadata"]["name"].startswith("bench-")]
    assert all("deletionTimestamp" in n["metadata"] for n in left)


def test_the_server_alone_is_measured() -> None:
    options = Options(seconds=1, idle_watches=20, stored=300)
    found = {figure.name: figure for figure in server.measure(Target("ours", ""), options)}
    assert {"API server: start to ready", "API server: first start ever", "memory, 20 idle watches"} <= set(found)
    assert all(found[f"cost of one {verb}, 300 stored"].value for verb in ("create", "get", "patch", "delete"))
