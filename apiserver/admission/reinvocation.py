"""Whether mutating plugins run a second time, and which webhooks and policies are asked again then.

Who calls it: `chain.py` and the two plugins that run the cluster's own mutations. Invariant: there is one more round at
most; nobody is called for the first time in it.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/{reinvocation.go,plugin/webhook/mutating/reinvocationcontext.go}.
"""

from collections.abc import Hashable

from minikube_py.api.clone import clone
from minikube_py.api.types import Obj


class Rounds:
    """What one plugin remembers between the two rounds: which of its hooks ran, and what they left of the object."""

    def __init__(self, reinvocation: "Reinvocation") -> None:
        self._all = reinvocation
        self._ran: set[Hashable] = set()
        self._due: set[Hashable] = set()
        self._left: Obj | None = None

    def begin(self, obj: Obj | None) -> None:
        if self._all.again and obj != self._left:
            self._others_are_due()

    def is_due(self, hook: Hashable) -> bool:
        return not self._all.again or hook in self._due

    def ran(self, hook: Hashable, *, again: bool, changed: bool) -> None:
        """A hook was asked. In: `again`: it wants to be asked again; `changed`: the object is another now."""
        if changed:
            self._others_are_due()
            self._all.wanted = True
        if again:
            self._ran.add(hook)

    def end(self, obj: Obj | None) -> None:
        self._left = clone(obj)

    def _others_are_due(self) -> None:
        self._due |= self._ran
        self._ran = set()


class Reinvocation:
    """Of one write. `again`: this is the second round. `wanted`: somebody changed the object, so there is to be one."""

    def __init__(self) -> None:
        self.again = self.wanted = False
        self._plugins: dict[str, Rounds] = {}

    def of(self, plugin: str, obj: Obj | None) -> Rounds:
        """What a plugin remembers, as it begins with this object."""
        rounds = self._plugins.setdefault(plugin, Rounds(self))
        rounds.begin(obj)
        return rounds
