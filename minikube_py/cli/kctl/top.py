"""`kctl top nodes|pods`: what nodes, pods and containers use of processor and memory.

Who calls it: `main.py`. Invariant: figures come from the resource metrics API, whoever serves it; a node without figures is
shown as unknown. Upstream: staging/src/k8s.io/kubectl/pkg/{cmd/top,metricsutil}.
"""

from collections.abc import Callable, Sequence

import click

from minikube_py.api import quantity
from minikube_py.api.errors import NotFound
from minikube_py.api.gvr import GVR, NODES
from minikube_py.api.meta import name_of, namespace_of
from minikube_py.api.types import Obj
from minikube_py.cli.kctl.output import align
from minikube_py.cli.kctl.session import Session

_NODE_METRICS = GVR("metrics.k8s.io", "v1beta1", "nodes", "NodeMetrics", False)
_POD_METRICS = GVR("metrics.k8s.io", "v1beta1", "pods", "PodMetrics")
_RESOURCES = ("cpu", "memory")
_MISSING = "Metrics API not available"
Used = dict[str, int]
"""Milli-cores and bytes by resource."""


@click.group("top")
def top_command() -> None:
    """Show what is used of processor and memory."""


@top_command.command("nodes")
@click.argument("name", required=False)
@click.option("-l", "--selector", default="", help="Only nodes with these labels.")
@click.option("--sort-by", type=click.Choice(["", *_RESOURCES]), default="", help="The most first.")
@click.option("--no-headers", is_flag=True)
@click.pass_obj
def nodes_command(session: Session, name: str | None, selector: str, sort_by: str, no_headers: bool) -> None:
    """What nodes use, and how much of what they have."""
    measured = {name_of(one): _used([one["usage"]]) for one in _metrics(session, _NODE_METRICS, "", name, selector)}
    nodes = session.client.list(NODES, label_selector=selector)["items"]
    nodes = [node for node in nodes if name in (None, name_of(node))]
    rows = []
    for node in sorted(nodes, key=_order(sort_by, lambda node: measured.get(name_of(node), {}))):
        used = measured.get(name_of(node))
        rows.append([name_of(node), *(_of_node(used, node["status"]["allocatable"]) if used else ["<unknown>"] * 4)])
    _print(["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"], rows, no_headers)


def _of_node(used: Used, allocatable: Obj) -> list[str]:
    cells = []
    for resource, shown in zip(_RESOURCES, _shown(used), strict=True):
        there = quantity.milli(allocatable[resource]) if resource == "cpu" else quantity.value(allocatable[resource])
        cells += [shown, f"{used[resource] * 100 // there}%"]
    return cells


@top_command.command("pods")
@click.argument("name", required=False)
@click.option("-A", "--all-namespaces", is_flag=True)
@click.option("-l", "--selector", default="", help="Only pods with these labels.")
@click.option("--containers", is_flag=True, help="Each container by itself.")
@click.option("--sort-by", type=click.Choice(["", *_RESOURCES]), default="", help="The most first.")
@click.option("--sum", "total", is_flag=True, help="All of them together, at the end.")
@click.option("--no-headers", is_flag=True)
@click.pass_obj
def pods_command(
    session: Session, name: str | None, all_namespaces: bool, selector: str, containers: bool, sort_by: str, total: bool,
    no_headers: bool,
) -> None:  # fmt: skip
    """What pods use."""
    where = "" if all_namespaces else session.namespace
    measured = _metrics(session, _POD_METRICS, where, name, selector)
    if not measured:
        click.echo("No resources found" if all_namespaces else f"No resources found in {where} namespace.", err=True)
        return
    rows, everything = [], []
    for pod in sorted(measured, key=_order(sort_by, _of_pod)):
        prefix = [namespace_of(pod)] if all_namespaces else []
        everything.append(_of_pod(pod))
        if containers:
            parts = sorted(
                pod["containers"], key=_order(sort_by, lambda part: _used([part["usage"]]), by=lambda p: p["name"])
            )
            rows += [[*prefix, name_of(pod), part["name"], *_shown(_used([part["usage"]]))] for part in parts]
        else:
            rows.append([*prefix, name_of(pod), *_shown(_of_pod(pod))])
    if total:
        whole = {resource: sum(used[resource] for used in everything) for resource in _RESOURCES}
        blank = [""] * (len(rows[0]) - 3)
        rows += [[*blank, "", "________", "________"], [*blank, "", *_shown(whole)]]
    head = [*(["NAMESPACE"] if all_namespaces else []), *(["POD", "NAME"] if containers else ["NAME"])]
    _print([*head, "CPU(cores)", "MEMORY(bytes)"], rows, no_headers)


def _of_pod(pod: Obj) -> Used:
    return _used([part["usage"] for part in pod["containers"]])


def _metrics(session: Session, kind: GVR, namespace: str, name: str | None, selector: str) -> list[Obj]:
    try:
        if name:
            return [session.client.get(kind, name, namespace)]
        items: list[Obj] = session.client.list(kind, namespace, label_selector=selector)["items"]
        return items
    except NotFound as error:
        if error.details.get("name") or name:
            raise
        raise click.ClickException(_MISSING) from None


def _used(usages: Sequence[Obj]) -> Used:
    return {
        "cpu": sum(quantity.milli(usage.get("cpu", 0)) for usage in usages),
        "memory": sum(quantity.value(usage.get("memory", 0)) for usage in usages),
    }


def _shown(used: Used) -> list[str]:
    return [f"{used['cpu']}m", f"{used['memory'] // (1 << 20)}Mi"]


def _order(
    resource: str, used: Callable[[Obj], Used], by: Callable[[Obj], str] = lambda obj: f"{namespace_of(obj)}/{name_of(obj)}"
) -> Callable[[Obj], tuple[int, str]]:  # fmt: skip
    """A sort key: the most of a resource first, by name without one."""
    return lambda obj: (-used(obj).get(resource, 0), by(obj))


def _print(head: list[str], rows: list[list[str]], no_headers: bool) -> None:
    click.echo("\n".join(line.rstrip() for line in align(rows if no_headers else [head, *rows])))


for _alias, _command in (("node", nodes_command), ("no", nodes_command), ("pod", pods_command), ("po", pods_command)):
    top_command.add_command(_command, _alias)
