"""What a student hands in: manifests and an optional `steps.sh`, replayed onto a clean scene.

Who calls it: grading. Invariants: only files that the lab's globs name are taken; manifests are applied as one field manager
(server-side apply, strict), namespaces first, an object without namespace going to "default" as with kubectl; `steps.sh` is
another process with a time limit, and none of its processes outlives it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import orjson

from minikube_py.api import yaml
from minikube_py.api.errors import APIError, ServiceUnavailable
from minikube_py.api.meta import name_of
from minikube_py.api.types import Obj
from minikube_py.client.discovery import Discovered, discover
from minikube_py.client.rest import PATCH_TYPES
from minikube_py.labkit.errors import Infrastructure
from minikube_py.labkit.lab import Lab
from minikube_py.labkit.world import World

STEPS = "steps.sh"
STEPS_SECONDS = 60.0


def collect(lab: Lab, source: Path, target: Path) -> list[Path]:
    """Copy the submitted files; returns them, sorted. Links are not followed out of the directory."""
    found = sorted(
        {path for glob in lab.submit for path in source.glob(glob) if path.is_file() and not path.is_symlink()}
    )
    copies = []
    for file in found:
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        copies.append(copy)
    return copies


def parse(files: list[Path]) -> tuple[list[Obj], str]:
    """The objects in the manifests, and what is wrong with them ("" if nothing)."""
    objects = []
    for file in files:
        if file.suffix not in (".yaml", ".yml", ".json"):
            continue
        try:
            objects += yaml.load_all(file.read_bytes())
        except (yaml.YAMLError, OSError) as error:
            return [], f"{file.name}: {error}"
    flat = [item for obj in objects for item in (_items(obj) if obj.get("kind") == "List" else [obj])]
    for obj in flat:
        if not _well_formed(obj):
            return [], f"a document without a kind, or without a text as metadata.name: {str(obj)[:80]}"
    return sorted(flat, key=lambda obj: obj["kind"] != "Namespace"), ""


def _items(listed: Obj) -> list[Any]:
    items = listed.get("items")
    return items if isinstance(items, list) else [listed]


def _well_formed(obj: Any) -> bool:
    """It says what it is, so that we know where to send it; the rest is for the API to judge."""
    metadata = obj.get("metadata") if isinstance(obj, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("namespace", ""), str | None):
        return False
    return all(value and isinstance(value, str) for value in (obj.get("kind"), metadata.get("name")))


def apply(world: World, manifests: list[Obj], manager: str) -> str:
    """Apply the objects. Out: "" or the first refusal. Raises Infrastructure when the API does not answer."""
    served = discover(world.client)
    for obj in manifests:
        if problem := _apply_one(world, served, obj, manager):
            return problem
    return ""


def _apply_one(world: World, served: Discovered, obj: Obj, manager: str) -> str:
    about = f"{obj['kind']} {name_of(obj)}"
    resource = served.by_kind(str(obj.get("apiVersion", "")), str(obj["kind"]))
    if resource is None:
        return f"{about}: the cluster serves no {obj.get('apiVersion')} {obj['kind']}"
    namespace = (obj["metadata"].get("namespace") or "default") if resource.namespaced else ""
    query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
    path = resource.path(namespace, name_of(obj))
    try:
        world.client.request("PATCH", path, query=query, body=orjson.dumps(obj), content_type=PATCH_TYPES["apply"])
    except ServiceUnavailable as error:
        raise Infrastructure(str(error)) from error
    except APIError as error:
        return f"{about}: {error.message}"
    return ""


def run_steps(world: World, directory: Path, seconds: float = STEPS_SECONDS) -> str:
    """Run `steps.sh`, if there is one, with kubectl pointed at the cluster. Out: "" or how it failed."""
    script = directory / STEPS
    if not script.exists():
        return ""
    environment = {**os.environ, "KUBECONFIG": str(world.profile.kubeconfig)}
    with (directory / "steps.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", str(script)], cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"{STEPS} did not end within {seconds:g} s"
        finally:
            _end(process)
    if code:
        last = (directory / "steps.log").read_text(errors="replace").strip().splitlines()[-1:]
        return f"{STEPS} exited with code {code}" + (f": {last[0]}" if last else "")
    return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever the script left running goes with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
