"""The arithmetic of rollouts, for all inputs."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controllers import deployment_math as sizes
from controllers.deployment_revisions import annotations_for, newest, revision_of, template_hash
from minikube_py.api.types import Obj

INT_OR_PERCENT = st.integers(0, 40) | st.integers(0, 100).map(lambda n: f"{n}%")


def _deployment(replicas: int, surge: int | str, unavailable: int | str) -> Obj:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {
        "metadata": {"name": "d", "namespace": "n"},
        "spec": {"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}},
    }  # fmt: skip


def _set(uid: int, replicas: int, available: int, before: int | None = None) -> Obj:
    annotations = {sizes.MAX: str(before)} if before else {}
    return {
        "metadata": {"uid": str(uid), "name": f"rs{uid}", "annotations": annotations}, "spec": {"replicas": replicas},
        "status": {"availableReplicas": min(available, replicas), "replicas": replicas},
    }  # fmt: skip


SETS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=4)


@settings(deadline=None)
@given(st.integers(0, 50), INT_OR_PERCENT, INT_OR_PERCENT)
def test_a_step_is_always_possible(replicas: int, surge: int | str, unavailable: int | str) -> None:
    most, fewer = sizes.fenceposts(_deployment(replicas, surge, unavailable))
    assert most >= 0 and fewer >= 0 and most + fewer > 0
    if isinstance(surge, str) and most:
        assert most - 1 < replicas * int(surge[:-1]) / 100 <= most, "rounded up"


@settings(deadline=None)
@given(st.integers(0, 30), INT_OR_PERCENT, INT_OR_PERCENT, SETS)
def test_growing_and_shrinking_respect_the_bounds(
    replicas: int, surge: int | str, unavailable: int | str, drawn: list[tuple[int, int]]
) -> None:
    deployment = _deployment(replicas, surge, unavailable)
    sets = [_set(n, size, available) for n, (size, available) in enumerate(drawn)]
    new, old = sets[-1], sets[:-1]
    grown = sizes.new_set_size(deployment, sets, sizes.desired(new))
    if sizes.desired(new) <= replicas:
        assert grown <= max(replicas, sizes.desired(new))
        total = sizes.total(old) + grown
        assert total <= max(replicas + sizes.max_surge(deployment), sizes.total(sets))
    cut = sizes.cut_old(deployment, sets, old)
    lost = sum(sizes.desired(rs) - cut.get(rs["metadata"]["uid"], sizes.desired(rs)) for rs in old)
    available = sizes.status_total(sets, "availableReplicas")
    assert all(size >= 0 for size in cut.values())
    assert lost == 0 or available - lost >= replicas - sizes.max_unavailable(deployment)


@settings(deadline=None)
@given(st.integers(0, 40), INT_OR_PERCENT, SETS, st.integers(1, 60))
def test_proportional_scaling_hands_out_exactly_what_there_is(
    replicas: int, surge: int | str, drawn: list[tuple[int, int]], before: int
) -> None:
    deployment = _deployment(replicas, surge, 1)
    active = [_set(n, size + 1, available, before) for n, (size, available) in enumerate(drawn)]
    ordered = sorted(active, key=lambda rs: -sizes.desired(rs))
    result = sizes.proportional(deployment, active, ordered, ordered)
    allowed = replicas + sizes.max_surge(deployment) if replicas else 0
    assert all(size >= 0 for size in result.values())
    if allowed >= sizes.total(active):
        assert sum(result.values()) == allowed
    else:
        assert sum(result.values()) >= allowed


TEMPLATES = st.fixed_dictionaries({
    "metadata": st.fixed_dictionaries({"labels": st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"))}),
    "spec": st.fixed_dictionaries({"containers": st.lists(st.fixed_dictionaries({"image": st.sampled_from("ij")}))}),
})  # fmt: skip


@settings(deadline=None)
@given(TEMPLATES, TEMPLATES)
def test_equal_templates_are_found_however_they_are_spelled(one: dict[str, Any], two: dict[str, Any]) -> None:
    spec = {**one["spec"], "volumes": None, "hostNetwork": None}
    spelled = {"spec": spec, "metadata": {**one["metadata"], "creationTimestamp": None}}
    rs = {"metadata": {"name": "rs"}, "spec": {"template": spelled}}
    assert newest({"spec": {"template": one}}, [rs]) is rs
    assert (newest({"spec": {"template": two}}, [rs]) is rs) == (one == two)
    assert template_hash(one, 0) == template_hash(spelled, 0)
    assert (template_hash(one, 0) == template_hash(two, 0)) == (one == two)
    assert template_hash(one, 0) != template_hash(one, 1)


def test_revisions_beyond_64_bits_count_on() -> None:
    huge = 3546343826724305832
    old = {"metadata": {"name": "rs", "annotations": {"deployment.kubernetes.io/revision": str(huge)}}}
    assert revision_of(old) == huge
    wanted = annotations_for(_deployment(1, 1, 0), old, huge + 1, exists=True)
    assert wanted["deployment.kubernetes.io/revision"] == "3546343826724305833"
    assert wanted["deployment.kubernetes.io/revision-history"] == str(huge)
