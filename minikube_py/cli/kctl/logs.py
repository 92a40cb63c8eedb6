"""`kctl logs`: what a container printed.

Who calls it: `main.py`. Upstream: staging/src/k8s.io/kubectl/pkg/cmd/logs.
"""

import sys

import click

from minikube_py.api.gvr import PODS
from minikube_py.api.meta import name_of
from minikube_py.cli.kctl.durations import seconds
from minikube_py.cli.kctl.pods import container_of, pod_of
from minikube_py.cli.kctl.session import Session


@click.command("logs")
@click.argument("words", nargs=-1, metavar="POD | TYPE/NAME")
@click.option("-c", "--container", default="")
@click.option("-f", "--follow", is_flag=True)
@click.option("-p", "--previous", is_flag=True, help="Of the container's last, ended run.")
@click.option("--tail", type=int, default=-1, help="Only so many last lines.")
@click.option("--since", default="", help="Only newer than this, such as 5m.")
@click.option("--timestamps", is_flag=True)
@click.option("--limit-bytes", type=int, default=0)
@click.option("-l", "--selector", default="", help="Of every pod with these labels.")
@click.option("--all-containers", is_flag=True)
@click.option("--prefix", is_flag=True, help="Name the pod and container before each line.")
@click.pass_obj
def logs_command(
    session: Session, words: tuple[str, ...], container: str, follow: bool, previous: bool, tail: int, since: str,
    timestamps: bool, limit_bytes: int, selector: str, all_containers: bool, prefix: bool,
) -> None:  # fmt: skip
    """Print the logs of a container."""
    if selector:
        pods = session.client.list(PODS, session.namespace, label_selector=selector)["items"]
        tail = 10 if tail < 0 else tail
    else:
        if not words:
            raise click.UsageError("expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'")
        pods = [pod_of(session, words[0])]
        container = container or (words[1] if len(words) > 1 else "")
    query = {
        "follow": follow, "previous": previous, "timestamps": timestamps, "limitBytes": limit_bytes or None,
        "tailLines": None if tail < 0 else str(tail), "sinceSeconds": int(seconds(since)) if since else None,
    }  # fmt: skip
    for pod in pods:
        every = [c["name"] for c in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]]
        for name in every if all_containers else [container or container_of(pod)]:
            start = f"[pod/{name_of(pod)}/{name}] ".encode() if prefix else b""
            _print(session, name_of(pod), {**query, "container": name}, start)


def _print(session: Session, pod: str, query: dict[str, str | int | bool | None], prefix: bytes) -> None:
    text = {key: str(value).lower() if isinstance(value, bool) and value else value for key, value in query.items()}
    path = PODS.path(session.namespace, pod, "log")
    try:
        with session.client.open("GET", path, query=text, accept="*/*") as stream:
            fresh = True
            for chunk in stream:
                if prefix:
                    body = chunk.replace(b"\n", b"\n" + prefix)
                    chunk = (prefix if fresh else b"") + (body[: -len(prefix)] if chunk.endswith(b"\n") else body)
                    fresh = chunk.endswith(b"\n")
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
    except KeyboardInterrupt:
        return
