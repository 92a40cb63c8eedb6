"""The cluster's objects to a sidecar's HAProxy configuration: golden files, which the real HAProxy accepts, and hostile words.

`UPDATE_GOLDEN=1 pytest tests/mesh/test_configuration.py` writes the files anew; read the difference before committing.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from minikube_py.api.meta import key_of
from minikube_py.ingress.model import EXACT, PREFIX, Condition, Match
from minikube_py.mesh import haproxy, view
from minikube_py.mesh.kinds import RUN, identity
from minikube_py.mesh.model import Endpoint, Fault, Rule, Sidecar, Target
from tests.mesh.certificates import write_pair

GOLDEN = Path(__file__).parent / "golden"


def world() -> view.World:
    read = yaml.safe_load((GOLDEN / "shop.input.yaml").read_text())
    return view.World(**{**read, "pods": {key_of(pod): pod for pod in read["pods"]}})


def refused(directory: Path, sidecar: Sidecar) -> str:
    """What the real HAProxy has against it."""
    written = haproxy.write(sidecar)
    for name, text in {**written.files, "cfg": written.text.replace(RUN, str(directory))}.items():
        (directory / name).write_text(text)
    checked = subprocess.run(["haproxy", "-c", "-f", str(directory / "cfg")], capture_output=True, text=True)
    return "" if checked.returncode == 0 and "WARNING" not in checked.stderr else checked.stderr + written.text


@pytest.mark.parametrize("pod", ["v1", "v2"])
def test_golden(pod: str, tmp_path: Path) -> None:
    """v1: strict, with a list of callers; v2: permissive."""
    objects = world()
    sidecar = view.sidecar(objects.pods[f"shop/{pod}"], view.common(objects), objects.policies)
    written = haproxy.write(sidecar)
    maps = "".join(f"--- {name}\n{text}" for name, text in sorted(written.files.items()) if name.endswith(".map"))
    path = GOLDEN / f"shop.{pod}.cfg"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(written.text + maps)
    assert written.text + maps == path.read_text()
    write_pair(tmp_path)
    assert not refused(tmp_path, sidecar)


def test_weights_are_shared_by_the_endpoints_of_a_service() -> None:
    few, many = {Endpoint("10.0.0.1", 80)}, {Endpoint(f"10.0.1.{n}", 80) for n in range(9)}
    weights = dict(view._weighted([(90, few), (10, many)]))
    assert weights[Endpoint("10.0.0.1", 80)] == 256 and weights[Endpoint("10.0.1.3", 80)] == 3
    assert view._weighted([(0, few)]) == () == view._weighted([(5, set())])
    assert set(dict(view._weighted([(7, many)])).values()) == {1}


def test_equal_clusters_give_equal_text() -> None:
    objects = world()
    turned = view.World(
        objects.services[::-1], objects.slices[::-1], dict([*objects.pods.items()][::-1]), objects.routes[::-1],
        objects.policies[::-1],
    )  # fmt: skip
    pod = objects.pods["shop/v1"]
    texts = [haproxy.write(view.sidecar(pod, view.common(w), w.policies)) for w in (objects, turned)]
    assert texts[0] == texts[1]


_text = st.text(st.characters(codec="utf-8"), max_size=12)
_match = st.builds(
    Match, st.just(""), st.builds(lambda t: f"/{t}", _text), st.sampled_from([EXACT, PREFIX]),
    st.sampled_from(["", "GET"]),
    st.lists(st.builds(Condition, st.sampled_from(["x-a", "x b", "y"]), _text), max_size=2).map(tuple),
    st.just(()), st.just(False),
)  # fmt: skip
_endpoint = st.builds(
    Endpoint, st.just("10.0.0.1"), st.integers(1, 65535), st.sampled_from(["", identity("shop", "a.b"), identity("shop", "c")])
)  # fmt: skip
_percent = st.integers(0, 100)
_rule = st.builds(
    Rule, st.just("rule"), _match, st.lists(st.tuples(_endpoint, st.integers(1, 256)), max_size=2).map(tuple),
    st.integers(0, 9999), st.none() | st.integers(0, 10),
    st.builds(Fault, st.integers(1, 9), _percent, st.sampled_from([400, 418, 503, 599]), _percent), st.integers(0, 9),
    st.integers(1, 60000),
)  # fmt: skip
_sidecar = st.builds(
    Sidecar,
    st.sampled_from(["", "10.0.0.1"]),
    st.lists(st.builds(lambda http, rule: (http, rule), st.booleans(), _rule), max_size=3).map(
        lambda found: tuple(
            Target(f"s.t.{n}", f"10.96.0.{n}:80", http, (rule._replace(name=f"s.t.{n}.0"), Rule(f"s.t.{n}")))
            for n, (http, rule) in enumerate(found)
        )
    ),
    st.lists(_endpoint.filter(lambda e: e.identity), max_size=2).map(tuple),
    st.lists(st.integers(1, 65535), max_size=2).map(tuple), st.booleans(),
    st.none() | st.lists(st.just(identity("n", "a")), max_size=2).map(tuple),
)  # fmt: skip


@settings(max_examples=12)
@given(_sidecar)
def test_haproxy_accepts_whatever_objects_say(tmp_path_factory: Any, sidecar: Sidecar) -> None:
    directory: Path = tmp_path_factory.mktemp("mesh")
    write_pair(directory)
    assert not refused(directory, sidecar)


def test_nothing_said_becomes_configuration() -> None:
    evil = Rule("s.t.80.0", Match(path="/x' }\nbackend evil"))
    text = haproxy.write(Sidecar("", (Target("s.t.80", "10.96.0.1:80", True, (evil, Rule("s.t.80"))),))).text
    assert "evil" not in text and "s.t.80" not in text, "the whole Service is left out"
