"""`minikube-py token create|list|delete` and `encryption rotate`: who may join, and what Secrets are sealed with.

Who calls it: `cli/main.py`. The work is done in `minikube_py.cluster.{tokens,encryption}`.
"""

from pathlib import Path

import click

from minikube_py.cli.cluster_commands import profile_option
from minikube_py.cluster import profile as profiles

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Duration(click.ParamType[float]):
    name = "DURATION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        if text == "0":
            return 0.0
        number, unit = text[:-1], text[-1:]
        if not number.isdecimal() or unit not in _UNITS:
            self.fail(f"{text!r} is not a duration such as 30m, 24h or 7d", param, ctx)
        return float(number) * _UNITS[unit]


@click.group()
def token() -> None:
    """Let node agents on other machines join the cluster."""


@token.command()
@click.option("--ttl", type=_Duration(), default="24h", show_default=True, help="How long it is good; 0 for ever.")
@click.option(
    "--bootstrap-kubeconfig", "file", type=click.Path(dir_okay=False), help="Write what the other machine needs."
)
@click.option("--server", default="", help="The API server's URL as the other machine reaches it.")
@profile_option
def create(ttl: float, file: str | None, server: str, name: str) -> None:
    """Make a token, and say how a machine joins with it."""
    from minikube_py.cluster import tokens

    profile = profiles.load(name)
    made = tokens.create(profile, ttl)
    click.echo(made)
    if file:
        tokens.write_bootstrap(profile, made, Path(file), server)
        click.echo(
            f"On the other machine, with {file}: python -m kubelet.main --bootstrap-kubeconfig={Path(file).name} "
            "--kubeconfig=kubelet.conf --node-name=NAME --root-dir=DIR --rotate-server-certificates",
            err=True,
        )


@token.command("list")
@profile_option
def list_(name: str) -> None:
    """Show the tokens there are, without their secrets."""
    from minikube_py.cluster import tokens

    for found in tokens.listed(profiles.load(name)):
        left = "for ever" if found.left is None else f"{max(0, int(found.left))} s left"
        click.echo(f"{found.id}  {left}")


@token.command()
@click.argument("token_or_id", metavar="TOKEN")
@profile_option
def delete(token_or_id: str, name: str) -> None:
    """Take a token back; nodes that joined with it stay."""
    from minikube_py.cluster import tokens

    tokens.delete(profiles.load(name), token_or_id)
    click.echo(f"token/{token_or_id.partition('.')[0]} deleted")


@click.group()
def encryption() -> None:
    """The key that encrypts Secrets at rest."""


@encryption.command()
@profile_option
def rotate(name: str) -> None:
    """Seal every Secret with a new key and drop the old one. Interrupted, it goes on when run again."""
    from minikube_py.cluster import encryption as keys

    click.echo(f"every Secret is sealed with {keys.rotate(profiles.load(name))}; no other key is needed any more")
