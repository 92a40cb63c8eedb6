"""The walk in ARCHITECTURE.md is true: every stop is a file that says so itself, every path named exists."""

import re

import pytest

from tests.harness import ROOT

TEXT = (ROOT / "ARCHITECTURE.md").read_text()
STOPS = re.findall(r"^\| (\d+) \| \[([^\]]+)\]\(([^)]+)\) \|", TEXT, re.MULTILINE)


def test_the_walk_has_ten_stops_in_order() -> None:
    assert [int(number) for number, _, _ in STOPS] == list(range(1, 11))


@pytest.mark.parametrize(("number", "shown", "path"), STOPS)
def test_every_stop_is_a_file_that_knows_its_number(number: str, shown: str, path: str) -> None:
    assert shown == path
    docstring = (ROOT / path).read_text().split('"""')[1]
    said = re.search(r"Stops? of the data path: ([^.(]*)", docstring)
    assert said, f"{path} does not say which stop of the data path it is"
    assert number in re.findall(r"\d+", said[1])


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"])
def test_every_path_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    named = re.findall(r"`((?:minikube_py|apiserver|kubelet|controllers|tests|labs|bench|docs|hack)/[\w/.-]*)`", text)
    named += [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
