"""What is left of the counters that devices of a pool share, such as the memory of a card that can be partitioned.

Who calls it: the allocator. Invariant: a device is only let in when every counter it consumes stays at or above zero; devices
allocated already count, wherever they are.
Upstream: dynamic-resource-allocation/structured/internal/stable/allocator_stable.go (checkAvailableCounters).
"""

from collections.abc import Collection, Sequence
from decimal import Decimal

from controllers.scheduler.devices.pools import Device, DeviceID, Pool


class CounterBook:
    def __init__(self, pools: Sequence[Pool], taken: Collection[DeviceID]) -> None:
        self._left: dict[tuple[str, str], dict[tuple[str, str], Decimal]] = {}
        for pool in pools:
            if pool.counters:
                left = self._left[pool.driver, pool.name] = dict(pool.counters)
                for device in (*pool.devices, *pool.elsewhere):
                    if device.id in taken:
                        for counter, amount in device.consumes.items():
                            left[counter] -= amount

    def take(self, device: Device) -> bool:
        """Out: whether there is enough; only then is it taken."""
        if not device.consumes:
            return True
        left = self._left[device.id.driver, device.id.pool]
        if any(left[counter] < amount for counter, amount in device.consumes.items()):
            return False
        for counter, amount in device.consumes.items():
            left[counter] -= amount
        return True

    def give_back(self, device: Device) -> None:
        for counter, amount in device.consumes.items():
            self._left[device.id.driver, device.id.pool][counter] += amount
