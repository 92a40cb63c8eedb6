"""`minikube-py up|down|status|kubeconfig|doctor|logs`.

Who calls it: `cli/main.py`. Heavy imports happen inside the commands, so that `--help` and completion stay quick.
"""

import json
import subprocess
import sys
from pathlib import Path

import click

from minikube_py.cluster import profile as profiles
from minikube_py.cluster.errors import ClusterError

profile_option = click.option(
    "-p", "--profile", "name", default=profiles.DEFAULT, show_default=True, help="Which cluster."
)


@click.command()
@click.option("--nodes", type=click.IntRange(1, profiles.MAX_NODES), help="How many nodes (new clusters: 3).")
@click.option("--store", help="Where state lives: sqlite (default) or etcd://HOST:PORT.")
@click.option("--gpus", type=click.Path(dir_okay=False), help="A YAML file that describes simulated GPUs.")
@click.option("--scheduler-config", type=click.Path(dir_okay=False), help="A KubeSchedulerConfiguration file.")
@click.option("--timing", type=click.Choice(["classroom", "upstream"]), help="How fast failures are noticed.")
@click.option(
    "--runtime", type=click.Choice(["docker", "cri", "simulated"]), help="Docker, a containerd of its own, or none."
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="The API server's port (default: 6443, or the next free plan)."
)
@click.option(
    "--listen", metavar="ADDRESS", help="An address of this machine at which others may reach the API server."
)
@click.option("--merge-kubeconfig/--no-merge-kubeconfig", default=True, help="Add a context to your own kubeconfig.")
@click.option("--sample/--no-sample", default=False, help="Deploy a small web server and its Service.")
@profile_option
def up(
    nodes: int | None, store: str | None, gpus: str | None, timing: str | None, runtime: str | None, port: int | None,
    listen: str | None, merge_kubeconfig: bool, sample: bool, name: str, scheduler_config: str | None,
) -> None:  # fmt: skip
    """Start a cluster, or complete and refresh a running one."""
    from minikube_py.cli import summary
    from minikube_py.cluster import host
    from minikube_py.cluster import sample as samples
    from minikube_py.cluster.progress import Progress
    from minikube_py.cluster.up import Wish
    from minikube_py.cluster.up import up as bring_up

    if store is not None and store != "sqlite" and not store.startswith("etcd://"):
        raise click.UsageError(f"--store must be sqlite or etcd://HOST:PORT, not {store!r}")
    if listen and not host.is_own_address(listen):
        raise click.UsageError(f"--listen {listen} is no address of this machine (see: ip -brief address)")
    progress = Progress()
    wish = Wish(name, nodes, store, timing, runtime, gpus, port, merge_kubeconfig, listen, scheduler_config)
    profile = bring_up(wish, progress)
    if sample:
        with progress.phase("sample available"):
            samples.deploy(profile)
        progress.save(profile.directory / "phases.json")
    summary.after_up(profile, progress, sample)


@click.command()
@click.option("--all", "every", is_flag=True, help="Take every profile down.")
@profile_option
def down(every: bool, name: str) -> None:
    """Remove a cluster: its processes, containers, network, rules, mounts and files."""
    from minikube_py.cluster.down import down as take_down
    from minikube_py.cluster.progress import Progress

    chosen = profiles.load_all() if every else [p for p in [profiles.find(profiles.check_name(name))] if p]
    if not chosen:
        profiles.remove_tree(profiles.profiles_directory() / name)  # what an `up` that failed early may have left
        click.echo(f"no cluster {name!r} here: nothing to do" if not every else "no cluster here: nothing to do")
    for profile in chosen:
        click.echo(f"Taking down {profile.name}")
        take_down(profile, Progress())


@click.command()
@click.option("--all", "every", is_flag=True, help="Every profile.")
@profile_option
def status(every: bool, name: str) -> None:
    """Show a cluster's processes and nodes. Exits 1 if something that should run does not."""
    from minikube_py.cli import summary

    chosen = profiles.load_all() if every else [profiles.load(name)]
    if not chosen:
        click.echo("no cluster here; start one with: minikube-py up")
    healthy = [summary.status(profile) for profile in chosen]
    sys.exit(0 if all(healthy) else 1)


@click.command()
@profile_option
def kubeconfig(name: str) -> None:
    """Print the path of the administrator's kubeconfig."""
    click.echo(profiles.load(name).kubeconfig)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def doctor(as_json: bool) -> None:
    """Check this machine and name the fix for whatever is missing. Exits 1 if a cluster cannot run."""
    from minikube_py.cluster.doctor import examine

    findings = examine()
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        for finding in findings:
            mark = ("✓", "green") if not finding.problem else ("✗", "red") if finding.required else ("!", "yellow")
            click.echo(f" {click.style(mark[0], fg=mark[1])} {finding.name:<16} {finding.problem or 'fine'}")
    sys.exit(1 if any(finding.problem and finding.required for finding in findings) else 0)


@click.command()
@click.argument("component")
@click.option("-f", "--follow", is_flag=True, help="Keep printing what is added.")
@click.option("-n", "--tail", type=click.IntRange(0), default=50, show_default=True, help="How many last lines.")
@profile_option
def logs(component: str, follow: bool, tail: int, name: str) -> None:
    """Print a component's log: apiserver, controllers, kubelet-NODE, kube-proxy, supervisor, audit."""
    directory = profiles.load(name).logs
    file = directory / f"{component}.log"
    if not file.exists():
        known = ", ".join(sorted(path.stem for path in directory.glob("*.log"))) or "none yet"
        raise ClusterError(f"no log of {component!r} (there are: {known})")
    if follow:
        sys.exit(subprocess.call(["tail", "-n", str(tail), "-F", str(file)]))
    click.echo("\n".join(_last_lines(file, tail)))


def _last_lines(file: Path, count: int) -> list[str]:
    return file.read_text(errors="replace").splitlines()[-count:] if count else []
