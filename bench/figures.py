"""What a measurement returns, how it is shown, and the JSON file it ends in.

Who uses it: every measurement, and __main__.py. Invariant: a figure without a value says why in its note; ratios are written
so that above 1 always means that the first target is the better one.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click


class Figure(NamedTuple):
    """One measured number. `better` is "lower" or "higher"; `value` None = not measured, the note says why."""

    name: str
    value: float | None
    unit: str
    better: str = "lower"
    note: str = ""


def missing(name: str, why: str) -> Figure:
    """A figure that could not be measured here."""
    return Figure(name, None, "", note=why)


def seconds(name: str, samples: Sequence[float], note: str = "") -> list[Figure]:
    """Median and worst of repeated durations."""
    ordered = sorted(samples)
    middle, more = ordered[len(ordered) // 2], f"of {len(ordered)}"
    found = [Figure(name, middle, "s", note=f"median {more}" + (f"; {note}" if note else ""))]
    return [*found, Figure(f"{name}, slowest", ordered[-1], "s", note=more)] if len(ordered) > 1 else found


Results = Mapping[str, Sequence[Figure]]
"""Target name → its figures."""


def ratio(ours: Figure, other: Figure) -> float | None:
    """How many times better ours is."""
    if not ours.value or not other.value:
        return None
    return ours.value / other.value if ours.better == "higher" else other.value / ours.value


def _shown(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    digits = 0 if abs(figure.value) >= 100 else 2 if abs(figure.value) >= 1 else 3
    return f"{figure.value:,.{digits}f} {figure.unit}".rstrip()


def show(results: Results) -> None:
    """The table: one line per figure, one column per target, the ratio of the first two, the first target's note."""
    targets = list(results)
    by_target = {target: {figure.name: figure for figure in found} for target, found in results.items()}
    names = list(dict.fromkeys(figure.name for found in results.values() for figure in found))
    rows = [["FIGURE", *map(str.upper, targets), *(["TIMES BETTER"] if len(targets) > 1 else []), "NOTE"]]
    for name in names:
        found = [by_target[target].get(name) for target in targets]
        row = [name, *map(_shown, found)]
        if len(targets) > 1:
            first, second = found[0], found[1]
            times = ratio(first, second) if first and second else None
            row.append(f"{times:.2f}" if times is not None else "")
        rows.append([*row, next((f.note for f in found if f and f.note), "")])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:-1], widths[1:-1], strict=True)), row[-1]]
        click.echo("  ".join(cells).rstrip())


def save(path: Path, results: Results, about: Mapping[str, Any]) -> None:
    """Machine, time and every figure as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figures = {target: [figure._asdict() for figure in found] for target, found in results.items()}
    path.write_text(json.dumps({**about, "results": figures}, indent=2) + "\n")
