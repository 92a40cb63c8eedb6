"""The labels that GPU feature discovery puts on a node. Pure; golden-tested.

Who calls it: `setup`, for the Node this kubelet registers. Invariant: names and forms are those of NVIDIA's feature discovery,
so that selectors written for it work; a node with several models is described by the most numerous (labels cannot say more).
Upstream: NVIDIA/k8s-device-plugin, internal/lm.
"""

import re
from collections import Counter
from collections.abc import Sequence

from kubelet.devices.nvml import Gpu

PREFIX = "nvidia.com/"
_FAMILIES = {2: "fermi", 3: "kepler", 5: "maxwell", 6: "pascal", 9: "hopper", 10: "blackwell", 12: "blackwell"}


def node_labels(
    gpus: Sequence[Gpu], driver: str, cuda: tuple[int, int], *, machine: str = "", timestamp: int = 0,
) -> dict[str, str | None]:  # fmt: skip
    """What describes these cards; the labels of a node without any are NONE.

    In: `machine` is the computer's product name, `timestamp` now in seconds.
    """
    if not gpus:
        return dict(NONE)
    counts = Counter(gpu.name for gpu in gpus)
    name = min(counts, key=lambda n: (-counts[n], next(gpu.index for gpu in gpus if gpu.name == n)))
    gpu = next(gpu for gpu in gpus if gpu.name == name)
    version = driver.split(".")
    found = {
        "gfd.timestamp": str(timestamp),
        "gpu.product": product(name),
        "gpu.count": str(counts[name]),
        "gpu.replicas": "1",
        "gpu.sharing-strategy": "none",
        "gpu.memory": str(gpu.memory),
        "gpu.family": family(gpu.compute),
        "gpu.compute.major": str(gpu.compute[0]),
        "gpu.compute.minor": str(gpu.compute[1]),
        "gpu.machine": product(machine) or "unknown",
        "gpu.mode": "graphics" if "GeForce" in name else "compute",
        "mig.capable": str(any(gpu.mig is not None for gpu in gpus)).lower(),
        "mps.capable": "false",
        "cuda.driver-version.full": driver,
        "cuda.driver-version.major": version[0],
        "cuda.driver-version.minor": version[1] if len(version) > 1 else "",
        "cuda.driver-version.revision": version[2] if len(version) > 2 else "",
        "cuda.runtime-version.full": f"{cuda[0]}.{cuda[1]}",
        "cuda.runtime-version.major": str(cuda[0]),
        "cuda.runtime-version.minor": str(cuda[1]),
    }
    return {PREFIX + key: value for key, value in found.items()}


_NAMES = (
    "gfd.timestamp", "gpu.product", "gpu.count", "gpu.replicas", "gpu.sharing-strategy", "gpu.memory", "gpu.family",
    "gpu.compute.major", "gpu.compute.minor", "gpu.machine", "gpu.mode", "mig.capable", "mps.capable",
    "cuda.driver-version.full", "cuda.driver-version.major", "cuda.driver-version.minor", "cuda.driver-version.revision",
    "cuda.runtime-version.full", "cuda.runtime-version.major", "cuda.runtime-version.minor",
)  # fmt: skip
NONE: dict[str, str | None] = {PREFIX + name: None for name in _NAMES}
"""The labels of a node that had GPUs and has none now: each must not be there."""


def product(name: str) -> str:
    """A name as a label value."""
    return re.sub(r"[^A-Za-z0-9-_. ]", "", name).strip().replace(" ", "-")[:63].strip("-_.")


def family(compute: tuple[int, int]) -> str:
    """The architecture of a CUDA compute capability."""
    major, minor = compute
    if major == 7:
        return "turing" if minor >= 5 else "volta"
    if major == 8:
        return "ada-lovelace" if minor >= 9 else "ampere"
    return _FAMILIES.get(major, "undefined")
