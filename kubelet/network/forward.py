"""Letting other machines' packets through to pods: one rule in DOCKER-USER, the chain the engine keeps for its users' rules.

Who calls it: network/main.py, again and again (an engine that restarts, or an administrator, may have thrown it away);
cleanup.py. Why: where the engine switched forwarding on itself, its FORWARD chain drops what it did not publish, and so every
NodePort dialled from outside this host.
Invariant: it lets through only connections that some rule redirected (ctstate DNAT) to this profile's bridge, so pods cannot be
dialled by their own addresses; it is named by a comment and nothing else is touched. Without such a chain nothing is needed.
Upstream: docs.docker.com "Packet filtering and firewalls".
"""

import logging
import shlex
import subprocess
from pathlib import Path

log = logging.getLogger(__name__)

_CHAIN = "DOCKER-USER"
_TOOLS = ("iptables", "iptables-nft", "iptables-legacy")  # the first that sees the engine's chain is the one it used
_LEGACY_TABLES = Path("/proc/net/ip_tables_names")


def ensure(profile: str, bridge: str) -> None:
    """Have the rule, once, if the engine filters at all."""
    only = f"-o {bridge} -m conntrack --ctstate DNAT -m comment --comment {_comment(profile)} -j ACCEPT"
    tool, rules = _chain()
    if tool and not any(_names(line, profile) for line in rules):
        done = _call(tool, "-I", _CHAIN, "1", *only.split())
        if done.returncode:
            log.warning("NodePorts may not be reachable from other machines: %s", done.stderr.strip())


def remove(profile: str) -> None:
    """Take the rule away; no error when there is none."""
    tool, rules = _chain()
    for line in rules:
        if _names(line, profile):
            _call(tool, "-D", *shlex.split(line)[1:])


def _chain() -> tuple[str, list[str]]:
    """The tool that sees the engine's chain, and the chain's rules; nothing when there is no such chain."""
    for tool in _TOOLS:
        if tool.endswith("legacy") and not (_LEGACY_TABLES.exists() and _LEGACY_TABLES.read_text()):
            continue  # asking would make the tables
        listed = _call(tool, "-S", _CHAIN)
        if listed.returncode == 0:
            return tool, listed.stdout.splitlines()
    return "", []


def _names(line: str, profile: str) -> bool:
    return _comment(profile) in shlex.split(line)


def _comment(profile: str) -> str:
    return f"minikube-py/{profile}"


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run([command[0], "-w", *command[1:]], capture_output=True, text=True, timeout=30)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
