"""Go's duration texts ("1m30s"), as kubectl's flags take them, and ages as its tables print them.

Who uses it: the commands of this package. Upstream: time.ParseDuration; apimachinery/pkg/util/duration.
"""

import re
from datetime import UTC, datetime

import click

from minikube_py.api.clock import parse_rfc3339

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """ "1m30s" → 90. Raises UsageError."""
    if text in ("0", ""):
        return 0.0
    parts = re.findall(r"([0-9.]+)(ns|us|ms|s|m|h)", text.lstrip("-"))
    if not parts or "".join(number + unit for number, unit in parts) != text.lstrip("-"):
        raise click.UsageError(f'invalid duration "{text}": use forms such as 30s, 5m, 1h30m')
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return -total if text.startswith("-") else total


def age(timestamp: str | None) -> str:
    """How long ago an RFC 3339 moment was, short: "5s", "3m", "2h", "4d"."""
    if not timestamp:
        return "<unknown>"
    return short((datetime.now(UTC) - parse_rfc3339(timestamp)).total_seconds())


def short(total: float) -> str:
    """Seconds as a table shows them: two units while small, one when large."""
    whole = max(0, int(total))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y"
