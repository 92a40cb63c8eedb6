"""A table put together from parts, one per owner: what changes when one owner's part does. Pure.

Who calls it: proxy.py, whose owners are Services. Why: with a thousand Services a change of one must cost what one costs.
Invariant: the whole is the union of the parts; where two claim the same element (the same address and port), the owner first by
name has it, and the next one gets it when that one lets go. Chains and sets belong to one owner alone, by their names.
"""

from collections import defaultdict
from collections.abc import Mapping

from kubelet.network.nft import State
from kubelet.network.rules import Ruleset

Key = tuple[str, str]


class Layers:
    """The parts there are. Not thread-safe."""

    def __init__(self) -> None:
        self._parts: dict[str, Ruleset] = {}
        self._claims: dict[Key, dict[str, str]] = defaultdict(dict)  # element -> owner -> its value

    def owners(self) -> set[str]:
        return set(self._parts)

    def replace(self, changed: Mapping[str, Ruleset], table: str) -> tuple[State, Ruleset]:
        """Put these owners' parts in place of theirs; an empty part is none. Out: what the table had of them, and has now."""
        before, after = [self._parts[o] for o in changed if o in self._parts], Ruleset(table, {}, {})
        touched = {key for part in (*before, *changed.values()) for key in part.elements}
        held = {key: self._value(key) for key in touched if self._claims.get(key)}
        for owner, part in changed.items():
            for key in self._parts.pop(owner, part).elements:
                self._claims[key].pop(owner, None)
            if part.elements or part.chains:
                self._parts[owner] = part
                for key, value in part.elements.items():
                    self._claims[key][owner] = value
                after.chains |= part.chains
                after.sets |= part.sets
        for key in touched:
            if self._claims[key]:
                after.elements[key] = self._value(key)
            else:
                del self._claims[key]
        chains = frozenset(name for part in before for name in part.chains)
        return State(chains, frozenset(name for part in before for name in part.sets), held), after

    def whole(self, frame: Ruleset) -> Ruleset:
        """The complete table: the frame, whose elements win, and every part."""
        made = Ruleset(frame.table, frame.base, frame.maps, dict(frame.sets), dict(frame.chains))
        for part in self._parts.values():
            made.chains |= part.chains
            made.sets |= part.sets
        made.elements = {key: self._value(key) for key, claims in self._claims.items() if claims} | frame.elements
        return made

    def _value(self, key: Key) -> str:
        claims = self._claims[key]
        return claims[min(claims)]
