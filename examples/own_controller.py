"""A controller of your own, complete: every ConfigMap labelled `greet: NAME` gets `data.greeting`, whatever happens to it.

Run it against any cluster: `python examples/own_controller.py` (it uses your kubeconfig); end it with Ctrl-C.
"""

import threading

from minikube_py.api.gvr import CONFIGMAPS
from minikube_py.api.meta import labels_of, split_key
from minikube_py.client.controller import Controller
from minikube_py.client.informer import Informer
from minikube_py.client.kubeconfig import load
from minikube_py.client.rest import Client


class Greeter:
    name = "greeter"

    def __init__(self, client: Client) -> None:
        self.client = client
        self.maps = Informer(client, CONFIGMAPS, label_selector="greet")

    def reconcile(self, key: str) -> float | None:
        """Look at the object as it is now, and write only if that is not what it should be."""
        config_map = self.maps.get_key(key)
        if config_map is None:
            return None
        wanted = f"Hello, {labels_of(config_map)['greet']}!"
        if (config_map.get("data") or {}).get("greeting") != wanted:
            namespace, name = split_key(key)
            self.client.patch(CONFIGMAPS, name, {"data": {"greeting": wanted}}, namespace)
        return None


def start(client: Client) -> Controller:
    greeter = Greeter(client)
    controller = Controller(greeter).watch(greeter.maps)
    greeter.maps.start()
    controller.start()
    return controller


if __name__ == "__main__":
    start(Client(load(), user_agent="greeter"))
    threading.Event().wait()
