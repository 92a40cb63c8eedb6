"""Seeds and what is drawn from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube_py.labkit import lab as labs
from minikube_py.labkit import params
from minikube_py.labkit.errors import LabError

LABS = labs.load_all()
KEYS, STUDENTS = st.binary(min_size=1, max_size=40), st.text(max_size=20)


@given(key=KEYS, student=STUDENTS, lab=st.sampled_from(LABS))
def test_draws_are_repeatable_distinct_and_never_defaults(key: bytes, student: str, lab: labs.Lab) -> None:
    seed = params.seed(key, student, lab.id)
    drawn = params.draw(lab.params, seed)
    assert drawn == params.draw(lab.params, seed)
    assert set(drawn) == set(lab.params)
    assert len(set(drawn.values())) == len(drawn)
    assert all(value != lab.params[name].get("default") for name, value in drawn.items())


@given(key=KEYS, one=STUDENTS, other=STUDENTS)
def test_another_student_lab_or_key_is_another_seed(key: bytes, one: str, other: str) -> None:
    seeds = {params.seed(k, s, lab) for k in (key, key + b"!") for s in {one, other} for lab in ("a", "b")}
    assert len(seeds) == 4 * len({one, other})


@given(low=st.integers(0, 1000), width=st.integers(0, 50), seed=st.text(max_size=8))
def test_integers_stay_in_their_range(low: int, width: int, seed: str) -> None:
    drawn = params.draw({"n": {"integer": [low, low + width]}}, seed)
    assert low <= int(drawn["n"]) <= low + width


@given(seed=st.text(max_size=8))
def test_a_default_is_never_drawn(seed: str) -> None:
    assert params.draw({"n": {"choice": ["a", "b"], "default": "a"}}, seed) == {"n": "b"}


@given(seed=st.text(max_size=8), length=st.integers(1, 40))
def test_names_and_tokens_have_their_form(seed: str, length: int) -> None:
    drawn = params.draw({"name": {"name": "web"}, "token": {"token": length}, "text": {"words": 3}}, seed)
    prefix, word, number = str(drawn["name"]).split("-")
    assert prefix == "web" and word.isalpha() and len(number) == 3
    assert len(str(drawn["token"])) == length
    assert len(str(drawn["text"]).split()) == 3


@pytest.mark.parametrize(
    "rule", [{"choice": ["a"], "default": "a"}, {"integer": [2, 1]}, {"token": 0}, {"lottery": 1}, {"choice": []}]
)
def test_rules_that_leave_nothing_are_refused(rule: dict[str, object]) -> None:
    with pytest.raises(LabError, match="parameter n"):
        params.draw({"n": rule}, "seed")


def test_two_parameters_share_no_value() -> None:
    with pytest.raises(LabError, match="nothing is left"):
        params.draw({name: {"integer": [1, 2]} for name in "abc"}, "seed")


def test_rendering() -> None:
    assert params.render("{{ a }}-{{b}} {x} $HOME", {"a": "1", "b": 2}) == "1-2 {x} $HOME"
    with pytest.raises(LabError, match="no parameter"):
        params.render("{{ nobody }}", {"a": 1})


def test_the_local_key_is_made_once(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("MINIKUBE_PY_HOME", str(home))
    key = params.local_key()
    assert key == params.local_key() and len(key) == 64
    assert [path.name for path in (home / "labs").iterdir()] == ["key"]
    assert (home / "labs/key").stat().st_mode & 0o777 == 0o600
