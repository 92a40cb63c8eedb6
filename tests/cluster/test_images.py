"""The offline base image: runs, resolves names through its own libraries."""

import docker

from minikube_py.cluster import images


def test_base_images_are_built_once_and_work(docker_engine: docker.DockerClient) -> None:
    images.build(images.missing())
    assert images.missing() == []
    output = docker_engine.containers.run("busybox:latest", ["sh", "-c", "ping -c1 localhost && id -u"], remove=True)
    assert b"from 127.0.0.1" in output
    assert output.endswith(b"\n0\n")


def test_the_tree_holds_a_dynamic_busybox_with_its_libraries() -> None:
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(images.busybox_tree())) as tar:
        names = set(tar.getnames())
    assert {"bin/busybox", "bin/sh", "bin/nslookup", "etc/nsswitch.conf", "tmp"} <= names
