"""The API server's options: one frozen record, and the flags that fill it.

Who calls it: `apiserver/main.py` (command line), `minikube_py.cluster` (builds the record itself for the forked process).
Invariant: parsing reads nothing but its arguments; a flag that makes no sense ends in one sentence and exit code 1,
never in a traceback. Flag names follow kube-apiserver's where there is a counterpart.
Upstream: cmd/kube-apiserver/app/options.
"""

import argparse
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NoReturn


class OptionError(ValueError):
    """An option that cannot work; the message names the flag and the fix."""


@dataclass(frozen=True)
class Options:
    """Everything one API server process is told. Paths are "" when not given; times are seconds."""

    data_dir: str = "."
    store: str = "sqlite"
    bind: tuple[str, ...] = ("127.0.0.1",)
    port: int = 6443
    tls_cert: str = ""
    tls_key: str = ""
    client_ca: str = ""
    requestheader_client_ca: str = ""
    requestheader_allowed_names: str = "front-proxy-client"
    proxy_client_cert: str = ""
    proxy_client_key: str = ""
    token_auth_file: str = ""
    service_account_key: str = ""
    service_account_issuer: str = "https://kubernetes.default.svc.cluster.local"
    encryption_key: str = ""
    service_cluster_ip_range: str = "10.96.0.0/16"
    service_node_port_range: str = "30000-32767"
    cluster_dns: str = ""
    advertise_address: str = ""
    advertise_port: int = 0
    kubelet_client_cert: str = ""
    kubelet_client_key: str = ""
    kubelet_ca: str = ""
    default_not_ready_toleration_seconds: int = 300
    default_unreachable_toleration_seconds: int = 300
    disable_admission_plugins: str = ""
    admission_control_config_file: str = ""
    event_ttl: int = 3600
    max_requests_inflight: int = 400
    max_mutating_requests_inflight: int = 200
    audit_log: str = ""
    audit_policy_file: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise OptionError(f"--port {self.port} is not a TCP port: use a number from 1 to 65535")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise OptionError("--tls-cert and --tls-key belong together: give both or neither")
        for flag, value in (("--service-cluster-ip-range", self.service_cluster_ip_range),):
            try:
                ipaddress.ip_network(value)
            except ValueError as error:
                raise OptionError(f"{flag} {value} is not a network such as 10.96.0.0/16: {error}") from None
        for address in (*self.bind, *([self.advertise_address] if self.advertise_address else [])):
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise OptionError(
                    f"{address} is not an IP address: --bind and --advertise-address take addresses"
                ) from None
        if self.store != "sqlite" and not self.store.startswith("etcd://"):
            raise OptionError(f"--store {self.store} is neither sqlite nor etcd://HOST:PORT")

        low, _, high = self.service_node_port_range.partition("-")
        if not (low.isdigit() and high.isdigit() and 0 < int(low) <= int(high) < 65536):
            raise OptionError(
                f"--service-node-port-range {self.service_node_port_range} is not a range such as 30000-32767"
            )

    @property
    def node_ports(self) -> range:
        """The ports that NodePort Services are given."""
        low, _, high = self.service_node_port_range.partition("-")
        return range(int(low), int(high) + 1)

    @property
    def advertised(self) -> tuple[str, int]:
        """The address and port that the `kubernetes` Service's endpoints name."""
        return self.advertise_address or self.bind[-1], self.advertise_port or self.port


_HELP = {
    "data_dir": "directory of the embedded store",
    "store": "sqlite, or etcd://HOST:PORT[?prefix=P]",
    "bind": "address to listen on; may be given several times",
    "tls_cert": "certificate the server shows (PEM)",
    "client_ca": "CA whose client certificates are believed",
    "requestheader_client_ca": "CA whose clients may say, in X-Remote-* headers, on whose behalf they ask",
    "requestheader_allowed_names": "common names such a client may have, comma-separated; empty is any",
    "proxy_client_cert": "certificate shown to aggregated API servers (PEM)",
    "token_auth_file": 'static tokens, CSV: token,user,uid,"group1,group2"',
    "service_account_key": "private key that signs service-account tokens (PEM, EC or RSA)",
    "encryption_key": "file with the key that encrypts Secrets at rest",
    "disable_admission_plugins": "admission plugins to leave out, by name, comma-separated",
    "admission_control_config_file": "an AdmissionConfiguration; the PodSecurity plugin reads its own",
    "max_requests_inflight": "reading requests worked on at once before others are told 429; 0 is no limit",
    "max_mutating_requests_inflight": "the same for all others",
    "cluster_dns": "make the Service kube-system/kube-dns with this cluster IP, which the nodes' own DNS servers answer",
    "advertise_address": "address that pods reach this server by",
    "audit_log": "file that receives one JSON line per audit event",
    "audit_policy_file": "what is audited: an audit.k8s.io/v1 Policy (default: writes, and whoever is refused)",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message}; --help lists the flags")


def parse(argv: Sequence[str] | None = None) -> Options:
    """Options from command-line flags. Raises OptionError."""
    parser = _Parser(prog="apiserver", description="The minikube-py API server.", allow_abbrev=False)
    for field in fields(Options):
        flag = "--" + field.name.replace("_", "-")
        text = _HELP.get(field.name)
        if field.name == "bind":
            parser.add_argument(flag, action="append", metavar="ADDRESS", help=text)
        else:
            kind = int if isinstance(field.default, int) else str
            parser.add_argument(flag, type=kind, default=field.default, help=text)
    values = vars(parser.parse_args(argv))
    values["bind"] = tuple(values["bind"] or Options.bind)
    return Options(**values)
