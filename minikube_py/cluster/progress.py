"""Showing long work as it happens: one line per phase, with how long it took, remembered for the summary and `make bench`.

Who uses it: up, down and node commands. Invariant: on a terminal a running phase shows a moving line; in a pipe or log
each phase is printed once, when it ends.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

_SPIN = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_WIDTH = 44


class Progress:
    """The phases of one command. `phases` maps each one's name to its seconds."""

    def __init__(self, quiet: bool = False) -> None:
        self.phases: dict[str, float] = {}
        self.quiet = quiet
        self._detail = ""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the block as one phase; a failure marks its line and passes on."""
        self._detail, start, done = "", time.monotonic(), threading.Event()
        animation = threading.Thread(target=self._animate, args=(name, start, done), daemon=True, name="progress")
        if not self.quiet and sys.stdout.isatty():
            animation.start()
        ok = False
        try:
            yield
            ok = True
        finally:
            done.set()
            if animation.ident:
                animation.join()
            self.phases[name] = time.monotonic() - start
            self._line(
                click.style("✓", fg="green") if ok else click.style("✗", fg="red"), name, self.phases[name], "\n"
            )

    def detail(self, text: str) -> None:
        """What the running phase is busy with right now."""
        self._detail = text

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.phases, indent=2))

    def _animate(self, name: str, start: float, done: threading.Event) -> None:
        turn = 0
        while not done.wait(0.1):
            self._line(click.style(_SPIN[turn % len(_SPIN)], fg="cyan"), name, time.monotonic() - start, "")
            turn += 1

    def _line(self, mark: str, name: str, seconds: float, end: str) -> None:
        if self.quiet:
            return
        shown = f"{name} ({self._detail})" if self._detail and not end else name
        start = "\r\033[K" if sys.stdout.isatty() else ""
        click.echo(f"{start} {mark} {shown:<{_WIDTH}} {seconds:6.2f} s{end}", nl=False)
