"""Discovery: what groups, versions and resources there are, in the old many-requests form and the aggregated one.

Who calls it: the handlers of /api, /apis and below (`apiserver/public.py`). Invariant: pure functions of the rows,
of the listed groups and versions (the most important first, so that a group's preferred version is the first of it, wherever
it is asked for) and of what aggregated servers said they serve.
Upstream: apiserver/pkg/endpoints/discovery (group.go, version.go, aggregated/), api/discovery/*.json.
"""

from collections.abc import Iterable, Mapping, Sequence

from apiserver.resources.row import Row, Subresource
from minikube_py.api.types import Obj

GroupVersion = tuple[str, str]
V2, V2BETA1 = "apidiscovery.k8s.io/v2", "apidiscovery.k8s.io/v2beta1"


def versions(server_address: str = "") -> Obj:
    """/api: the versions of the core group. In: `server_address` "host:port" as clients outside see it."""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}] if server_address else []
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def groups(listed: Sequence[GroupVersion]) -> Obj:
    """/apis: every group but the core one."""
    names = dict.fromkeys(group for group, _ in listed)
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(listed, name) for name in names]}


def group(listed: Iterable[GroupVersion], name: str) -> Obj | None:
    """/apis/NAME, None when there is no such group."""
    found = _group(listed, name)
    return {"kind": "APIGroup", "apiVersion": "v1", **found} if found["versions"] else None


def _group(listed: Iterable[GroupVersion], name: str) -> Obj:
    found = [{"groupVersion": f"{name}/{version}", "version": version} for group, version in listed if group == name]
    return {"name": name, "versions": found, "preferredVersion": found[0] if found else {}}


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


def aggregated(
    rows: Iterable[Row], listed: Sequence[GroupVersion], remote: Mapping[GroupVersion, Obj], api_version: str = V2
) -> Obj:
    """/api or /apis in one document. In: `listed` the groups and versions it is about; `remote` the entries of those that
    others serve; `api_version` is V2 or V2BETA1; the two differ in nothing else."""
    found: dict[GroupVersion, list[Obj]] = {key: [] for key in listed}
    for row in rows:
        if (row.group, row.version) in found:
            found[row.group, row.version].append(_aggregated_resource(row))
    items: dict[str, Obj] = {}
    for group, version in listed:
        metadata = {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None}
        own = {"version": version, "resources": found[group, version], "freshness": "Current"}
        versions = items.setdefault(group, {"metadata": metadata, "versions": []})["versions"]
        versions.append(remote.get((group, version)) or own)
    return {"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": list(items.values())}


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
