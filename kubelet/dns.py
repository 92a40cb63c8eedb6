"""The files that make names work inside a pod: resolv.conf, hosts and the hostname. Pure but for `write`.

Who calls it: `sandbox`. Invariant: upstream's text to the letter, managed header included; hostNetwork pods get the node's own.
Upstream: pkg/kubelet/network/dns/dns.go, managedHostsFileContent in pkg/kubelet/kubelet_pods.go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minikube_py.api.types import Obj

_HEADER = "# Kubernetes-managed hosts file.\n"
_HOST_HEADER = "# Kubernetes-managed hosts file (host network).\n"
_LOCAL = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n"
    "fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
)
_MAX_LABEL = 63


@dataclass(frozen=True)
class Resolver:
    """The contents of a resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {server}" for server in self.servers]
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "\n".join(lines) + "\n"


def parse_resolv(text: str) -> Resolver:
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] == "search":
            searches = tuple(words[1:])
        elif words[0] == "options":
            options = tuple(words[1:])
    return Resolver(tuple(servers), searches, options)


def resolver_for(pod: Obj, cluster_dns: Sequence[str], domain: str, host: Resolver) -> Resolver:
    """The pod's resolv.conf by its dnsPolicy and dnsConfig. In: `host` is the node's own."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy", "ClusterFirst")
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    if policy == "None":
        base = Resolver()
    elif policy == "Default" or not cluster_dns:
        base = host
    else:
        namespace = pod["metadata"]["namespace"]
        own = (f"{namespace}.svc.{domain}", f"svc.{domain}", domain)
        base = Resolver(tuple(cluster_dns), _unique((*own, *host.searches)), ("ndots:5",))
    extra = spec.get("dnsConfig") or {}
    given = {option["name"]: option.get("value") for option in extra.get("options") or []}
    kept = tuple(option for option in base.options if option.split(":")[0] not in given)
    added = tuple(f"{name}:{value}" if value else name for name, value in given.items())
    return Resolver(
        _unique((*base.servers, *(extra.get("nameservers") or ()))),
        _unique((*base.searches, *(extra.get("searches") or ()))),
        (*kept, *added),
    )


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def names_of(pod: Obj, domain: str, node: str) -> tuple[str, str]:
    """(hostname, fully qualified name or ""), as the pod sees itself."""
    spec, meta = pod["spec"], pod["metadata"]
    if spec.get("hostnameOverride"):
        return str(spec["hostnameOverride"]), ""
    if spec.get("hostNetwork"):
        return node, ""
    hostname = str(spec.get("hostname") or meta["name"])[:_MAX_LABEL].rstrip("-.")
    subdomain = spec.get("subdomain")
    qualified = f"{hostname}.{subdomain}.{meta['namespace']}.svc.{domain}" if subdomain else ""
    if spec.get("setHostnameAsFQDN") and qualified:
        return qualified, qualified
    return hostname, qualified


def hosts_text(pod: Obj, ip: str, hostname: str, qualified: str, host_file: str) -> str:
    """The managed /etc/hosts. In: `host_file` is the node's own, for hostNetwork pods."""
    if pod["spec"].get("hostNetwork"):
        text = _HOST_HEADER + host_file
    else:
        names = f"{qualified}\t{hostname}" if qualified else hostname
        text = _HEADER + _LOCAL + (f"{ip}\t{names}\n" if ip else "")
    aliases = pod["spec"].get("hostAliases") or []
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join(f"{alias['ip']}\t" + "\t".join(alias.get("hostnames") or []) + "\n" for alias in aliases)
    return text


def write(path: Path, text: str) -> None:
    """Write in place: a bind-mounted file must keep its inode."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        path.chmod(0o644)
