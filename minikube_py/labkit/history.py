"""Who wrote what while a check was looking: the API server's audit log from one moment on.

Who calls it: checks, through `World.history`. Invariant: only whole lines are read; the log's absence is an `Infrastructure`
error, because "nothing was written" must not follow from "nothing was recorded".
"""

from pathlib import Path

import orjson

from minikube_py.api.types import Obj
from minikube_py.labkit.errors import Infrastructure


class History:
    """The writes answered since this object was made."""

    def __init__(self, log: Path) -> None:
        if not log.exists():
            raise Infrastructure(f"the API server keeps no audit log at {log}")
        self._log, self._start = log, log.stat().st_size

    def writes(
        self, *, resource: str = "", namespace: str = "", verbs: tuple[str, ...] = (), name: str = ""
    ) -> list[Obj]:
        """The audit events of successful writes that match, oldest first (status and other subresources left out)."""
        with self._log.open("rb") as file:
            file.seek(self._start)
            lines = [line for line in file if line.endswith(b"\n")]
        found = []
        for event in map(orjson.loads, lines):
            about = event.get("objectRef") or {}
            wanted = (
                (not resource or about.get("resource") == resource)
                and (not namespace or about.get("namespace") == namespace)
                and (not name or about.get("name") == name)
                and (not verbs or event["verb"] in verbs)
                and not about.get("subresource")
                and event["responseStatus"]["code"] < 400
            )
            if wanted:
                found.append(event)
        return found


def describe(events: list[Obj]) -> str:
    """Who did what, for a failure's text."""
    told = [f"{e['user']['username']} {e['verb']} {(e.get('objectRef') or {}).get('name', '')}".strip() for e in events]
    return "; ".join(told) or "no writes"
