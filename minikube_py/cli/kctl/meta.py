"""`kctl label|annotate|scale`: small changes to objects.

Who calls it: `main.py`. Upstream: staging/src/k8s.io/kubectl/pkg/cmd/{label,annotate,scale}.
"""

import sys
from collections.abc import Sequence

import click

from minikube_py.api.errors import APIError
from minikube_py.api.types import Obj
from minikube_py.cli.kctl.session import Session, Target


@click.command("label")
@click.argument("words", nargs=-1, metavar="TYPE[/NAME] NAME... KEY=VALUE... KEY-...")
@click.option("--overwrite", is_flag=True)
@click.option("--all", "every", is_flag=True)
@click.option("-l", "--selector", default="")
@click.pass_obj
def label_command(session: Session, words: tuple[str, ...], overwrite: bool, every: bool, selector: str) -> None:
    """Set or remove labels."""
    _change(session, words, "labels", "labeled", "unlabeled", overwrite, every, selector)


@click.command("annotate")
@click.argument("words", nargs=-1, metavar="TYPE[/NAME] NAME... KEY=VALUE... KEY-...")
@click.option("--overwrite", is_flag=True)
@click.option("--all", "every", is_flag=True)
@click.option("-l", "--selector", default="")
@click.pass_obj
def annotate_command(session: Session, words: tuple[str, ...], overwrite: bool, every: bool, selector: str) -> None:
    """Set or remove annotations."""
    _change(session, words, "annotations", "annotated", "annotated", overwrite, every, selector)


def _change(
    session: Session,
    words: Sequence[str],
    field: str,
    done: str,
    undone: str,
    overwrite: bool,
    every: bool,
    selector: str,
) -> None:
    values, names = _split(words)
    if not values:
        raise click.UsageError(f"at least one {field[:-1]} update is required")
    failed = False
    for target in session.targets(names):
        for obj in _objects(session, target, every, selector):
            failed |= not _change_one(session, target, obj, field, values, done, undone, overwrite)
    sys.exit(1 if failed else 0)


def _change_one(
    session: Session,
    target: Target,
    obj: Obj,
    field: str,
    values: dict[str, str | None],
    done: str,
    undone: str,
    overwrite: bool,
) -> bool:
    metadata = obj["metadata"]
    shown = f"{target.resource.qualified}/{metadata['name']}"
    have = metadata.get(field) or {}
    taken = [key for key, value in values.items() if value is not None and have.get(key, value) != value]
    if taken and not overwrite:
        key = taken[0]
        click.echo(f"error: '{key}' already has a value ({have[key]}), and --overwrite is false", err=True)
        return False
    for key, value in values.items():
        if value is None and key not in have:
            click.echo(f'{field[:-1]} "{key}" not found.')
    if all(have.get(key) == value for key, value in values.items()):
        click.echo(f"{shown} not {done}")
        return True
    session.client.patch(
        target.resource.gvr,
        metadata["name"],
        {"metadata": {field: values}},
        metadata.get("namespace", ""),
        field_manager="kctl",
    )
    click.echo(f"{shown} {undone if all(value is None for value in values.values()) else done}")
    return True


def _split(words: Sequence[str]) -> tuple[dict[str, str | None], list[str]]:
    """KEY=VALUE and KEY- words apart from the names; None removes the key."""
    values: dict[str, str | None] = {}
    names: list[str] = []
    for place, word in enumerate(words):
        key, sign, value = word.partition("=")
        if sign:
            values[key] = value
        elif word.endswith("-") and place > 0:
            values[word[:-1]] = None
        else:
            names.append(word)
    return values, names


def _objects(session: Session, target: Target, every: bool, selector: str) -> list[Obj]:
    place = session.where(target.resource)
    if target.name:
        return [session.client.get(target.resource.gvr, target.name, place)]
    if not every and not selector:
        raise click.UsageError("name one or more objects, or use --all or a selector")
    return list(session.client.list(target.resource.gvr, place, label_selector=selector)["items"])


@click.command("scale")
@click.argument("words", nargs=-1, metavar="TYPE/NAME")
@click.option("--replicas", type=click.IntRange(0), required=True)
@click.option("--current-replicas", type=int, default=-1, help="Only if this is the present size.")
@click.pass_obj
def scale_command(session: Session, words: tuple[str, ...], replicas: int, current_replicas: int) -> None:
    """Set the number of copies."""
    failed = False
    for target in session.targets(words):
        if not target.name:
            raise click.UsageError("name what to scale, such as: deployment/web")
        if "scale" not in target.resource.subresources:
            raise click.ClickException(f"{target.resource.qualified_plural} cannot be scaled")
        try:
            place = session.where(target.resource)
            scale = session.client.get(target.resource.gvr, target.name, place, subresource="scale")
            if current_replicas >= 0 and scale["spec"].get("replicas", 0) != current_replicas:
                raise click.ClickException(
                    f"Expected replicas to be {current_replicas}, was {scale['spec'].get('replicas', 0)}"
                )
            patch = {"spec": {"replicas": replicas}}
            session.client.patch(
                target.resource.gvr, target.name, patch, place, subresource="scale", field_manager="kctl"
            )
            click.echo(f"{target.resource.qualified}/{target.name} scaled")
        except APIError as error:
            failed = True
            click.echo(f"Error from server ({error.reason}): {error}", err=True)
    sys.exit(1 if failed else 0)
