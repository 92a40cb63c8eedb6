"""Every student's own names, ports and secrets: drawn from a seed, so that copied answers do not fit.

Who calls it: the CLI, grading, self-test. Invariants: the same key, student and lab give the same values for ever; no value
equals the default of its kind or another value of the same lab, so that a checker never takes one for the other.

`lab.yaml` says how each is drawn, one of:
  {name: PREFIX}               PREFIX-<word>-<3 digits>: a DNS label
  {word: true}                 one word
  {words: N}                   N words with spaces between
  {token: N}                   N lower-case letters and digits
  {integer: [LOW, HIGH]}       both included
  {choice: [a, b, c]}
each with an optional `default`, a value that is never drawn.
"""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minikube_py.cluster import profile as profiles
from minikube_py.labkit.errors import LabError

Params = dict[str, str | int]

_ATTEMPTS = 1000
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_WORDS = (
    "amber", "badger", "basalt", "birch", "cedar", "cobalt", "comet", "coral", "crane", "delta", "ember", "falcon",
    "fern", "flint", "garnet", "glacier", "harbor", "hazel", "heron", "indigo", "jasper", "juniper", "kestrel", "lagoon",
    "larch", "lynx", "maple", "marlin", "meadow", "nectar", "ochre", "onyx", "orchid", "osprey", "otter", "pebble",
    "plover", "quartz", "raven", "reef", "saffron", "sequoia", "sorrel", "tundra", "umber", "violet", "walnut", "willow",
)  # fmt: skip
_PLACE = re.compile(r"\{\{ *([a-z_]+) *\}\}")


def local_key() -> bytes:
    """This machine's course key for self-study, made on first use."""
    file = profiles.home() / "labs" / "key"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = file.with_name(f".key.{os.getpid()}")
        temporary.touch(mode=0o600)
        temporary.write_bytes(secrets.token_hex(32).encode())
        with contextlib.suppress(FileExistsError):  # the first of several processes wins
            os.link(temporary, file)
        temporary.unlink()
    return file.read_bytes()


def seed(key: bytes, student: str, lab: str) -> str:
    """64 hex digits that follow from the course key, the student and the lab."""
    return hmac.new(key, f"{student}\0{lab}".encode(), hashlib.sha256).hexdigest()


def draw(table: Mapping[str, Mapping[str, Any]], seed: str) -> Params:
    """The values of all parameters. Raises LabError for a rule that is none or leaves nothing to draw."""
    drawn: Params = {}
    for name, rule in table.items():
        for attempt in range(_ATTEMPTS):
            value = _value(name, rule, _Bits(f"{seed}/{name}/{attempt}"))
            if value != rule.get("default") and value not in drawn.values():
                drawn[name] = value
                break
        else:
            raise LabError(f"parameter {name}: nothing is left to draw from {dict(rule)}")
    return drawn


def render(template: str, params: Params) -> str:
    """The template with each {{ name }} replaced. Raises LabError for a name that is no parameter."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in params:
            raise LabError(f"{match[0]} is no parameter (there are: {', '.join(params)})")
        return str(params[match[1]])

    return _PLACE.sub(value, template)


def render_tree(source: Path, target: Path, params: Params) -> None:
    """Copy a directory's files, rendered; later calls overlay earlier ones. Caches and expect.yaml stay behind."""
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        if "__pycache__" in file.parts or file.name == "expect.yaml":
            continue
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(render(file.read_text(), params))
        place.chmod(0o755 if file.suffix == ".sh" else 0o644)


class _Bits:
    """An endless stream of numbers from one text."""

    def __init__(self, text: str) -> None:
        self._text, self._used = text, 0

    def below(self, bound: int) -> int:
        self._used += 1
        digest = hashlib.sha256(f"{self._text}/{self._used}".encode()).digest()
        return int.from_bytes(digest, "big") % bound

    def word(self) -> str:
        return _WORDS[self.below(len(_WORDS))]


def _value(name: str, rule: Mapping[str, Any], bits: _Bits) -> str | int:
    match rule:
        case {"name": str(prefix)}:
            return f"{prefix}-{bits.word()}-{bits.below(900) + 100}"
        case {"word": True}:
            return bits.word()
        case {"words": int(count)} if count > 0:
            return " ".join(bits.word() for _ in range(count))
        case {"token": int(length)} if length > 0:
            return "".join(_LETTERS[bits.below(len(_LETTERS))] for _ in range(length))
        case {"integer": [int(low), int(high)]} if low <= high:
            return low + bits.below(high - low + 1)
        case {"choice": [_, *_] as choices} if all(isinstance(one, str | int) for one in choices):
            chosen: str | int = choices[bits.below(len(choices))]
            return chosen
    raise LabError(f"parameter {name}: {dict(rule)} is no rule (name, word, words, token, integer or choice)")
