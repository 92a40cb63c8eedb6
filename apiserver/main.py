"""The API server process: opens what it needs, in start-up order, and serves until it is told to stop.

Who calls it: `python -m apiserver.main`, and the supervisor, which forks and calls `run`. Invariant: nothing happens before
`run`; a start that cannot succeed ends in one sentence on stderr and exit code 1; SIGTERM ends it with exit code 0 and
nothing acknowledged is lost.
Upstream: cmd/kube-apiserver/app/server.go.
"""

import asyncio
import gc
import logging
import sys
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_network
from typing import Any

from apiserver import audit_policy, bootstrap, listener, malloc, strategies, watching
from apiserver.admission import configuration
from apiserver.admission.dynamic import Dynamic
from apiserver.aggregation.catalogue import APIServices
from apiserver.aggregation.controller import AggregationController
from apiserver.aggregation.dial import Dialer
from apiserver.aggregation.documents import Documents
from apiserver.audit import Audit
from apiserver.auth import authentication, escalation, policy_params, rbac, signers
from apiserver.auth.authentication import Authenticator
from apiserver.auth.authorization import Authorizer
from apiserver.auth.front_proxy import FrontProxy
from apiserver.auth.node_graph import NodeGraph
from apiserver.auth.tokens import ServiceAccountTokens
from apiserver.customresources.catalogue import Catalogue
from apiserver.customresources.controller import CustomResourceController
from apiserver.expiry import EventExpiry
from apiserver.metrics import STALE, Metrics
from apiserver.options import OptionError, Options, parse
from apiserver.registry import Registry
from apiserver.resourcemetrics import kinds
from apiserver.resources import table
from apiserver.server import Server
from apiserver.shell import Shell
from apiserver.storage import open_backend
from apiserver.storage.base import StoreUnavailable
from apiserver.storage.cache import Store
from apiserver.storage.resealing import Resealing
from apiserver.strategies.allocators import Allocators
from apiserver.webhooks import Webhooks
from minikube_py.api.clock import REAL, Clock
from minikube_py.api.types import Obj

log = logging.getLogger("apiserver")
_SWITCH_SECONDS = 0.0005

__all__ = ["Options", "main", "parse", "run"]


def run(options: Options, clock: Clock = REAL) -> None:
    """Serve until SIGTERM. Raises OptionError or StoreUnavailable when it cannot start."""
    malloc.keep_large_blocks()
    sys.setswitchinterval(_SWITCH_SECONDS)  # a reader on the loop must not wait long for a writer's thread
    listener.allow_files()
    sockets = listener.open_sockets(options)
    tls = listener.tls_context(options)
    store = Store(open_backend(options.store, options.data_dir, options.encryption_key), fields_of, clock)
    store.start()
    try:
        webhooks = Webhooks(store)
        catalogue = Catalogue(store, webhooks, kinds.ROWS)
        table.extend(catalogue.custom)
        server = _build(options, store, clock)
        server.registry.dynamic = Dynamic(store, webhooks, server.authorize, server.metrics)
        _start_audit(server)
        server.registry.allocators.repair()
        bootstrap.ensure(server)
        expiry = EventExpiry(store, options.event_ttl, clock)
        expiry.start()
        resealing = Resealing(store, clock, partial(server.metrics.gauge, STALE))
        resealing.start()
        custom_resources = CustomResourceController(store, server.registry, catalogue)
        custom_resources.start()
        aggregation = AggregationController(server.registry, server.services, server.dialer, server.documents)
        aggregation.start()
        gc.collect()
        gc.freeze()  # what start-up made lives as long as the process

        ending: list[asyncio.Future[None]] = []  # a task that nobody holds may be collected

        async def start() -> tuple[Any, asyncio.Event]:
            ending.append(asyncio.ensure_future(watching.end_all(server)))
            return Shell(server), server.stopping

        listener.run(sockets, tls, start)
        webhooks.close()
        aggregation.stop()
        custom_resources.stop()
        resealing.stop()
        expiry.stop()
        server.audit.close()
    finally:
        store.close()


def _start_audit(server: Server) -> None:
    try:
        server.audit.start()
    except OSError as error:
        raise OptionError(f"--audit-log {server.options.audit_log} cannot be written: {error.strerror}") from None


def _build(options: Options, store: Store, clock: Clock) -> Server:
    allocators = Allocators(store, ip_network(options.service_cluster_ip_range), options.node_ports, clock)
    registry = Registry(store, clock, options, allocators)
    accounts = None
    if options.service_account_key:
        try:
            key, issuer = options.service_account_key, options.service_account_issuer
            accounts = ServiceAccountTokens(key, issuer, registry.lookup, clock)
        except (OSError, ValueError) as error:
            raise OptionError(f"--service-account-key {options.service_account_key}: {error}") from None
    tokens = authentication.read_static_tokens(options.token_auth_file) if options.token_auth_file else {}
    prefixes = [f"/registry/{kind}/" for kind in rbac.KINDS]
    roles = rbac.RBAC(registry.lister, lambda: tuple(map(store.changed, prefixes)))
    authorizer = Authorizer(roles, NodeGraph(store))
    configuration.of(options, "")  # a file that cannot be used is said now
    policy = audit_policy.read(options.audit_policy_file) if options.audit_policy_file else None
    checks = {"store": lambda: _store_answers(store)} if store.reads_block else {}
    registry.guards = escalation.guards(authorizer, registry.lookup) | signers.guards(authorizer)
    registry.guards |= policy_params.guards(authorizer, registry.lookup)
    proxy = FrontProxy(options.requestheader_client_ca, options.requestheader_allowed_names)
    authenticator = Authenticator(tokens, accounts, registry.lookup, clock, proxy)
    dialer = Dialer(store, options)
    return Server(
        options, clock, store, registry, authenticator, authorizer, accounts, Audit(options.audit_log, clock, policy),
        Metrics(), APIServices(store), dialer, Documents(dialer), checks,
    )  # fmt: skip


def _store_answers(store: Store) -> str:
    """The readiness check of a store that is another process: "" or what is wrong."""
    try:
        store.backend.current_revision()
    except StoreUnavailable as error:
        return str(error)
    return ""


def fields_of(plural_key: str, obj: Obj) -> dict[str, str]:
    """What field selectors see of a stored object."""
    row = table.by_plural_key(plural_key)
    if row is None:
        return {}
    fields: dict[str, str] = (
        strategies.for_row(row).fields(obj) if row.custom is None else row.custom.definition.fields(obj)
    )
    return fields


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Out: the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s %(message)s")
    try:
        run(parse(argv))
    except (OptionError, StoreUnavailable) as error:
        print(f"apiserver: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
