"""Simulated cards behind every implementation of NVML there is on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kubelet.devices import gpu_file, mock_library, nvml
from kubelet.devices.mock_state import MockState, create

CARDS = """
driver: 550.163.01
gpus:
- {model: A100-SXM4-40GB, count: 2, numa: 0, mig: {enabled: true, layout: [3g.20gb, 2g.10gb, 1g.5gb]}}
- {model: T4, numa: 1}
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    return mock_library.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def state(tmp_path: Path) -> MockState:
    return create(tmp_path / "state", gpu_file.parse(yaml.safe_load(CARDS), "test"))


@pytest.fixture(params=["mock", "fallback"])
def opened(request: pytest.FixtureRequest, state: MockState, library: Path | None) -> Iterator[nvml.Nvml]:
    """NVML over `state`: through the C library, and without it."""
    if request.param == "mock" and library is None:
        pytest.skip("no C compiler")
    made = nvml.open_mock(library if request.param == "mock" else None, state.path)
    yield made
    made.close()
