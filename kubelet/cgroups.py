"""Removing the cgroup of a pod that is gone: the engine removes those of containers and leaves their parent.

Who calls it: `pod_worker` at a pod's end, `pod_manager` for pods that are gone. Invariant: only empty directories below our own
prefix are ever removed; a machine that does not show us its cgroups loses nothing.
"""

import contextlib
import glob
import os

_ROOT = "/sys/fs/cgroup"


def remove(parent: str) -> None:
    """Remove the cgroup `parent` (a path of the cgroupfs driver) in every hierarchy; slices are systemd's to remove."""
    if not parent.startswith("/minikube-py/"):
        return
    for pattern in (f"{_ROOT}{parent}", f"{_ROOT}/*{parent}"):
        for directory in glob.glob(pattern):
            with contextlib.suppress(OSError):
                os.rmdir(directory)


def remove_all(profile: str, node: str = "") -> None:
    """Remove every empty cgroup of a profile (or of one of its nodes), deepest first: for `down` and `node remove`."""
    below = f"{glob.escape(profile)}/{glob.escape(node)}" if node else glob.escape(profile)
    for root in (f"{_ROOT}/minikube-py", f"{_ROOT}/*/minikube-py"):
        for top in glob.glob(f"{root}/{below}"):
            for directory, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)


def leftovers(profile: str, node: str) -> list[str]:
    """The uids of pods that have a cgroup."""
    found = set()
    for pattern in (f"{_ROOT}/minikube-py", f"{_ROOT}/*/minikube-py"):
        for directory in glob.glob(f"{pattern}/{glob.escape(profile)}/{glob.escape(node)}/pod*"):
            found.add(os.path.basename(directory)[3:])
    return sorted(found)
