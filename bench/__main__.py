"""`python -m bench [NAME…]`: runs measurements, prints a table, writes JSON.

Who calls it: `make bench`. Without --profile it starts a cluster of its own, measures it, and takes it down again. Invariant:
bounded in time and in the number of objects, and it talks to nothing but the clusters it was given and the local engine.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click

from bench import (
    api,
    cycle,
    failover,
    figures,
    fleet,
    machine,
    network,
    pods,
    resources,
    scale,
    server,
    startup,
    workloads,
    wrk,
)
from bench.figures import Figure
from bench.target import Options, Target, state_directory
from minikube_py.api.errors import APIError
from minikube_py.cluster import profile as profiles
from minikube_py.cluster.errors import ClusterError

OURS = "minikube-py"


class Measurement(NamedTuple):
    """`anywhere`: an other API can be measured too. `cluster`: needs one at all. `default`: part of a plain run."""

    about: str
    run: Callable[[Target, Options], list[Figure]]
    anywhere: bool = True
    cluster: bool = True
    default: bool = True


MEASUREMENTS = {
    "startup": Measurement("phases of `minikube-py up`", startup.measure, anywhere=False),
    "resources": Measurement("memory and idle CPU per process", resources.measure, anywhere=False),
    "api": Measurement("API throughput and watch fan-out", api.measure),
    "server": Measurement(
        "API server alone: start, idle watches, 100 to 100,000 objects", server.measure, anywhere=False, cluster=False
    ),
    "wrk": Measurement("API reads by wrk, a second opinion", wrk.measure),
    "pods": Measurement("pod to Ready, Deployment available, deletion", pods.measure),
    "network": Measurement("Services and DNS: changes, connections, answers", network.measure, anywhere=False),
    "failover": Measurement("node stop to replacements Ready", failover.measure, anywhere=False),
    "cycle": Measurement("scheduling cycle alone, pods/s", cycle.measure, anywhere=False, cluster=False),
    "fleet": Measurement(
        "1,000 simulated nodes in one process", fleet.measure, anywhere=False, cluster=False, default=False
    ),
    "workloads": Measurement(
        "Deployments ready and rolled, idle nodes", workloads.measure, anywhere=False, cluster=False, default=False
    ),
    "scale": Measurement("pods created and bound on bare nodes", scale.measure, cluster=False, default=False),
}


@contextlib.contextmanager
def _cluster(profile: str | None, needed: bool) -> Iterator[Target]:
    """The cluster to measure: the profile named, or one made for the occasion."""
    if not needed:
        yield Target(OURS, "")
        return
    if profile is not None:
        loaded = profiles.load(profile)
        yield Target(OURS, str(loaded.kubeconfig), loaded)
        return
    name = f"bench-{os.getpid()}"
    click.echo(f"starting a cluster to measure (profile {name})", err=True)
    try:
        startup.minikube_py("up", "-p", name, "--no-merge-kubeconfig")
        loaded = profiles.load(name)
        yield Target(OURS, str(loaded.kubeconfig), loaded)
    finally:
        startup.minikube_py("down", "-p", name)


def _measure(names: list[str], ours: Target, other: Target | None, options: Options) -> dict[str, list[Figure]]:
    results: dict[str, list[Figure]] = {ours.name: []}
    if other is not None:
        results[other.name] = []
    for name in names:
        measurement = MEASUREMENTS[name]
        for target in (ours, other):
            if target is None or (target is other and not measurement.anywhere):
                continue
            click.echo(f"measuring {name} on {target.name}", err=True)
            try:
                results[target.name] += measurement.run(target, options)
            except (APIError, OSError, RuntimeError, subprocess.SubprocessError) as error:
                results[target.name].append(figures.missing(name, str(error)))
        if name == "pods" and ours.profile is not None and ours.profile.runtime == "docker":
            click.echo("measuring docker run beside it", err=True)
            results["docker"] = pods.docker_peer(options)
    return results


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-p", "--profile", help="A running cluster of ours (default: one made for this run).")
@click.option(
    "--against", type=click.Path(exists=True, dir_okay=False), help="Kubeconfig of another Kubernetes to compare."
)
@click.option("--against-name", default="other", show_default=True, help="What to call it.")
@click.option("--seconds", default=4, show_default=True, type=click.IntRange(1, 60), help="Length of each API load.")
@click.option("--pods", "pod_count", default=20, show_default=True, type=click.IntRange(1, 100))
@click.option("--nodes", default=500, show_default=True, type=click.IntRange(1, 5000), help="Bare nodes of `scale`.")
@click.option("--scale-pods", default=1000, show_default=True, type=click.IntRange(1, 20000), help="Pods of `scale`.")
@click.option(
    "--stored",
    default=Options.stored,
    show_default=True,
    type=click.IntRange(1000, 1_000_000),
    help="Objects that `server` compares with 100.",
)
@click.option("--idle-seconds", default=15, show_default=True, type=click.IntRange(1, 600))
@click.option("--image", default=Options.image, show_default=True, help="What test pods run; must have a shell.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Where the JSON goes.")
def main(
    names: tuple[str, ...], profile: str | None, against: str | None, against_name: str, seconds: int, pod_count: int,
    nodes: int, scale_pods: int, stored: int, idle_seconds: int, image: str, output: Path | None,
) -> None:  # fmt: skip
    """Measure a cluster. NAMEs choose what: startup, resources, api, server, wrk, pods, failover, cycle, scale."""
    unknown = sorted(set(names) - set(MEASUREMENTS))
    if unknown:
        raise click.UsageError(f"no measurement {unknown[0]!r}; there are: {', '.join(MEASUREMENTS)}")
    chosen = [n for n, m in MEASUREMENTS.items() if n in names or (not names and m.default)]
    options = Options(
        seconds=seconds,
        idle_seconds=idle_seconds,
        pods=pod_count,
        nodes=nodes,
        scale_pods=scale_pods,
        image=image,
        stored=stored,
    )
    described = machine.describe()
    about = {"machine": described, "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    other = Target(against_name, against) if against else None
    try:
        with _cluster(profile, any(MEASUREMENTS[n].cluster for n in chosen)) as ours:
            results = _measure(chosen, ours, other, options)
    except (ClusterError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench: {error}")
    click.echo("\n" + ", ".join(f"{key} {value}" for key, value in described.items() if value != "") + "\n")
    figures.show(results)
    path = output or state_directory() / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    figures.save(path, results, about)
    click.echo(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
