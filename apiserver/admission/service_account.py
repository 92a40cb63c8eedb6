"""ServiceAccount: every pod runs as one, and finds its token mounted unless somebody said otherwise.

Who calls it: `chain.py`, at pod creation. Invariant: the injected volume and mounts are those of upstream, byte for byte but
for the five random letters; a container that mounts something there itself is left alone; running twice adds nothing.
Upstream: plugin/pkg/admission/serviceaccount/admission.go.
"""

import secrets

from apiserver import waiting
from apiserver.admission.attributes import Attributes
from minikube_py.api.meta import annotations_of
from minikube_py.api.types import Obj

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_PREFIX = "kube-api-access-"
_TOKEN_SECONDS = 3607
_ATTEMPTS, _RETRY_SECONDS = 10, 0.1
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_MIRROR = "kubernetes.io/config.mirror"


def admit(attributes: Attributes) -> None:
    """Fill in serviceAccountName, imagePullSecrets and the token volume."""
    if not attributes.is_("pods") or attributes.obj is None:
        return
    pod, spec = attributes.obj, attributes.obj.setdefault("spec", {})
    if _MIRROR in annotations_of(pod):
        _refuse_mirror(attributes, spec)
        return
    name = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = _account(attributes, name)
    if account is None:
        where = f"{attributes.namespace}/{name}"
        raise attributes.forbidden(f'error looking up service account {where}: serviceaccount "{name}" not found')
    if _automounts(spec, account):
        _mount(spec)
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(ref) for ref in account["imagePullSecrets"]]


def _account(attributes: Attributes, name: str) -> Obj | None:
    """The account; a new namespace's default one is waited for a moment, its controller may just be making it."""
    for attempt in range(_ATTEMPTS if name == "default" else 1):
        if attempt:
            waiting.pause(attributes.ctx.clock, _RETRY_SECONDS)
        account = attributes.ctx.lookup("serviceaccounts", attributes.namespace, name)
        if account is not None:
            return account
    return None


def _refuse_mirror(attributes: Attributes, spec: Obj) -> None:
    """A mirror pod stands for one that runs already; it can have no account and no secrets."""
    if spec.get("serviceAccountName"):
        raise attributes.forbidden("a mirror pod may not reference service accounts")
    if any(volume.get("secret") for volume in spec.get("volumes") or ()):
        raise attributes.forbidden("a mirror pod may not reference secrets")


def _automounts(spec: Obj, account: Obj) -> bool:
    """The pod's word beats the account's; silence means yes."""
    for holder in (spec, account):
        wish = holder.get("automountServiceAccountToken")
        if wish is not None:
            return bool(wish)
    return True


def _mount(spec: Obj) -> None:
    volumes = spec.get("volumes") or []
    name = next((v["name"] for v in volumes if str(v.get("name", "")).startswith(_PREFIX)), "")
    needed, existed = False, bool(name)
    if not name:
        name = _PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(5))
    for container in (spec.get("initContainers") or []) + (spec.get("containers") or []):
        mounts = container.get("volumeMounts") or []
        if not any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
            container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
            needed = True
    if needed and not existed:
        spec["volumes"] = [*volumes, _volume(name)]


def _volume(name: str) -> Obj:
    """Token, cluster CA and namespace in one projected volume."""
    token: Obj = {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}}
    ca: Obj = {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    field: Obj = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [token, ca, {"downwardAPI": {"items": [field]}}]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 0o644}}
