"""`minikube-py service`: where to click. Who calls it: `cli/main.py`; the work is done in `minikube_py.cluster.services`."""

import click

from minikube_py.cli.cluster_commands import profile_option
from minikube_py.cluster import profile as profiles


@click.command()
@click.argument("service")
@click.option("-n", "--namespace", default="default", show_default=True, help="Where the Service is.")
@click.option("--url", "only_url", is_flag=True, help="Print the addresses alone, one a line.")
@profile_option
def service(service: str, namespace: str, only_url: bool, name: str) -> None:
    """Print the addresses at which this machine reaches a Service."""
    from minikube_py.cluster import access, services

    for place in services.places(access.client(profiles.load(name)), service, namespace):
        click.echo(place.url if only_url else f"{place.port:<12} {place.kind:<14} {click.style(place.url, fg='cyan')}")
