"""The base images as an archive that `docker load` and `ctr images import` take: for engines we cannot tell to make an image.

Who calls it: `containerd`. Invariant: the same machine gives the same image ids, so that importing twice changes nothing.
Upstream: the image specification's docker-archive layout (github.com/moby/docker-image-spec).
"""

import hashlib
import io
import json
import platform
import tarfile

from minikube_py.api.types import Obj
from minikube_py.cluster import images

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_FIELDS = {"ENTRYPOINT": "Entrypoint", "CMD": "Cmd"}


def archive(wanted: tuple[images.BaseImage, ...] = images.BASE_IMAGES) -> bytes:
    """A tar with all of these images, which share their one layer."""
    layer = images.busybox_tree()
    digest = hashlib.sha256(layer).hexdigest()
    buffer, manifest = io.BytesIO(), []
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        images.add(tar, f"{digest}.tar", layer, mode=0o644)
        for image in wanted:
            config = json.dumps(_config(image, digest)).encode()
            name = f"{hashlib.sha256(config).hexdigest()}.json"
            images.add(tar, name, config, mode=0o644)
            manifest.append({"Config": name, "RepoTags": [image.name], "Layers": [f"{digest}.tar"]})
        images.add(tar, "manifest.json", json.dumps(manifest).encode(), mode=0o644)
    return buffer.getvalue()


def _config(image: images.BaseImage, digest: str) -> Obj:
    settings: Obj = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}
    for change in image.changes:
        instruction, _, value = change.partition(" ")
        settings[_FIELDS[instruction]] = json.loads(value)
    machine = platform.machine()
    return {
        "architecture": _ARCHITECTURES.get(machine, machine), "os": "linux", "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}, "history": [{"created_by": "minikube-py"}],
    }  # fmt: skip
