"""Choosing devices: properties over random situations, upstream's messages, a script of random pod lives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelet.devices.allocation import Refused, choose

IDS = [f"d{n}" for n in range(8)]
subsets = st.sets(st.sampled_from(IDS))


@given(subsets, subsets, subsets, st.integers(1, 8), st.none() | st.sets(st.integers(0, 2)), st.booleans())
def test_exactly_as_many_healthy_free_devices_as_asked(
    healthy: set[str], in_use: set[str], reusable: set[str], needed: int, hint: set[int] | None, bad_advice: bool
) -> None:
    numa = {device: int(device[1]) % 3 - 1 for device in IDS}

    def prefer(available: object, must: object, size: int) -> list[str]:
        return ["nonsense", *IDS] if bad_advice else sorted(available)[::-1][:size]  # type: ignore[call-overload]

    try:
        taken = choose("r", needed, healthy, in_use, reusable=reusable, numa=numa, hint=hint, prefer=prefer)
    except Refused as error:
        free = healthy - in_use - reusable
        assert not healthy or reusable - healthy or len(reusable) + len(free) < needed, error
        return
    assert len(taken) == needed
    assert taken <= healthy
    assert taken <= (healthy - in_use) | reusable
    assert taken <= reusable or reusable <= taken, "what can be reused is reused first"
    if hint is not None and not reusable:
        aligned = {d for d in healthy - in_use if numa[d] in hint}
        assert taken <= aligned or aligned <= taken, "devices on the wanted NUMA nodes first"


def test_messages() -> None:
    for expected, arguments in (
        ("no healthy devices present; cannot allocate unhealthy devices r", (1, set(), set(), set())),
        ("previously allocated devices are no longer healthy; cannot allocate unhealthy devices r", (1, {"a"}, set(), {"b"})),
        ("requested number of devices unavailable for r. Requested: 2, Available: 1", (2, {"a", "b"}, {"a"}, set())),
    ):  # fmt: skip
        needed, healthy, in_use, reusable = arguments
        with pytest.raises(Refused) as error:
            choose("r", needed, healthy, in_use, reusable=reusable)
        assert str(error.value) == expected


def test_the_plugins_advice_is_taken() -> None:
    taken = choose("r", 2, {"a", "b", "c", "d"}, {"d"}, prefer=lambda available, must, size: ["c", "d", "b"])
    assert taken == {"b", "c"}
