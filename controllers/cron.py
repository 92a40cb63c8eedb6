"""Cron schedules: "*/5 9-17 * * MON-FRI", "@hourly", "@every 1h30m", and the moments they name.

Who calls it: `controllers.cronjob`. The calendar is croniter's; this file alone knows it, and decides what a time zone does to
it. Invariant: pure; a moment that a change to summer time skips is not made up, one that its end repeats comes twice.
Upstream: github.com/robfig/cron/v3 (ParseStandard), which CronJob uses. The API server has checked the text, in its words.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

_EVERY = re.compile(r"@every ((?:\d+(?:\.\d+)?(?:h|ms|us|ns|m|s))+)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_STANDARD = re.compile(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly)")
_ODD = re.compile(r"[^\w*?,/\- ]|(?<![A-Za-z])[LlWwHhRr](?![A-Za-z])")  # what croniter understands beyond cron


class Schedule(NamedTuple):
    """`expression` in five fields or as a name, read in `zone`; or every so many seconds."""

    expression: str
    zone: tzinfo
    every: float = 0.0

    def next_after(self, moment: datetime) -> datetime | None:
        """The first scheduled moment (UTC) after `moment`; None when there is none within years."""
        from croniter import CroniterBadDateError, croniter  # a tenth of a second, which only a CronJob is worth

        if self.every:
            return (moment + timedelta(seconds=self.every)).replace(microsecond=0).astimezone(UTC)
        start, offset = moment.astimezone(UTC), self._offset(moment + timedelta(seconds=1))
        while True:  # once per change of the zone's offset; in between, local time goes on evenly
            local = (start + offset).replace(tzinfo=None)
            try:
                wanted: datetime = croniter(self.expression, local, ret_type=datetime).get_next()
            except CroniterBadDateError:
                return None
            found = wanted.replace(tzinfo=UTC) - offset
            change = self._change(start, found)
            if change is None:
                return found
            start, offset = change - timedelta(seconds=1), self._offset(change)

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self.zone).utcoffset() or timedelta()

    def _change(self, start: datetime, end: datetime) -> datetime | None:
        """The first second after `start`, at most `end`, at which the zone has another offset than right after `start`."""
        before = start.replace(microsecond=0) + timedelta(seconds=1)
        offset, day = self._offset(before), timedelta(days=1)
        while before < end and self._offset(min(before + day, end)) == offset:
            before += day
        if before >= end:
            return None
        after = min(before + day, end)
        while after - before > timedelta(seconds=1):
            middle = (before + (after - before) / 2).replace(microsecond=0)
            before, after = (middle, after) if self._offset(middle) == offset else (before, middle)
        return after


def parse(text: str, zone: tzinfo = UTC) -> Schedule:
    """A schedule of five fields, or a name such as "@daily". Raises ValueError with a sentence."""
    from croniter import CroniterError, croniter

    text = text.strip()
    if every := _EVERY.fullmatch(text):
        parts = re.findall(r"([\d.]+)(h|ms|us|ns|m|s)", every.group(1))
        return Schedule(text, zone, max(1.0, sum(float(number) * _UNITS[unit] for number, unit in parts)))
    if not _STANDARD.fullmatch(text) and len(text.split()) != 5:
        raise ValueError(f"{text!r} is not a schedule: it needs five fields, minute hour day month weekday")
    expression = text.replace("?", "*")
    try:
        if _ODD.search(expression.removeprefix("@")):
            raise ValueError("it is not plain cron")
        croniter(expression)
    except (CroniterError, ValueError, KeyError) as error:
        raise ValueError(f"{text!r} is not a schedule: {error}") from error
    if any(int(first) > int(last) for first, last in re.findall(r"(\d+)-(\d+)", expression)):
        raise ValueError(f"{text!r} is not a schedule: a range ends before it begins")
    return Schedule(expression, zone)
