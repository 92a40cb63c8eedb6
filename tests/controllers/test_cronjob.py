"""CronJobs and their schedules."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers import cron
from controllers.cronjob import latest_due
from minikube_py.api.clock import REAL, rfc3339
from minikube_py.api.gvr import CRONJOBS, JOBS, new_object
from minikube_py.api.meta import controller_of, name_of
from minikube_py.api.types import Obj
from minikube_py.client.rest import Client
from tests.controllers.play import CountingClient, running
from tests.harness import eventually

MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
ALLOWED = {
    "*/7": range(0, 60, 7), "3": (3,), "0-20/5": range(0, 21, 5), "1,30": (1, 30), "*": range(60),
    "* h": range(24), "4 h": (4,), "9-17 h": range(9, 18), "* d": range(7), "MON-FRI d": range(1, 6), "0,6 d": (0, 6),
}  # fmt: skip
FIELDS = ("*/7", "3", "0-20/5", "1,30", "*")


@given(MOMENTS, st.sampled_from(FIELDS), st.sampled_from(("*", "4", "9-17")), st.sampled_from(("*", "MON-FRI", "0,6")))
def test_the_next_moment_is_the_first_that_matches(moment: datetime, minute: str, hour: str, weekday: str) -> None:
    schedule = cron.parse(f"{minute} {hour} * * {weekday}")
    found = schedule.next_after(moment)
    assert found is not None and found > moment
    minutes, hours, days = ALLOWED[minute], ALLOWED[f"{hour} h"], ALLOWED[f"{weekday} d"]
    step = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while not (step.minute in minutes and step.hour in hours and step.isoweekday() % 7 in days):
        step += timedelta(minutes=1)
    assert found == step


def test_particular_schedules() -> None:
    def after(text: str, moment: str, zone: str = "UTC") -> str:
        found = cron.parse(text, ZoneInfo(zone)).next_after(datetime.fromisoformat(moment + "+00:00"))
        return found.strftime("%Y-%m-%dT%H:%M") if found else "never"

    assert after("0 0 29 2 *", "2025-01-01T00:00") == "2028-02-29T00:00"
    assert after("0 0 31 2 *", "2025-01-01T00:00") == "never"
    assert after("@hourly", "2025-01-01T23:59") == "2025-01-02T00:00"
    assert after("0 12 13 * FRI", "2025-06-01T00:00") == "2025-06-06T12:00", "either day is enough when both are given"
    assert after("0 0 */2 * MON", "2025-06-02T01:00") == "2025-06-03T00:00", "a star with a step is a restriction too"
    assert after("0 0 ? * *", "2025-06-02T01:00") == "2025-06-03T00:00"
    assert after("@every 1h30m", "2025-06-02T01:00") == "2025-06-02T02:30"
    assert after("0 9 * * *", "2025-06-01T00:00", "Europe/Berlin") == "2025-06-01T07:00"
    assert after("30 2 * * *", "2025-03-29T12:00", "Europe/Berlin") == "2025-03-31T00:30", (
        "2:30 did not exist on the 30th"
    )


_NEW_YORK = [  # as robfig/cron's own tests have them, and more; 2012: March 11 and November 4
    ("2012-03-11T00:00-05:00", "0 * * * *", ["01:00-05:00", "03:00-04:00", "04:00-04:00"]),
    ("2012-03-11T00:00-05:00", "30 2 11 3 *", ["2013-03-11T02:30-04:00"]),
    ("2012-11-04T00:00-04:00", "30 * * * *", ["00:30-04:00", "01:30-04:00", "01:30-05:00", "02:30-05:00"]),
    ("2012-11-04T00:00-04:00", "0 1 * * *", ["01:00-04:00", "01:00-05:00", "2012-11-05T01:00-05:00"]),
    ("2012-11-04T00:00-04:00", "0 2 * * *", ["02:00-05:00", "2012-11-05T02:00-05:00"]),
    ("2012-11-04T01:30-04:00", "*/30 1 * * *", ["01:00-05:00", "01:30-05:00", "2012-11-05T01:00-05:00"]),
    ("2012-02-01T00:00-05:00", "30 1 4 11 *", ["2012-11-04T01:30-04:00", "2012-11-04T01:30-05:00", "2013-11-04T01:30-05:00"]),
    ("2015-10-31T00:00-04:00", "30 1 1 11 *", ["2015-11-01T01:30-04:00", "2015-11-01T01:30-05:00", "2016-11-01T01:30-04:00"]),
]  # fmt: skip


@pytest.mark.parametrize(("moment", "text", "wanted"), _NEW_YORK)
def test_local_time_that_is_skipped_or_comes_twice(moment: str, text: str, wanted: list[str]) -> None:
    zone = ZoneInfo("America/New_York")
    schedule, after = cron.parse(text, zone), datetime.fromisoformat(moment)
    for one in wanted:
        found = schedule.next_after(after)
        assert found is not None
        assert found == datetime.fromisoformat(one if "T" in one else f"{moment[:11]}{one}"), found.astimezone(zone)
        after = found


@given(MOMENTS, st.sampled_from(FIELDS), st.sampled_from(("*", "1", "2-3")))
def test_in_a_zone_it_is_the_first_moment_whose_local_time_matches(moment: datetime, minute: str, hour: str) -> None:
    zone = ZoneInfo("Australia/Lord_Howe")  # by half an hour
    found = cron.parse(f"{minute} {hour} * * *", zone).next_after(moment)
    assert found is not None and found > moment
    hours = {"*": range(24), "1": (1,), "2-3": (2, 3)}[hour]
    step = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while not ((local := step.astimezone(zone)).minute in ALLOWED[minute] and local.hour in hours):
        step += timedelta(minutes=1)
    assert found == step


@pytest.mark.parametrize(
    "text", ["", "* * * *", "60 * * * *", "a * * * *", "*/0 * * * *", "5-1 * * * *", "@never", "0 0 L * *", "H * * * *"]
)
def test_wrong_schedules_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not"):
        cron.parse(text)


@settings(deadline=None)
@given(st.integers(0, 100_000), st.sampled_from(["* * * * *", "*/5 * * * *", "0 3 * * *", "0 0 1 1 *"]))
def test_the_latest_due_moment(minutes_ago: int, text: str) -> None:
    now, schedule = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC), cron.parse(text)
    begin = now - timedelta(minutes=minutes_ago)
    found = {"metadata": {"creationTimestamp": rfc3339(begin)}, "spec": {}}
    latest, missed = latest_due(found, {}, schedule, now)
    following = schedule.next_after(latest or begin)
    assert following is not None and following > now, "none later has come"
    assert (latest is None) == (missed == 0) and (latest is None or begin < latest <= now)


def _cron(client: Client, namespace: str, **spec: Any) -> Obj:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1"}]}}
    spec = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}, **spec}
    return client.create(CRONJOBS, new_object(CRONJOBS, "tick", namespace, spec=spec))


def _ago(client: Client, namespace: str, seconds: int) -> None:
    """Pretend the last run was that long ago."""
    moment = rfc3339(REAL.now() - timedelta(seconds=seconds))
    client.patch(CRONJOBS, "tick", {"status": {"lastScheduleTime": moment}}, namespace, subresource="status")


def _jobs(client: Client, namespace: str) -> list[Obj]:
    found: list[Obj] = client.list(JOBS, namespace)["items"]
    return found


def _finish(client: Client, namespace: str, name: str) -> None:
    now = rfc3339(REAL.now())
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status = {"startTime": now, "completionTime": now, "succeeded": 1, "conditions": conditions}
    client.patch(JOBS, name, {"status": status}, namespace, subresource="status")


def test_a_missed_moment_makes_one_job(client: Client, namespace: str) -> None:
    counting = CountingClient(client)
    with running(counting, "cronjob"):
        made = _cron(client, namespace, schedule="0 0 1 1 *")
        time.sleep(0.5)
        assert _jobs(client, namespace) == []
        _ago(client, namespace, 400 * 24 * 3600)
        [job] = eventually(lambda: _jobs(client, namespace))
        owner = controller_of(job)
        assert owner is not None and owner["uid"] == made["metadata"]["uid"]
        status = eventually(lambda: (s := client.get(CRONJOBS, "tick", namespace)["status"]).get("active") and s)
        assert [ref["name"] for ref in status["active"]] == [name_of(job)]
        assert status["lastScheduleTime"].endswith("-01-01T00:00:00Z")
        _finish(client, namespace, name_of(job))
        eventually(lambda: not client.get(CRONJOBS, "tick", namespace)["status"].get("active"))
        assert client.get(CRONJOBS, "tick", namespace)["status"]["lastSuccessfulTime"]
        time.sleep(0.5)
        before = len(counting.writes)
        time.sleep(1)
        assert len(_jobs(client, namespace)) == 1 and counting.writes[before:] == []


def test_forbid_replace_suspend_and_history(client: Client, namespace: str) -> None:
    yearly = {"schedule": "0 0 1 1 *", "successfulJobsHistoryLimit": 1}
    with running(client, "cronjob"):
        _cron(client, namespace, concurrencyPolicy="Forbid", **yearly)
        _ago(client, namespace, 400 * 24 * 3600)
        [first] = eventually(lambda: _jobs(client, namespace))
        eventually(lambda: client.get(CRONJOBS, "tick", namespace)["status"].get("active"))
        client.patch(CRONJOBS, "tick", {"spec": {"schedule": "* * * * *", "concurrencyPolicy": "Forbid"}}, namespace)
        _ago(client, namespace, 90)
        time.sleep(1)
        assert [name_of(job) for job in _jobs(client, namespace)] == [name_of(first)], "the first still runs"
        client.patch(CRONJOBS, "tick", {"spec": {"concurrencyPolicy": "Replace"}}, namespace)
        eventually(lambda: (jobs := _jobs(client, namespace)) and len(jobs) == 1 and name_of(jobs[0]) != name_of(first))
        client.patch(CRONJOBS, "tick", {"spec": {"suspend": True, "concurrencyPolicy": "Allow"}}, namespace)
        _ago(client, namespace, 90)
        _finish(client, namespace, name_of(_jobs(client, namespace)[0]))
        time.sleep(1)
        assert len(_jobs(client, namespace)) == 1


def test_it_never_sleeps_through_a_clock_that_is_set(client: Client, namespace: str) -> None:
    spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1"}]}}}}}  # fmt: skip
    client.create(CRONJOBS, new_object(CRONJOBS, "yearly", namespace, spec=spec))
    with running(client, "cronjob") as [controller]:
        eventually(lambda: controller.reconciler.crons.get(namespace, "yearly"))  # type: ignore[attr-defined]
        assert 0 < (controller.reconciler.reconcile(f"{namespace}/yearly") or 0) <= 30
