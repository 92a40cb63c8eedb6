"""A complete DRA driver in one file: GPUs that a file describes, published, given to claims, and seen by pods.

    python examples/dra_driver.py --root NODE_DIRECTORY --node NAME --kubeconfig FILE [--cdi DIRECTORY] [--gpus FILE]

NODE_DIRECTORY is what `/var/lib/kubelet` is elsewhere: the kubelet finds the driver's socket in its `plugins_registry`. The
driver publishes the cards in a ResourceSlice of the node; for a claim it writes a CDI specification, whose devices set
variables such as `GPU_DEVICE_0=GPU-…`, and takes it away again.
"""

import argparse
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kubelet import grpc_server
from kubelet.devices import gpu_file
from kubelet.devices.gpu_file import Card
from kubelet.dra import schema
from minikube_py.api import errors, yaml
from minikube_py.api import resourceclaims as rc
from minikube_py.api.gvr import RESOURCECLAIMS, RESOURCESLICES, new_object
from minikube_py.api.types import Obj
from minikube_py.client.kubeconfig import load
from minikube_py.client.rest import Client

NAME = "gpu.example.com"


def resource_slice(driver: str, node: str, cards: Sequence[Card]) -> Obj:
    """What the node offers: one device per card."""
    devices = [
        {
            "name": f"gpu-{index}",
            "attributes": {
                "index": {"int": index}, "model": {"string": card.model.name}, "uuid": {"string": card.uuid},
                "numa": {"int": card.numa},
            },
            "capacity": {"memory": {"value": f"{card.memory}Mi"}},
        }
        for index, card in enumerate(cards)
    ]  # fmt: skip
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": driver, "nodeName": node, "pool": pool, "devices": devices}
    return new_object(RESOURCESLICES, f"{node}-{driver}", spec=spec)


class Driver:
    """Prepares claims. `calls` are the methods called, for tests. In: the directory of CDI specifications."""

    def __init__(self, client: Client, name: str, node: str, cards: Sequence[Card], cdi: Path) -> None:
        self.client, self.name, self.node, self.cards, self.cdi = client, name, node, cards, cdi
        self.calls: list[tuple[str, list[str]]] = []
        self.m = schema.messages()

    def publish(self) -> None:
        """Raises APIError."""
        made = resource_slice(self.name, self.node, self.cards)
        try:
            self.client.create(RESOURCESLICES, made)
        except errors.AlreadyExists:
            held = self.client.get(RESOURCESLICES, made["metadata"]["name"])
            self.client.update(RESOURCESLICES, {**held, "spec": made["spec"]})

    def prepare(self, request: Any) -> Any:
        self.calls.append(("prepare", [claim.name for claim in request.claims]))
        answers = {}
        for claim in request.claims:
            try:
                answers[claim.uid] = self.m["NodePrepareResourceResponse"](devices=self._devices(claim))
            except (errors.APIError, ValueError) as error:
                answers[claim.uid] = self.m["NodePrepareResourceResponse"](error=str(error))
        return self.m["NodePrepareResourcesResponse"](claims=answers)

    def unprepare(self, request: Any) -> Any:
        self.calls.append(("unprepare", [claim.name for claim in request.claims]))
        for claim in request.claims:
            self._file(claim.uid).unlink(missing_ok=True)
        done = {claim.uid: self.m["NodeUnprepareResourceResponse"]() for claim in request.claims}
        return self.m["NodeUnprepareResourcesResponse"](claims=done)

    def _devices(self, ref: Any) -> list[Any]:
        """Raises APIError, ValueError."""
        claim = self.client.get(RESOURCECLAIMS, ref.name, ref.namespace)
        if claim["metadata"]["uid"] != ref.uid:
            raise ValueError(f"claim {ref.namespace}/{ref.name} is another one by now")
        allocated = ((rc.allocation_of(claim) or {}).get("devices") or {}).get("results") or []
        mine = [one for one in allocated if (one["driver"], one["pool"]) == (self.name, self.node)]
        self._specify(ref.uid, mine)
        return [
            self.m["Device"](
                request_names=[one["request"]], pool_name=one["pool"], device_name=one["device"],
                cdi_device_ids=[f"{self.name}/gpu={ref.uid}-{one['device']}"],
            )
            for one in mine
        ]  # fmt: skip

    def _specify(self, uid: str, results: Sequence[Obj]) -> None:
        devices = []
        for one in results:
            index = int(one["device"].removeprefix("gpu-"))
            env = [f"GPU_DEVICE_{index}={self.cards[index].uuid}"]
            devices.append({"name": f"{uid}-{one['device']}", "containerEdits": {"env": env}})
        self.cdi.mkdir(parents=True, exist_ok=True)
        making = self._file(uid).with_suffix(".tmp")
        making.write_text(json.dumps({"cdiVersion": "0.6.0", "kind": f"{self.name}/gpu", "devices": devices}))
        making.rename(self._file(uid))

    def _file(self, uid: str) -> Path:
        return self.cdi / f"{self.name}-{uid}.json"


def serve(driver: Driver, root: Path) -> Callable[[], None]:
    """Publish, answer, and register. Out: what ends it."""
    driver.publish()
    m, socket = driver.m, root / "plugins" / driver.name / "dra.sock"
    methods = {
        "NodePrepareResources": (m["NodePrepareResourcesRequest"], driver.prepare),
        "NodeUnprepareResources": (m["NodeUnprepareResourcesRequest"], driver.unprepare),
    }
    stop = grpc_server.serve(socket, {schema.SERVICES["v1.DRAPlugin"]: methods})
    registration = root / "plugins_registry" / f"{driver.name}-reg.sock"
    leave = grpc_server.register(registration, schema.PLUGIN_TYPE, driver.name, socket, ["v1.DRAPlugin"])

    def end() -> None:
        leave()
        stop()

    return end


def main() -> None:
    parser = argparse.ArgumentParser(description="A DRA driver whose devices are described in a file.")
    parser.add_argument("--root", required=True, type=Path, help="the node's directory, which holds plugins_registry")
    parser.add_argument("--node", required=True)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument(
        "--cdi", default="/var/run/cdi", type=Path, help="where the kubelet looks for CDI specifications"
    )
    parser.add_argument("--gpus", default=Path(__file__).parent / "gpus.yaml", type=Path)
    parser.add_argument("--name", default=NAME)
    options = parser.parse_args()
    cards = gpu_file.parse(yaml.load(options.gpus.read_text()), options.node).cards
    driver = Driver(Client(load(options.kubeconfig)), options.name, options.node, cards, options.cdi)
    serve(driver, options.root.resolve())
    threading.Event().wait()


if __name__ == "__main__":
    main()
