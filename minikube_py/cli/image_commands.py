"""`minikube-py image build|load|list`: images for the cluster's nodes, which share one engine.

Who calls it: `cli/main.py`. The work is done in `minikube_py.cluster.images`, and for a cluster with `--runtime cri` in
`minikube_py.cluster.containerd`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from minikube_py.cli.cluster_commands import profile_option
from minikube_py.cluster import profile as profiles

if TYPE_CHECKING:
    from minikube_py.cluster.containerd import Containerd


@click.group()
def image() -> None:
    """Build, load and list images; every node sees them at once."""


def own_containerd(name: str) -> "Containerd | None":
    """The containerd of this cluster, if it has one; else its images are the Docker Engine's."""
    profile = profiles.find(name)
    if profile is None or profile.runtime != "cri":
        return None
    from minikube_py.cluster import containerd

    return containerd.of(profile)


@image.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("-t", "--tag", help="The name of the image to build from DIRECTORY.")
@profile_option
def build(directory: Path | None, tag: str | None, name: str) -> None:
    """Build an image from a directory with a Dockerfile; without one, the offline base images."""
    from minikube_py.cluster import images

    if directory is None:
        images.build(images.missing(), lambda image: click.echo(f"image/{image} built"))
        return
    if not tag:
        raise click.UsageError("name the image with -t NAME")
    images.build_from(directory, tag)
    own = own_containerd(name)
    if own:
        own.copy(tag)
    click.echo(f"image/{tag} built")


@image.command()
@click.argument("archive", type=click.Path(path_type=Path))
@profile_option
def load(archive: Path, name: str) -> None:
    """Load a tar archive made by `docker save`."""
    from minikube_py.cluster import images

    own = own_containerd(name)
    for brought in own.load_file(archive) if own else images.load(archive):
        click.echo(f"image/{brought} loaded")


@image.command("list")
@profile_option
def list_images(name: str) -> None:
    """List the images the nodes have."""
    from minikube_py.cluster import images

    own = own_containerd(name)
    for held, size in own.names() if own else images.names():
        click.echo(f"{held:<60} {size / 1e6:8.1f} MB")
