"""`minikube-py addon list|enable|disable`. Who calls it: `cli/main.py`; the work is done in `minikube_py.cluster.addons`."""

import click

from minikube_py.cli.cluster_commands import profile_option
from minikube_py.cli.image_commands import own_containerd
from minikube_py.cluster import profile as profiles


@click.group()
def addon() -> None:
    """Switch on and off what a cluster may have besides; each is a directory of plain manifests."""


@addon.command("list")
@profile_option
def list_addons(name: str) -> None:
    """List the add-ons, and which are on."""
    from minikube_py.cluster import access, addons

    on = addons.enabled(access.client(profiles.load(name)))
    rows = [(known, known in on, addons.read(known).description) for known in addons.known()]
    for addon_name, is_on, description in sorted([*rows, *((n, None, d) for n, d in addons.BUILT_IN.items())]):
        state = {True: "on", False: "off", None: "built in"}[is_on].ljust(9)
        click.echo(f"{addon_name:<12} {click.style(state, fg='green' if is_on else None)} {description}")


@addon.command()
@click.argument("addon_name", metavar="ADDON")
@profile_option
def enable(addon_name: str, name: str) -> None:
    """Switch an add-on on, and wait until it is ready."""
    from minikube_py.cluster import access, addons

    own = own_containerd(name)
    provide = (own.copy,) if own else ()
    addons.enable(access.client(profiles.load(name)), addon_name, click.echo, *provide)
    click.echo(f"add-on {addon_name} is on")


@addon.command()
@click.argument("addon_name", metavar="ADDON")
@profile_option
def disable(addon_name: str, name: str) -> None:
    """Switch an add-on off: remove everything it brought."""
    from minikube_py.cluster import access, addons

    addons.disable(access.client(profiles.load(name)), addon_name, click.echo)
    click.echo(f"add-on {addon_name} is off")
