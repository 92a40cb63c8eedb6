"""The variable `authorizer`: expressions ask what the request's user, or a service account, may do.

Who uses it: admission makes one per write that names it. Invariant: values are never changed, each step makes a new one; a
check costs much, as upstream counts it, so that an expression cannot ask thousands of questions.
Upstream: apiserver/pkg/cel/library/authz.go.
"""

from collections.abc import Callable, Mapping
from typing import Any

from apiserver.auth import user as users
from apiserver.auth.rbac import Asked
from apiserver.auth.user import UserInfo
from minikube_py.api import selectors

_COST = {"check": 350_000}
Verdicts = Callable[[Any, Asked], Any]


class AuthorizerValue:
    """`requested` is what the request itself is about: `authorizer.requestResource`."""

    def __init__(self, verdict: Verdicts, who: Any, requested: Mapping[str, str]) -> None:
        self._verdict, self._who, self._requested = verdict, who, requested
        self.cel_methods: dict[str, Callable[..., Any]] = {
            "path": lambda path: _Path(verdict, who, str(path)),
            "group": lambda group: _Resource(verdict, who, {"group": str(group)}, grouped=True),
            "serviceAccount": self._account,
        }

    def cel_field(self, name: str) -> "_Resource":
        if name != "requestResource":
            raise KeyError(name)
        return _Resource(self._verdict, self._who, dict(self._requested))

    def _account(self, namespace: str, name: str) -> "AuthorizerValue":
        namespace, name = str(namespace), str(name)
        groups = (*users.service_account_groups(namespace), users.AUTHENTICATED)
        account = UserInfo(users.service_account(namespace, name), groups=groups)
        return AuthorizerValue(self._verdict, account, self._requested)


class _Path:
    cel_costs = _COST

    def __init__(self, verdict: Verdicts, who: Any, path: str) -> None:
        if not path:
            raise ValueError("path must not be empty")
        self.cel_methods = {"check": lambda verb: _Decision(verdict(who, Asked(str(verb), path=path)))}


class _Resource:
    """A group, a resource of it, and where; `grouped`: only the group is known so far."""

    cel_costs = _COST

    def __init__(self, verdict: Verdicts, who: Any, asked: Mapping[str, Any], *, grouped: bool = False) -> None:
        def narrowed(key: str) -> Callable[[str], "_Resource"]:
            return lambda value: _Resource(verdict, who, {**asked, key: str(value)})

        self.cel_methods: dict[str, Callable[..., Any]] = {"resource": narrowed("resource")}
        if not grouped:
            self.cel_methods = {
                **{key: narrowed(key) for key in ("subresource", "namespace", "name")},
                "fieldSelector": lambda text: _Resource(verdict, who, {**asked, "fields": _demanded(text)}),
                "labelSelector": lambda _: self,  # no link of our chain looks at it
                "check": lambda verb: _Decision(verdict(who, Asked(str(verb), **asked))),
            }  # fmt: skip


def _demanded(text: str) -> tuple[tuple[str, str], ...]:
    """What a field selector demands to be equal."""
    wanted = selectors.parse_fields(str(text)).requirements
    return tuple((path, value) for path, operator, value in wanted if operator == "=")


class _Decision:
    def __init__(self, verdict: Any) -> None:
        self.cel_methods = {
            "allowed": lambda: bool(verdict.allowed), "reason": lambda: str(verdict.reason), "errored": lambda: False,
            "error": lambda: "",
        }  # fmt: skip
