"""Discovery: what groups, versions and resources there are, in the old many-requests form and the aggregated one.

Who calls it: the handlers of /api, /apis and below (`apiserver/public.py`). Invariant: pure functions of the rows, in their
order, so that a group's preferred version is the version of its first row, wherever it is asked for.
Upstream: apiserver/pkg/endpoints/discovery (group.go, version.go, aggregated/), api/discovery/*.json.
"""

from collections.abc import Iterable, Sequence

from apiserver.resources.row import Row, Subresource
from minikube_py.api.types import Obj

V2, V2BETA1 = "apidiscovery.k8s.io/v2", "apidiscovery.k8s.io/v2beta1"


def versions(server_address: str = "") -> Obj:
    """/api: the versions of the core group. In: `server_address` "host:port" as clients outside see it."""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}] if server_address else []
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def groups(rows: Sequence[Row]) -> Obj:
    """/apis: every group but the core one."""
    names = dict.fromkeys(row.group for row in rows if row.group)
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(rows, name) for name in names]}


def group(rows: Iterable[Row], name: str) -> Obj | None:
    """/apis/NAME, None when there is no such group."""
    found = _group(rows, name)
    return {"kind": "APIGroup", "apiVersion": "v1", **found} if found["versions"] else None


def _group(rows: Iterable[Row], name: str) -> Obj:
    found = dict.fromkeys(row.version for row in rows if row.group == name)
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in found]
    return {"name": name, "versions": listed, "preferredVersion": listed[0] if listed else {}}


def resources(rows: Iterable[Row], group: str, version: str) -> Obj | None:
    """/api/v1 or /apis/GROUP/VERSION, None when there is no such version."""
    listed: list[Obj] = []
    for row in rows:
        if (row.group, row.version) == (group, version):
            listed.append(_resource(row))
            listed += [_subresource(row, sub) for sub in row.subresource_table]
    if not listed:
        return None
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def _resource(row: Row) -> Obj:
    made: Obj = {
        "name": row.plural, "singularName": row.singular, "namespaced": row.namespaced, "kind": row.kind,
        "verbs": list(row.verbs),
    }  # fmt: skip
    return {**made, **_names(row)}


def _names(row: Row) -> Obj:
    named = (("shortNames", row.short_names), ("categories", row.categories))
    return {key: list(values) for key, values in named if values}


def _subresource(row: Row, sub: Subresource) -> Obj:
    made: Obj = {"name": f"{row.plural}/{sub.name}", "singularName": "", "namespaced": row.namespaced}
    if sub.version:
        made |= {"group": sub.group, "version": sub.version}
    return {**made, "kind": sub.kind, "verbs": list(sub.verbs)}


def aggregated(rows: Sequence[Row], *, core: bool, api_version: str = V2) -> Obj:
    """/api (`core`) or /apis in one document. In: `api_version` is V2 or V2BETA1; the two differ in nothing else."""
    chosen = [row for row in rows if (row.group == "") == core]
    items = [_aggregated_group(chosen, name) for name in dict.fromkeys(row.group for row in chosen)]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items}


def _aggregated_group(rows: Iterable[Row], name: str) -> Obj:
    by_version: dict[str, list[Obj]] = {}
    for row in rows:
        if row.group == name:
            by_version.setdefault(row.version, []).append(_aggregated_resource(row))
    listed = [{"version": version, "resources": found, "freshness": "Current"} for version, found in by_version.items()]
    return {
        "metadata": {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None},
        "versions": listed,
    }


def _aggregated_resource(row: Row) -> Obj:
    made: Obj = {
        "resource": row.plural, "responseKind": _kind(row.group, row.version, row.kind),
        "scope": "Namespaced" if row.namespaced else "Cluster", "singularResource": row.singular, "verbs": list(row.verbs),
        **_names(row),
    }  # fmt: skip
    if row.subresource_table:
        made["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": _kind(
                    *((sub.group, sub.version) if sub.version else (row.group, row.version)), sub.kind
                ),
                "verbs": list(sub.verbs),
            }
            for sub in row.subresource_table
        ]
    return made


def _kind(group: str, version: str, kind: str) -> Obj:
    return {"group": group, "version": version, "kind": kind}
