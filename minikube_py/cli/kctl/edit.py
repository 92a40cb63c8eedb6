"""`kctl edit`: change an object in your editor.

Who calls it: `main.py`. Invariant: the object is sent back with the resourceVersion it was read at, so an edit never
overwrites somebody else's; a refused edit is kept in a file that the message names.
Upstream: staging/src/k8s.io/kubectl/pkg/cmd/edit.
"""

import tempfile

import click

from minikube_py.api import yaml
from minikube_py.api.errors import APIError
from minikube_py.cli.kctl.session import Session

_HEAD = (
    "# Please edit the object below. Lines beginning with a '#' will be ignored,\n"
    "# and an empty file will abort the edit. If an error occurs while saving this file will be kept.\n#\n"
)


@click.command("edit")
@click.argument("words", nargs=-1, metavar="TYPE/NAME")
@click.pass_obj
def edit_command(session: Session, words: tuple[str, ...]) -> None:
    """Edit objects in $EDITOR."""
    for target in session.targets(words):
        if not target.name:
            raise click.UsageError("name the object to edit")
        place = session.where(target.resource)
        obj = session.client.get(target.resource.gvr, target.name, place)
        obj["metadata"].pop("managedFields", None)
        before = yaml.dump(obj)
        edited = click.edit(_HEAD + before, extension=".yaml", require_save=False)
        text = "\n".join(line for line in (edited or "").splitlines() if not line.startswith("#"))
        if not text.strip() or text.strip() == before.strip():
            click.echo("Edit cancelled, no changes made.")
            continue
        try:
            session.client.update(target.resource.gvr, yaml.load_all(text)[0])
        except (APIError, ValueError, KeyError) as error:
            with tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix="kctl-edit-", delete=False) as kept:
                kept.write(text)
            raise click.ClickException(f"{error}\nA copy of your changes has been stored to {kept.name!r}") from None
        click.echo(f"{target.resource.qualified}/{target.name} edited")
