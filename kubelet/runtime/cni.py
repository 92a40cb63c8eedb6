"""A CNI plugin that does nothing, for runtimes that will not make a pod without one: the kubelet wires its pods itself.

Who calls it: whoever sets a runtime up (docs/runtimes.md), as `python -m kubelet.runtime.cni CONF_DIR BIN_DIR`; tests.
Invariant: files that are there already are left alone, except our own. A runtime makes the network namespace, asks the plugins
to fill it, and wants to hear of an interface with an address: that is all they say; what the pod's address really is stands in
its sandbox's label. The plugin `loopback` is asked for besides; the real one, where installed, does no harm.
Upstream: github.com/containernetworking/cni, SPEC.md.
"""

import json
import sys
from pathlib import Path

from minikube_py.api.types import Obj

NAME = "minikube-py"
_PLUGIN = """#!/bin/sh
# Written by minikube-py: the kubelet connects the pod.
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"0.4.0","supportedVersions":["0.3.0","0.3.1","0.4.0"]}' ;;
ADD) echo '{"cniVersion":"0.4.0","interfaces":[{"name":"'"$CNI_IFNAME"'","sandbox":"'"$CNI_NETNS"'"}],
"ips":[{"version":"4","address":"127.0.0.1/8","interface":0}]}' ;;
esac
"""


def install(conf_dir: Path, bin_dir: Path) -> None:
    """Write the plugin and its configuration list. Raises OSError."""
    conf: Obj = {"cniVersion": "0.4.0", "name": NAME, "plugins": [{"type": NAME}]}
    conf_dir.mkdir(parents=True, exist_ok=True)
    bin_dir.mkdir(parents=True, exist_ok=True)
    for plugin in (bin_dir / NAME, bin_dir / "loopback"):
        if plugin.name == NAME or not plugin.exists():
            plugin.write_text(_PLUGIN)
            plugin.chmod(0o755)
    (conf_dir / f"10-{NAME}.conflist").write_text(json.dumps(conf) + "\n")


if __name__ == "__main__":
    try:
        install(Path(sys.argv[1]), Path(sys.argv[2]))
    except (IndexError, OSError) as error:
        sys.exit(f"usage: python -m kubelet.runtime.cni CONF_DIR BIN_DIR ({error})")
