"""`minikube-py why`: how the scheduler judged every node for a pod. Who calls it: `cli/main.py`; the scheduler answers."""

import click

from minikube_py.api.types import Obj
from minikube_py.cli.cluster_commands import profile_option
from minikube_py.cluster import profile as profiles


@click.command()
@click.argument("pod")
@click.option("-n", "--namespace", default="default", show_default=True, help="Where the pod is.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@profile_option
def why(pod: str, namespace: str, output: str, name: str) -> None:
    """Say why a pod is on its node, or on none: the latest scheduling attempt, node by node."""
    import json

    from minikube_py.cluster import access

    attempt = access.scheduling(profiles.load(name), namespace, pod.removeprefix("pod/"))
    if output == "json":
        click.echo(json.dumps(attempt, indent=2))
        return
    place = click.style(attempt["node"], fg="green") if attempt["node"] else click.style("no node", fg="red")
    click.echo(f"attempt {attempt['attempt']} at {attempt['time']}: {place}")
    if attempt["message"]:
        click.echo(attempt["message"])
    rows = [_row(node, verdict) for node, verdict in sorted(attempt["nodes"].items(), key=_rank)]
    widths = [max(len(row[column]) for row in [_HEAD, *rows]) for column in (0, 1)]
    for row in [_HEAD, *rows]:
        colour = _COLOURS.get(row[1])
        verdict = click.style(row[1].ljust(widths[1]), fg=colour) if colour else row[1].ljust(widths[1])
        click.echo(f"{row[0].ljust(widths[0])}   {verdict}   {row[2]}".rstrip())
    if len(rows) < attempt["nodeCount"]:
        click.echo(f"(and {attempt['nodeCount'] - len(rows)} more nodes)")


_HEAD = ("NODE", "VERDICT", "BECAUSE")
_COLOURS = {"chosen": "green", "refused": "red"}


def _row(node: str, verdict: Obj) -> tuple[str, str, str]:
    if verdict["verdict"] == "Rejected":
        hopeless = "" if verdict["preemptible"] else " (preemption cannot help)"
        return node, "refused", f"{verdict['plugin']}: {', '.join(verdict['reasons'])}{hopeless}"
    shares = ", ".join(f"{plugin} {share:g}" for plugin, share in (verdict.get("plugins") or {}).items() if share)
    score = f"score {verdict['score']:g}" if "score" in verdict else "the only node that fits"
    return node, "chosen" if verdict.get("chosen") else "fits", f"{score}: {shares}" if shares else score


def _rank(entry: tuple[str, Obj]) -> tuple[bool, bool, float, str]:
    """The chosen node first, then those that fit, best first, then the refused."""
    node, verdict = entry
    return not verdict.get("chosen"), verdict["verdict"] == "Rejected", -verdict.get("score", 0), node
