"""`minikube-py` without a cluster: every command is documented, bad input is one sentence."""

import errno
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from minikube_py.cli.main import main
from minikube_py.cli.node_commands import COMMANDS
from minikube_py.cluster import nodes
from tests.harness import ROOT, free_port


@pytest.fixture(autouse=True)
def own_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))


def _all(group: click.Group, path: str = "") -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name, command in group.commands.items():
        found.append((f"{path}{name}", command))
        if isinstance(command, click.Group):
            found += _all(command, f"{path}{name} ")
    return found


@pytest.mark.parametrize(("name", "command"), _all(main), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_has_help(name: str, command: click.Command) -> None:
    assert command.help, name


@pytest.mark.parametrize("name", [name for name, command in _all(main) if " " not in name])
def test_every_command_is_in_the_documentation(name: str) -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(name in document.read_text() for document in documents)


def test_node_commands_are_functions_of_the_cluster() -> None:
    assert all(callable(getattr(nodes, action)) for action in COMMANDS)


def test_down_of_nothing_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIKUBE_PY_HOME", str(tmp_path))
    done = CliRunner().invoke(main, ["down", "-p", "none"])
    assert (done.exit_code, "nothing to do" in done.output) == (0, True)


WRONG = [
    ["up", "--nodes", "x"], ["up", "--timing", "fast"], ["up", "--listen", "203.0.113.9"], ["node", "stop"], ["nosuch"],
    ["token", "create", "--ttl", "soon"],
]  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_wrong_usage_exits_2(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIKUBE_PY_HOME", str(tmp_path))
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "Traceback" not in done.output


def test_a_full_disk_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("MINIKUBE_PY_HOME", str(tmp_path))
    monkeypatch.setattr("minikube_py.cluster.identities.write_all", full)
    port = str(free_port())
    done = CliRunner().invoke(main, ["up", "--runtime", "simulated", "--nodes", "1", "--port", port])
    assert done.exit_code == 1
    assert "set MINIKUBE_PY_HOME to a directory elsewhere" in done.output
    assert CliRunner().invoke(main, ["down"]).exit_code == 0
    assert not (tmp_path / "profiles").exists()
