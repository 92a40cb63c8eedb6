"""The graphics cards a description may name, with what NVML says of them. Data only.

Who reads it: gpu_file.py. Sources: `nvidia-smi -q` of the cards, NVIDIA's data sheets. Memory as NVML's total in MiB.
"""

from typing import NamedTuple


class Model(NamedTuple):
    """`name` as the driver prints it; `compute` is the CUDA compute capability, power in W; the rest are NVML's numbers."""

    name: str
    memory: int
    compute: tuple[int, int]
    architecture: int
    power: int
    pci_id: int
    brand: int = 14


MODELS: dict[str, Model] = {
    "P100-PCIE-16GB": Model("Tesla P100-PCIE-16GB", 16384, (6, 0), 4, 250, 0x15F810DE, 2),
    "V100-SXM2-16GB": Model("Tesla V100-SXM2-16GB", 16384, (7, 0), 5, 300, 0x1DB110DE, 2),
    "V100-SXM2-32GB": Model("Tesla V100-SXM2-32GB", 32768, (7, 0), 5, 300, 0x1DB510DE, 2),
    "T4": Model("Tesla T4", 15360, (7, 5), 6, 70, 0x1EB810DE, 2),
    "A10": Model("NVIDIA A10", 23028, (8, 6), 7, 150, 0x223610DE),
    "A30": Model("NVIDIA A30", 24576, (8, 0), 7, 165, 0x20B710DE),
    "A40": Model("NVIDIA A40", 46068, (8, 6), 7, 300, 0x223510DE),
    "A100-PCIE-40GB": Model("NVIDIA A100-PCIE-40GB", 40960, (8, 0), 7, 250, 0x20F110DE),
    "A100-SXM4-40GB": Model("NVIDIA A100-SXM4-40GB", 40960, (8, 0), 7, 400, 0x20B010DE),
    "A100-SXM4-80GB": Model("NVIDIA A100-SXM4-80GB", 81920, (8, 0), 7, 400, 0x20B210DE),
    "RTX-3090": Model("NVIDIA GeForce RTX 3090", 24576, (8, 6), 7, 350, 0x220410DE, 5),
    "RTX-4090": Model("NVIDIA GeForce RTX 4090", 24564, (8, 9), 8, 450, 0x268410DE, 5),
    "L4": Model("NVIDIA L4", 23034, (8, 9), 8, 72, 0x27B810DE),
    "L40S": Model("NVIDIA L40S", 46068, (8, 9), 8, 350, 0x26B910DE),
    "H100-PCIE": Model("NVIDIA H100 PCIe", 81559, (9, 0), 9, 350, 0x233110DE),
    "H100-80GB-HBM3": Model("NVIDIA H100 80GB HBM3", 81559, (9, 0), 9, 700, 0x233010DE),
    "H200": Model("NVIDIA H200", 143771, (9, 0), 9, 700, 0x233510DE),
    "B200": Model("NVIDIA B200", 183359, (10, 0), 10, 1000, 0x290110DE),
}
ALIASES = {
    "A100": "A100-SXM4-40GB", "A100-40GB": "A100-SXM4-40GB", "A100-80GB": "A100-SXM4-80GB", "H100": "H100-80GB-HBM3",
    "H100-SXM5-80GB": "H100-80GB-HBM3", "H100-80GB": "H100-80GB-HBM3", "V100": "V100-SXM2-16GB", "P100": "P100-PCIE-16GB",
}  # fmt: skip


def find(text: str) -> Model | None:
    """The model a user means: case, blanks and "NVIDIA" or "Tesla" in front do not matter."""
    key = text.strip().upper().replace(" ", "-").replace("_", "-")
    for prefix in ("NVIDIA-", "TESLA-", "GEFORCE-"):
        key = key.removeprefix(prefix)
    return MODELS.get(ALIASES.get(key, key))
