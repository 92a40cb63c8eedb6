"""Cron schedules: "*/5 9-17 * * MON-FRI", "@hourly", "@every 1h30m", and the moments they name.

Who calls it: `controllers.cronjob`. The calendar is croniter's; this file alone knows it, and decides what a time zone does to
it. Invariant: pure; a moment that a change to summer time skips is not made up, one that it repeats counts once.
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
        following = croniter(self.expression, moment.astimezone(self.zone).replace(tzinfo=None), ret_type=datetime)
        while True:
            try:
                local: datetime = following.get_next()
            except CroniterBadDateError:
                return None
            found = local.replace(tzinfo=self.zone).astimezone(UTC)
            if found > moment and found.astimezone(self.zone).replace(tzinfo=None) == local:
                return found


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
