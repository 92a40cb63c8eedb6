"""`minikube-py image build|load|list`: images for the cluster's nodes, which share one engine.

Who calls it: `cli/main.py`. The work is done in `minikube_py.cluster.images`.
"""

from pathlib import Path

import click


@click.group()
def image() -> None:
    """Build, load and list images; every node sees them at once."""


@image.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("-t", "--tag", help="The name of the image to build from DIRECTORY.")
def build(directory: Path | None, tag: str | None) -> None:
    """Build an image from a directory with a Dockerfile; without one, the offline base images."""
    from minikube_py.cluster import images

    if directory is None:
        images.build(images.missing(), lambda name: click.echo(f"image/{name} built"))
        return
    if not tag:
        raise click.UsageError("name the image with -t NAME")
    images.build_from(directory, tag)
    click.echo(f"image/{tag} built")


@image.command()
@click.argument("archive", type=click.Path(path_type=Path))
def load(archive: Path) -> None:
    """Load a tar archive made by `docker save`."""
    from minikube_py.cluster import images

    for name in images.load(archive):
        click.echo(f"image/{name} loaded")


@image.command("list")
def list_images() -> None:
    """List the images the nodes have."""
    from minikube_py.cluster import images

    for name, size in images.names():
        click.echo(f"{name:<60} {size / 1e6:8.1f} MB")
