"""`minikube-py node add|remove|stop|start|partition|heal`: change the cluster's machines, and break them on purpose.

Who calls it: `cli/main.py`. The work is done in `minikube_py.cluster.nodes`; commands on one node are rows of a table.
"""

import click

from minikube_py.cli.cluster_commands import profile_option
from minikube_py.cluster import profile as profiles

COMMANDS = {
    "remove": ("Take a node out for good.", "removed"),
    "stop": (
        "Power a node off: its kubelet and its containers die at once.",
        "stopped; watch it: kubectl get nodes -w",
    ),
    "start": ("Power a stopped node on again.", "started"),
    "partition": (
        "Cut a node off from the network; its containers live on.",
        "partitioned; undo with: node heal {node}",
    ),
    "heal": ("Reconnect a node that was cut off.", "healed"),
}
"""Command, named as the function of `cluster.nodes` that does it → (help, what is said when it is done)."""


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


def _command(action: str, text: str, done: str) -> click.Command:
    @click.command(action, help=text)
    @click.argument("node_name", metavar="NODE")
    @profile_option
    def command(node_name: str, name: str) -> None:
        from minikube_py.cluster import nodes

        getattr(nodes, action)(profiles.load(name), node_name)
        click.echo(f"node/{node_name} {done.format(node=node_name)}")

    return command


for _action, (_text, _done) in COMMANDS.items():
    node.add_command(_command(_action, _text, _done))
