"""Moments as the API writes them."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from minikube_py.api.clock import parse_rfc3339, rfc3339, rfc3339_micro


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_moment_is_written_with_four_digits_of_year_and_read_back(moment: datetime) -> None:
    assert len(rfc3339(moment)) == len("2026-01-02T03:04:05Z")
    assert len(rfc3339_micro(moment)) == len("2026-01-02T03:04:05.000000Z")
    assert parse_rfc3339(rfc3339_micro(moment)) == moment
    assert parse_rfc3339(rfc3339(moment)) == moment.replace(microsecond=0)


def test_the_first_year() -> None:
    assert rfc3339_micro(datetime.min.replace(tzinfo=UTC) + timedelta(seconds=2)) == "0001-01-01T00:00:02.000000Z"
