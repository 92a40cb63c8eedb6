"""`kctl create namespace|deployment|configmap|secret|serviceaccount|service`: common kinds from flags.

Who calls it: `apply.py`, which registers these under `kctl create`. A row is a function from flags to an object.
"""

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from minikube_py.api.gvr import CONFIGMAPS, DEPLOYMENTS, GVR, NAMESPACES, SECRETS, SERVICEACCOUNTS, SERVICES, new_object
from minikube_py.api.types import Obj

Create = Callable[..., None]
_literal = click.option("--from-literal", multiple=True, metavar="KEY=VALUE")
_file = click.option("--from-file", multiple=True, metavar="[KEY=]FILE")


def register(group: click.Group, create: Create, *options: Callable[[Any], Any]) -> None:
    """Add one subcommand per common kind to `group`; each builds its object and hands it to `create`."""
    groups = {name: click.Group(name, help=f"Create a {name}.") for name in ("secret", "service")}
    for nested in groups.values():
        group.add_command(nested)
    image = click.option("--image", required=True, multiple=True)
    replicas, port = click.option("--replicas", type=int, default=1), click.option("--port", type=int)
    tcp = click.option("--tcp", multiple=True, required=True, metavar="PORT[:TARGET]")
    table: list[tuple[click.Group, tuple[str, ...], Callable[..., Obj], tuple[Any, ...]]] = [
        (group, ("namespace", "ns"), _namespace, ()),
        (group, ("serviceaccount", "sa"), _service_account, ()),
        (group, ("deployment", "deploy"), _deployment, (image, replicas, port)),
        (group, ("configmap", "cm"), _config_map, (_literal, _file)),
        (groups["secret"], ("generic",), _secret, (_literal, _file)),
        (groups["service"], ("clusterip",), _cluster_ip, (tcp,)),
        (groups["service"], ("nodeport",), _node_port, (tcp,)),
    ]
    for parent, names, build, parameters in table:
        for name in names:
            parent.add_command(_command(name, build, create, (*options, *parameters, click.argument("name"))))


def _command(name: str, build: Callable[..., Obj], create: Create, parameters: Sequence[Any]) -> click.Command:
    @click.pass_obj
    def run(session: Any, /, dry_run: str, output: str, **flags: Any) -> None:
        create(session, build(**flags), dry_run, output)

    decorated: Any = run
    for parameter in parameters:
        decorated = parameter(decorated)
    return click.command(name, help=build.__doc__)(decorated)


def _namespace(name: str) -> Obj:
    """Create a namespace."""
    return new_object(NAMESPACES, name)


def _service_account(name: str) -> Obj:
    """Create a service account."""
    return new_object(SERVICEACCOUNTS, name)


def _deployment(name: str, image: Sequence[str], replicas: int, port: int | None) -> Obj:
    """Create a deployment that runs the image(s)."""
    labels = {"app": name}
    containers: list[Obj] = []
    for reference in image:
        container: Obj = {"name": reference.rpartition("/")[2].split(":")[0].split("@")[0], "image": reference}
        if port:
            container["ports"] = [{"containerPort": port}]
        containers.append(container)
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {**new_object(DEPLOYMENTS, name, spec=spec), "metadata": {"name": name, "labels": labels}}


def _config_map(name: str, from_literal: Sequence[str], from_file: Sequence[str]) -> Obj:
    """Create a ConfigMap from literals and files."""
    return new_object(CONFIGMAPS, name, data={k: v.decode() for k, v in _data(from_literal, from_file).items()})


def _secret(name: str, from_literal: Sequence[str], from_file: Sequence[str]) -> Obj:
    """Create an opaque Secret from literals and files."""
    data = {k: base64.b64encode(v).decode() for k, v in _data(from_literal, from_file).items()}
    return new_object(SECRETS, name, type="Opaque", data=data)


def _cluster_ip(name: str, tcp: Sequence[str]) -> Obj:
    """Create a Service for the pods labelled app=NAME."""
    return _service(name, tcp, "ClusterIP")


def _node_port(name: str, tcp: Sequence[str]) -> Obj:
    """Create a Service, reachable on every node, for the pods labelled app=NAME."""
    return _service(name, tcp, "NodePort")


def _service(name: str, tcp: Sequence[str], kind: str) -> Obj:
    ports: list[Obj] = []
    for pair in tcp:
        port, _, target = pair.partition(":")
        if not port.isdigit():
            raise click.UsageError(f"invalid port {pair!r}: use PORT or PORT:TARGET")
        to: int | str = int(target or port) if (target or port).isdigit() else target
        ports.append({"name": f"{port}-{target or port}", "port": int(port), "targetPort": to, "protocol": "TCP"})
    return _labelled(SERVICES, name, {"selector": {"app": name}, "type": kind, "ports": ports})


def _labelled(gvr: GVR, name: str, spec: Obj) -> Obj:
    return {**new_object(gvr, name, spec=spec), "metadata": {"name": name, "labels": {"app": name}}}


def _data(literals: Sequence[str], files: Sequence[str]) -> dict[str, bytes]:
    data: dict[str, bytes] = {}
    for literal in literals:
        key, sign, value = literal.partition("=")
        if not sign or not key:
            raise click.UsageError(f"invalid literal source {literal}, expected key=value")
        data[key] = value.encode()
    for source in files:
        key, _, path = source.rpartition("=")
        file = Path(path)
        if not file.is_file():
            raise click.ClickException(f"error reading {path}: no such file")
        data[key or file.name] = file.read_bytes()
    return data
