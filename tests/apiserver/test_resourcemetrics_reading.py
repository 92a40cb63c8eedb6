"""Two looks at a node's counters, and what they say about the time between."""

from hypothesis import given
from hypothesis import strategies as st

from apiserver.resourcemetrics.reading import NODE, Reading, Sample, parse, used

PLACE = ("default", "web", "main")
TEXT = """# HELP node_cpu_usage_seconds_total Cumulative cpu time
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 12.5 1700000000500
node_memory_working_set_bytes 1048576 1700000000500
container_cpu_usage_seconds_total{container="main",namespace="default",pod="web"} 3.25 1700000000250
container_memory_working_set_bytes{container="main",namespace="default",pod="web"} 4.096e+06 1700000000250
container_start_time_seconds{container="main",namespace="default",pod="web"} 1.69999999e+09 1700000000250
pod_cpu_usage_seconds_total{namespace="default",pod="web"} 3.5 1700000000250
scrape_error 0
"""


def test_what_a_kubelet_says_is_understood() -> None:
    reading = parse(TEXT, 1.7e9)
    assert reading.samples[NODE] == Sample(12.5, 1048576, 1700000000.5)
    assert reading.samples[PLACE] == Sample(3.25, 4096000, 1700000000.25, 1699999990.0)
    assert set(reading.samples) == {NODE, PLACE}


def test_a_container_seen_once_is_measured_over_its_life() -> None:
    use = used(None, parse(TEXT, 1.7e9), PLACE)
    assert use is not None and use.window == 10.25 and use.cores == 3.25 / 10.25
    assert used(None, parse(TEXT, 1.7e9), NODE) is None
    assert used(None, parse(TEXT, 1.7e9), ("", "nobody", "")) is None


@given(st.floats(0, 1e6), st.floats(0, 1e4), st.floats(0.2, 100))
def test_the_average_of_the_time_between(before: float, more: float, seconds: float) -> None:
    def look(cpu: float, at: float) -> Reading:
        return Reading(at, {PLACE: Sample(cpu, 7, at, started=10.0)})

    use = used(look(before, 1000.0), look(before + more, 1000.0 + seconds), PLACE)
    assert use is not None and use.memory == 7
    assert abs(use.cores * use.window - more) < 1e-6 * (1 + before + more)


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0.2, 100), st.floats(0, 200))
def test_nothing_is_ever_negative(first: float, second: float, seconds: float, started: float) -> None:
    before = Reading(100.0, {PLACE: Sample(first, 1, 100.0, started)})
    after = Reading(100.0 + seconds, {PLACE: Sample(second, 1, 100.0 + seconds, started)})
    use = used(before, after, PLACE)
    assert use is None or (use.cores >= 0 and use.window > 0)
