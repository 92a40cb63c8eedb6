"""`minikube-py`: clusters, nodes, images and labs from the command line.

Who runs it: people, `make up`, labs. Invariant: bad input and missing things end in one sentence on stderr and exit code 1
(2 for wrong usage), never in a traceback; commands only parse and print, the work is done in `minikube_py.cluster`.
"""

import errno
import os
import sys
from typing import Any

import click

from minikube_py import __version__
from minikube_py.api.errors import APIError
from minikube_py.cli.addon_commands import addon
from minikube_py.cli.cluster_commands import doctor, down, kubeconfig, logs, status, up
from minikube_py.cli.image_commands import image
from minikube_py.cli.lab_commands import labs
from minikube_py.cli.node_commands import node
from minikube_py.cli.security_commands import encryption, token
from minikube_py.cli.service_commands import service
from minikube_py.cli.why_command import why
from minikube_py.cluster.errors import ClusterError
from minikube_py.cluster.profile import home


class Group(click.Group):
    """A click group that shows our errors as one sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ClusterError, APIError) as error:
            click.echo(f"{click.style('error:', fg='red')} {error}", err=True)
            sys.exit(1)
        except BrokenPipeError:  # `minikube-py status | head`: whoever read us has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            click.echo(f"{click.style('error:', fg='red')} {_explained(error)}", err=True)
            sys.exit(1)


def _explained(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return (
            f"the disk that holds {home()} is full; free some space, or set MINIKUBE_PY_HOME to a directory elsewhere"
        )
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="minikube-py")
def main() -> None:
    """Kubernetes you can read, running real containers."""


for command in (up, down, status, node, token, encryption, service, addon, image, kubeconfig, doctor, logs, why, labs):
    main.add_command(command)

if __name__ == "__main__":
    main()
