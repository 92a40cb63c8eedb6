"""`minikube-py node add|remove|stop|start|partition|heal`: change the cluster's machines, and break them on purpose.

Who calls it: `cli/main.py`. The work is done in `minikube_py.cluster.nodes`.
"""

import click

from minikube_py.cli.cluster_commands import profile_option
from minikube_py.cluster import profile as profiles


@click.group()
def node() -> None:
    """Add, remove, power off, cut off and restore nodes."""


@node.command()
@click.option("--count", type=click.IntRange(1, 100), default=1, show_default=True)
@profile_option
def add(count: int, name: str) -> None:
    """Add nodes to the running cluster."""
    from minikube_py.cluster import nodes

    grown = nodes.add(profiles.load(name), count)
    for added in grown.nodes[-count:]:
        click.echo(f"node/{added.name} added")


@node.command()
@click.argument("node_name", metavar="NODE")
@profile_option
def remove(node_name: str, name: str) -> None:
    """Take a node out for good."""
    from minikube_py.cluster import nodes

    nodes.remove(profiles.load(name), node_name)
    click.echo(f"node/{node_name} removed")


@node.command()
@click.argument("node_name", metavar="NODE")
@profile_option
def stop(node_name: str, name: str) -> None:
    """Power a node off: its kubelet and its containers die at once."""
    from minikube_py.cluster import nodes

    nodes.stop(profiles.load(name), node_name)
    click.echo(f"node/{node_name} stopped; watch it go NotReady: kubectl get nodes -w")


@node.command()
@click.argument("node_name", metavar="NODE")
@profile_option
def start(node_name: str, name: str) -> None:
    """Power a stopped node on again."""
    from minikube_py.cluster import nodes

    nodes.start(profiles.load(name), node_name)
    click.echo(f"node/{node_name} started")


@node.command()
@click.argument("node_name", metavar="NODE")
@profile_option
def partition(node_name: str, name: str) -> None:
    """Cut a node off from the network; its containers live on."""
    from minikube_py.cluster import nodes

    nodes.partition(profiles.load(name), node_name)
    click.echo(f"node/{node_name} partitioned; reconnect it with: minikube-py node heal {node_name}")


@node.command()
@click.argument("node_name", metavar="NODE")
@profile_option
def heal(node_name: str, name: str) -> None:
    """Reconnect a node that was cut off."""
    from minikube_py.cluster import nodes

    nodes.heal(profiles.load(name), node_name)
    click.echo(f"node/{node_name} healed")
