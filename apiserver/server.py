"""What one API server process is made of, so that a request handler gets one argument instead of ten.

Who uses it: `main.run` fills it in start-up order; the pipeline and the shell pass it on. Invariant: nothing here changes
after start-up, except `stopping` and the `watches` under way.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from apiserver.aggregation.catalogue import APIServices
from apiserver.aggregation.dial import Dialer
from apiserver.aggregation.documents import Documents
from apiserver.audit import Audit
from apiserver.auth.authentication import Authenticator
from apiserver.auth.authorization import Authorizer
from apiserver.auth.tokens import ServiceAccountTokens
from apiserver.metrics import Metrics
from apiserver.options import Options
from apiserver.registry import Registry
from apiserver.storage.cache import Store
from minikube_py.api.clock import Clock


@dataclass
class Server:
    """`checks` are the named conditions of /readyz, each answering "" or what is wrong."""

    options: Options
    clock: Clock
    store: Store
    registry: Registry
    authenticate: Authenticator
    authorize: Authorizer
    accounts: ServiceAccountTokens | None
    audit: Audit
    metrics: Metrics
    services: APIServices
    dialer: Dialer
    documents: Documents
    checks: dict[str, Callable[[], str]] = field(default_factory=dict)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    watches: set[asyncio.Future[None]] = field(default_factory=set)
