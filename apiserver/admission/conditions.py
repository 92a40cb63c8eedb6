"""What expressions about a write see: the objects, the request, its user's rights; and the conditions that use them.

Who calls it: webhooks (matchConditions) and policies. Invariant: variables are made only when an expression names them. A
condition that is false settles it; one that fails counts as its owner's failure policy says.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/plugin/{cel,webhook/matchconditions}.
"""

from collections.abc import Callable, Mapping
from typing import Any

from apiserver.admission import dynamic
from apiserver.admission.attributes import CONNECT, CREATE, DELETE, Attributes, kind_of
from apiserver.admission.forms import Forms
from apiserver.cel.authorizer import AuthorizerValue
from apiserver.resources.row import Row
from minikube_py.api.cel import program
from minikube_py.api.cel.program import Budget
from minikube_py.api.cel.values import to_cel
from minikube_py.api.types import Obj

BUDGET_OF_CONDITIONS = 2_500_000
_OPTIONS = {CREATE: "CreateOptions", DELETE: "DeleteOptions"}


def request_of(attributes: Attributes, row: Row) -> Obj:
    """An AdmissionRequest without its objects. In: the version that the webhook or policy wants."""
    kind, asked = kind_of(row, attributes.subresource), attributes.served
    user = attributes.user
    shown: Obj = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        shown["uid"] = user.uid
    if user.extra:
        shown["extra"] = {key: list(values) for key, values in user.extra.items()}
    request: Obj = {
        "kind": kind._asdict(),
        "resource": {"group": row.group, "version": row.version, "resource": row.plural},
        "requestKind": attributes.kind._asdict(),
        "requestResource": {"group": asked.group, "version": asked.version, "resource": asked.plural},
        "name": attributes.shown_name,
        "namespace": attributes.within,
        "operation": attributes.verb,
        "userInfo": shown,
        "dryRun": attributes.dry_run,
    }
    if attributes.subresource:
        request["subResource"] = request["requestSubResource"] = attributes.subresource
    return {key: value for key, value in request.items() if value != ""}


def options_of(attributes: Attributes) -> Obj:
    """The CreateOptions, UpdateOptions, PatchOptions or DeleteOptions of the request."""
    kind = _OPTIONS.get(attributes.verb) or ("PatchOptions" if attributes.patches else "UpdateOptions")
    made: Obj = {"kind": kind, "apiVersion": "meta.k8s.io/v1", **attributes.options}
    for name in ("fieldManager", "fieldValidation"):
        if attributes.query.get(name) and attributes.verb != DELETE:
            made[name] = attributes.query[name]
    if attributes.patches and attributes.query.get("force") in ("true", "1"):
        made["force"] = True
    if attributes.dry_run:
        made["dryRun"] = ["All"]
    return made


class Variables:
    """What expressions may name, made when one does. `extra`: names that only some owners have, and what makes them."""

    def __init__(
        self, attributes: Attributes, forms: Forms, row: Row, extra: Mapping[str, Callable[[], Any]] | None = None
    ) -> None:
        self._attributes, self._forms, self._row = attributes, forms, row
        self._make: dict[str, Callable[[], Any]] = {
            "object": lambda: to_cel(None if attributes.verb == DELETE else forms.new(row)),
            "oldObject": lambda: to_cel(forms.old(row)),
            "request": self._request,
            "authorizer": self._authorizer,
            **(extra or {}),
        }
        self._made: dict[str, Any] = {}

    def forget_object(self) -> None:
        """A mutation has put another object there."""
        self._made.pop("object", None)

    def named_by(self, what: program.Program) -> dict[str, Any]:
        """The variables that an expression names."""
        found = {}
        for name in what.names:
            if name not in self._made and name in self._make:
                self._made[name] = self._make[name]()
            if name in self._made:
                found[name] = self._made[name]
        return found

    def _request(self) -> Any:
        request = request_of(self._attributes, self._row)
        if self._attributes.verb != CONNECT:
            request["options"] = options_of(self._attributes)
        return to_cel({"name": "", "namespace": "", "subResource": "", "requestSubResource": "", **request})

    def _authorizer(self) -> Any:
        server = dynamic.of(self._attributes)
        assert server is not None, "expressions are judged only where there are some"
        attributes = self._attributes
        asked = {
            "group": attributes.served.group, "resource": attributes.served.plural, "subresource": attributes.subresource,
            "namespace": attributes.within, "name": attributes.shown_name,
        }  # fmt: skip
        return AuthorizerValue(server.authorizer.verdict, attributes.user, asked)


def hold(conditions: list[Obj], variables: Variables, *, fails_open: bool) -> bool:
    """Whether all matchConditions are true. Raises EvaluationError when one fails, none is false, and that matters."""
    failed: list[str] = []
    budget = Budget(BUDGET_OF_CONDITIONS)
    for condition in conditions:
        try:
            compiled = program.compile(condition["expression"])
            if not compiled.evaluate(variables.named_by(compiled), budget):
                return False
        except (program.EvaluationError, program.CompileError) as error:
            failed.append(str(error))
    if failed and not fails_open:
        raise program.EvaluationError(failed[0] if len(failed) == 1 else f"[{', '.join(failed)}]")
    return not failed
