"""What kctl does without a server: flags, JSONPath, durations, alignment, layouts."""

import click
import pytest

from minikube_py.cli.kctl import durations, layouts, output
from minikube_py.cli.kctl.main import COMMANDS, _globals_first, cli
from minikube_py.cli.kctl.wait import met

POD = {
    "metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "web"}},
    "spec": {"containers": [{"name": "x", "image": "i1"}, {"name": "y", "image": "i2"}]},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{.metadata.name}", "a"),
        ("{.spec.containers[*].image}", "i1 i2"),
        ("{range .spec.containers[*]}{.name}={.image}{'\\n'}{end}", "x=i1\ny=i2\n"),
        ("{.status.conditions[?(@.type=='Ready')].status}", "True"),
        ("{.metadata.labels.app\\.kubernetes\\.io/name}", "web"),
        ("name is {.metadata.name}!", "name is a!"),
        ("{range .spec.none[*]}{.name}{end}done", "done"),
        ("{.spec.containers[0]}", '{"name":"x","image":"i1"}'),
    ],
)
def test_jsonpath(template: str, expected: str) -> None:
    assert output.jsonpath(POD, template) == expected


def test_custom_columns() -> None:
    text = output.render(POD, "custom-columns=NAME:.metadata.name,IMAGES:.spec.containers[*].image,NONE:.spec.x")
    assert [line.split() for line in text.splitlines()] == [["NAME", "IMAGES", "NONE"], ["a", "i1,i2", "<none>"]]


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(click.ClickException, match=r"allowed: json\|yaml"):
        output.render(POD, "xml")


@pytest.mark.parametrize(("text", "expected"), [("30s", 30), ("1m30s", 90), ("0", 0), ("1.5h", 5400), ("250ms", 0.25)])
def test_durations(text: str, expected: float) -> None:
    assert durations.seconds(text) == expected


@pytest.mark.parametrize("text", ["5", "s", "1x", "1m 2s"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(click.UsageError, match="invalid duration"):
        durations.seconds(text)


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (3599, "59m"),
        (3 * 3600, "3h"),
        (3 * 86400, "3d"),
        (800 * 86400, "2y"),
    ],
)
def test_ages_as_kubectl_prints_them(total: float, expected: str) -> None:
    assert durations.short(total) == expected


def test_global_flags_may_stand_anywhere_but_not_in_a_remote_command() -> None:
    assert _globals_first(["get", "pods", "-n", "x"]) == ["-n", "x", "get", "pods"]
    assert _globals_first(["exec", "p", "--", "head", "-n", "1"]) == ["exec", "p", "--", "head", "-n", "1"]
    assert _globals_first(["get", "po", "--namespace=y"]) == ["--namespace=y", "get", "po"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("condition=Ready", True),
        ("condition=ready=true", True),
        ("condition=Initialized", False),
        ("condition=Initialized=False", True),
        ("jsonpath={.metadata.name}=a", True),
        ("jsonpath={.metadata.name}=b", False),
        ("delete", False),
        ("create", True),
    ],
)
def test_wait_conditions(wanted: str, expected: bool) -> None:
    assert met(POD, wanted) is expected


def test_layout_is_aligned_and_nested() -> None:
    lines = layouts.lay_out([("Name", "a"), ("Long Label", ["x", "y"]), ("Spec", {"innerField": 1}), ("Empty", None)])
    assert lines == [
        "Name:        a",
        "Long Label:  x",
        "             y",
        "Spec:",
        "  Inner Field:  1",
        "Empty:       <none>",
    ]


def test_every_command_exists_and_is_documented() -> None:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None, name
        assert command.name == name
        assert command.help, f"kctl {name} has no help"
