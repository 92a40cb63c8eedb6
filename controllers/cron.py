"""Cron schedules: "*/5 9-17 * * MON-FRI", "@hourly", and the moments they name.

Who calls it: `controllers.cronjob`. Invariant: pure; a moment that a change to summer time skips is not made up, one that it
repeats counts once.
Upstream: github.com/robfig/cron/v3 (ParseStandard), which CronJob uses.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

_MACROS = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0", "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_MONTHS = {
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_HORIZON_DAYS = 366 * 5


class Schedule(NamedTuple):
    """The minutes, hours, days of month, months and days of week (0 = Sunday) a schedule allows; where it is read."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool  # of the month, and of the week: when both are restricted, either is enough
    any_weekday: bool
    zone: tzinfo

    def next_after(self, moment: datetime) -> datetime | None:
        """The first scheduled moment (UTC) after `moment`; None when there is none within five years."""
        local = moment.astimezone(self.zone).replace(second=0, microsecond=0)
        day, earliest = local.date(), (local.hour, local.minute)
        for _ in range(_HORIZON_DAYS):
            if self._allows(day.day, day.month, day.isoweekday() % 7):
                for hour in sorted(hour for hour in self.hours if hour >= earliest[0]):
                    for minute in sorted(minute for minute in self.minutes if (hour, minute) >= earliest):
                        found = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone).astimezone(UTC)
                        if found > moment and _exists(found, self.zone, hour, minute):
                            return found
            day, earliest = day + timedelta(days=1), (0, 0)
        return None

    def _allows(self, day: int, month: int, weekday: int) -> bool:
        if month not in self.months:
            return False
        in_month, in_week = day in self.days, weekday in self.weekdays
        return (in_month and in_week) if self.any_day or self.any_weekday else (in_month or in_week)


def _exists(found: datetime, zone: tzinfo, hour: int, minute: int) -> bool:
    back = found.astimezone(zone)
    return (back.hour, back.minute) == (hour, minute)


def parse(text: str, zone: tzinfo = UTC) -> Schedule:
    """A schedule of five fields, or a macro such as "@daily". Raises ValueError with a sentence."""
    fields = _MACROS.get(text.strip().lower(), text).split()
    if len(fields) != 5:
        raise ValueError(f"{text!r} is not a schedule: it needs five fields, minute hour day month weekday")
    minutes, hours, days = _field(fields[0], 0, 59), _field(fields[1], 0, 23), _field(fields[2], 1, 31)
    months, weekdays = _field(fields[3], 1, 12, _MONTHS), _field(fields[4], 0, 6, _DAYS)
    return Schedule(minutes, hours, days, months, weekdays, fields[2][0] in "*?", fields[4][0] in "*?", zone)


def _field(text: str, least: int, most: int, names: dict[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        if slash and (not step.isdigit() or int(step) == 0):
            raise ValueError(f"{part!r} has a wrong step")
        if span in ("*", "?"):
            first, last = least, most
        else:
            low, dash, high = span.partition("-")
            first = _number(low, names)
            last = _number(high, names) if dash else (most if slash else first)
        if not least <= first <= last <= most:
            raise ValueError(f"{part!r} is not within {least}-{most}")
        found.update(range(first, last + 1, int(step) if slash else 1))
    return frozenset(found)


def _number(text: str, names: dict[str, int] | None) -> int:
    known = (names or {}).get(text.lower())
    if known is not None:
        return known
    if not text.isdigit():
        raise ValueError(f"{text!r} is not a number")
    return int(text)
