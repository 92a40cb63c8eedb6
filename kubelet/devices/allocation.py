"""Which devices a container gets. Pure.

Who calls it: `manager`, holding its lock. Invariant: the answer has exactly the asked number, holds only healthy devices that
are not in use, and reuses what the pod's earlier init containers had before it takes anything fresh.
Upstream: devicesToAllocate in pkg/kubelet/cm/devicemanager/manager.go.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

Prefer = Callable[[Collection[str], Collection[str], int], Collection[str]]


class Refused(Exception):
    """No such set of devices; upstream's message."""


def choose(
    resource: str, needed: int, healthy: Collection[str], in_use: Collection[str], *, reusable: Iterable[str] = (),
    numa: Mapping[str, int] | None = None, hint: Collection[int] | None = None, prefer: Prefer | None = None,
) -> set[str]:  # fmt: skip
    """Pick `needed` device ids.

    In: `reusable` the pod may take over from its init containers; `numa` device -> NUMA node (-1 none); `hint` the NUMA nodes
    the topology manager settled on, None = it has no opinion; `prefer(available, must_include, size)` asks the plugin.
    Raises Refused.
    """
    if not healthy:
        raise Refused(f"no healthy devices present; cannot allocate unhealthy devices {resource}")
    again = list(reusable)
    if set(again) - set(healthy):
        raise Refused(
            f"previously allocated devices are no longer healthy; cannot allocate unhealthy devices {resource}"
        )
    taken = set(sorted(again)[:needed])
    missing = needed - len(taken)
    if not missing:
        return taken
    available = set(healthy) - set(in_use) - taken
    if len(available) < missing:
        raise Refused(
            f"requested number of devices unavailable for {resource}. Requested: {missing}, Available: {len(available)}"
        )
    aligned, unaligned, indifferent = _split(available, numa or {}, hint)
    if missing < len(aligned):
        _take(taken, _preferred(prefer, aligned | taken, taken, needed) & aligned, needed)
        _take(taken, aligned, needed)
        return taken
    _take(taken, aligned, needed)
    _take(taken, _preferred(prefer, available | taken, taken, needed) & available, needed)
    _take(taken, unaligned, needed)
    _take(taken, indifferent, needed)
    return taken


def _split(
    available: set[str], numa: Mapping[str, int], hint: Collection[int] | None
) -> tuple[set[str], set[str], set[str]]:
    """(on a hinted NUMA node, on another one, on none); without a hint every device is indifferent."""
    if hint is None:
        return set(), set(), available
    indifferent = {device for device in available if numa.get(device, -1) < 0}
    aligned = {device for device in available - indifferent if numa[device] in hint}
    return aligned, available - indifferent - aligned, indifferent


def _take(taken: set[str], source: Iterable[str], needed: int) -> None:
    for device in sorted(set(source) - taken):
        if len(taken) == needed:
            return
        taken.add(device)


def _preferred(prefer: Prefer | None, available: set[str], must: set[str], size: int) -> set[str]:
    """The plugin's advice; one that has none, or fails, gives none."""
    return set(prefer(available, sorted(must), size)) if prefer is not None and len(must) < size else set()
