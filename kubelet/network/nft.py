"""Rulesets -> nftables: the smallest transaction that turns one table state into another, and the `nft` command itself
(changes of Services go past it where they can: nfnetlink.py).

Who calls it: proxy.py (Service tables), policy_agent.py, partition.py.
Invariant: every change is one atomic transaction of our own table: packets see the old rules or the new ones; no other table
is named. Running connections keep what was decided for them.
`State` is what is known to be in the kernel; it can be read back, so a restarted proxy continues where the last one stopped.
Upstream: sigs.k8s.io/knftables.
"""

import fcntl
import json
import logging
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kubelet.network import nfnetlink
from kubelet.network.netlink import Socket
from kubelet.network.rules import Ruleset

log = logging.getLogger(__name__)
K = TypeVar("K")
V = TypeVar("V")


class NftError(Exception):
    """nft refused a transaction (nothing was changed), or is not there; one sentence."""


@dataclass(frozen=True)
class State:
    """The changing part of a table as names and elements (chain names carry their content's digest)."""

    chains: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    elements: dict[tuple[str, str], str] = field(default_factory=dict)


class Table:
    """One table in the kernel and what we know of it. Not thread-safe."""

    def __init__(self, *, take_over: bool = False) -> None:
        """In: `take_over` continues from what the kernel holds; else the first `apply` replaces the table, atomically too."""
        self._take_over = take_over
        self._applied: Ruleset | None = None
        self._removed = False
        self._kernel: Socket | None = None

    def apply(self, wanted: Ruleset, *, check: bool = False) -> str:
        """Make the kernel's table this one. In: `check` looks whether it is still there. Out: the transaction that was run.

        Raises NftError; the table is then as before, and the next call starts from scratch.
        """
        if check and self._applied is not None and not self.intact():
            log.warning("nftables table %s was changed by somebody else; writing it again", wanted.table)
            self._applied = None
        before, self._applied = self._applied, None
        if before is None:
            text = transaction(read_back(wanted) if self._take_over else None, wanted)
        else:
            text = transaction(state_of(before), wanted, base=before.base != wanted.base)
        try:
            run(text)
        except NftError as error:
            log.info("%s; replacing table %s as a whole", error, wanted.table)
            text = transaction(None, wanted)
            run(text)
        self._applied, self._removed = wanted, False
        return text

    def intact(self) -> bool:
        """Whether the kernel still has what was applied last, by a cheap look: whoever flushes tables takes their hooks too."""
        return self._applied is not None and intact(self._applied)

    def change(self, before: State, after: Ruleset, whole: Callable[[], Ruleset]) -> str:
        """Replace a part of the table: what it has of it, what it shall have. In: `whole` is the complete table, asked for only
        where the part alone will not do. Out and raises as `apply`."""
        held = self._applied
        if held is None:
            return self.apply(whole())
        text = transaction(before, after, base=False)
        try:
            self._run(text)
        except NftError as error:
            log.info("%s; applying the whole of table %s", error, after.table)
            self._applied = None
            return self.apply(whole())
        _replace(held.chains, before.chains, after.chains)
        _replace(held.sets, before.sets, after.sets)
        _replace(held.elements, before.elements, after.elements)
        return text

    def _run(self, commands: str) -> None:
        """As `run`, past the program where that can be: without reading all tables of the host, and without the lock."""
        batch = nfnetlink.encode(commands)
        if batch is None:
            run(commands)
        elif batch:
            try:
                self._kernel = self._kernel or nfnetlink.opened()
                nfnetlink.apply(self._kernel, batch)
            except OSError as error:
                raise NftError(f"the kernel refused a transaction: {error.strerror}") from None

    def remove(self, name: str) -> None:
        """There shall be no such table."""
        if not self._removed:
            delete_table(name)
            self._applied, self._removed = None, True


def _replace(held: dict[K, V], gone: Iterable[K], come: Mapping[K, V]) -> None:
    for key in gone:
        held.pop(key, None)
    held.update(come)


def state_of(ruleset: Ruleset) -> State:
    return State(frozenset(ruleset.chains), frozenset(ruleset.sets), dict(ruleset.elements))


def transaction(old: State | None, new: Ruleset, *, base: bool = True) -> str:
    """The commands that bring the table from `old` to `new`. In: `old` None throws away what is there; `base` False leaves
    out the chains with hooks, for a table known to have them. Out: "" when there is nothing to do."""
    table = f"ip {new.table}"
    lines: list[str] = []
    if old is None:
        lines += [f"add table {table}", f"delete table {table}"]
    if base or old is None:
        lines += _base(new, table)
    known = old or State()
    lines += [_declare(table, name, new.sets[name]) for name in sorted(set(new.sets) - known.sets)]
    fresh = sorted(set(new.chains) - known.chains)
    lines += [f"add chain {table} {name}" for name in fresh]
    lines += [f"add rule {table} {name} {rule}" for name in fresh for rule in new.chains[name]]
    gone = [key for key, verdict in known.elements.items() if new.elements.get(key) != verdict]
    added = [key for key, verdict in new.elements.items() if known.elements.get(key) != verdict]
    lines += _elements("delete", table, gone, {})
    lines += _elements("add", table, added, new.elements)
    stale = sorted(known.chains - set(new.chains))
    lines += [f"flush chain {table} {name}" for name in stale]
    lines += [f"delete chain {table} {name}" for name in stale]
    lines += [f"delete set {table} {name}" for name in sorted(known.sets - set(new.sets))]
    return "".join(f"{line}\n" for line in lines)


def _base(new: Ruleset, table: str) -> list[str]:
    lines = [f"add table {table}"]
    lines += [_declare(table, name, spec) for name, spec in new.maps.items()]
    for name, (hook, rules) in new.base.items():
        lines += [f"add chain {table} {name} {{ {hook} }}", f"flush chain {table} {name}"]
        lines += [f"add rule {table} {name} {rule}" for rule in rules]
    return lines


def _declare(table: str, name: str, spec: str) -> str:
    kind, _, body = spec.partition(" ")
    return f"add {kind} {table} {name} {body}"


def _elements(verb: str, table: str, keys: list[tuple[str, str]], verdicts: dict[tuple[str, str], str]) -> list[str]:
    by_map: dict[str, list[str]] = defaultdict(list)
    for key in sorted(keys):
        verdict = verdicts.get(key, "")
        by_map[key[0]].append(f"{key[1]} : {verdict}" if verdict else key[1])
    return [f"{verb} element {table} {name} {{ {', '.join(entries)} }}" for name, entries in by_map.items()]


def read_back(new: Ruleset) -> State | None:
    """What the kernel holds of this table now; None when there is no such table or it is not of our making."""
    try:
        listed = _listed("chains", "ip")
        chains = {c["name"] for c in listed if c.get("kind") == "chain" and c["table"] == new.table and "hook" not in c}
        sets = {s["name"] for s in _listed("-t", "sets", "ip") if s.get("kind") == "set" and s["table"] == new.table}
        elements: dict[tuple[str, str], str] = {}
        for name, spec in new.maps.items():
            for entry in _listed(spec.partition(" ")[0], "ip", new.table, name):
                elements |= {(name, key): verdict for key, verdict in _entries(entry.get("elem") or [])}
    except NftError:
        return None
    return State(frozenset(chains), frozenset(sets - set(new.maps)), elements)


def intact(new: Ruleset) -> bool:
    """Whether the table's first chain with a hook still has its rules (somebody may have flushed the whole ruleset)."""
    name, (_, rules) = next(iter(new.base.items()))
    try:
        return len([o for o in _listed("chain", "ip", new.table, name) if o.get("kind") == "rule"]) == len(rules)
    except NftError:
        return False


def _entries(elements: list[Any]) -> list[tuple[str, str]]:
    found = []
    for element in elements:
        key, verdict = element, ""
        if isinstance(element, list):  # [key, value] of a map
            key, value = element
            verdict = f"goto {value['goto']['target']}" if "goto" in value else " . ".join(map(str, value["concat"]))
        parts = key["concat"] if isinstance(key, dict) and "concat" in key else [key]
        found.append((" . ".join(str(part) for part in parts), verdict))
    return found


def tables() -> list[str]:
    """The names of all tables of family ip."""
    return [t["name"] for t in _listed("tables", "ip") if t.get("kind") == "table"]


def chains_named(table: str, prefix: str) -> list[str]:
    """What follows `prefix` in the names of the table's chains, sorted."""
    names = [c["name"] for c in _listed("chains", "ip") if c.get("kind") == "chain" and c["table"] == table]
    return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def delete_table(name: str) -> None:
    """Remove one table with all it holds; no error when there is none."""
    run(f"add table ip {name}\ndelete table ip {name}\n")


def _listed(*what: str) -> list[dict[str, Any]]:
    options = [word for word in what if word.startswith("-")]
    command = ["nft", "-j", *options, "list", *(word for word in what if not word.startswith("-"))]
    objects = json.loads(_call(command, "") or "{}").get("nftables", [])
    return [{"kind": kind, **body} for entry in objects for kind, body in entry.items()]


def run(commands: str) -> None:
    """Apply the commands as one transaction. Raises NftError with nft's own words."""
    if not commands:
        return
    # nft reads every table of the host first, and again when somebody changed one meanwhile: nodes that share a machine and
    # follow the same change would keep each other reading. The program's own file is the lock: nothing is left over.
    with Path(shutil.which("nft") or os.devnull).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _call(["nft", "-f", "-"], commands)


def _call(command: list[str], stdin: str) -> str:
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise NftError("nft is not installed: apt-get install nftables") from None
    except subprocess.TimeoutExpired:
        raise NftError("nft did not finish within 60 s") from None
    if done.returncode:
        raise NftError(f"nft: {done.stderr.strip().splitlines()[0] if done.stderr.strip() else 'failed'}")
    return done.stdout
