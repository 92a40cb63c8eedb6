"""Where objects live: one seam (`base`), two backends (`sqlite`, `etcd`), encryption in between, the watch cache on top.

Who uses it: `apiserver.main` opens the backend once; nothing above this package knows which one there is.
Invariant: a vendor library is imported only when its backend is chosen.
Upstream: staging/src/k8s.io/apiserver/pkg/storage.
"""

from pathlib import Path

from apiserver.storage.base import Backend


def open_backend(store: str, data_dir: str, encryption_key: str = "") -> Backend:
    """The backend that `--store` names: "sqlite" (its file is DATA_DIR/state.db) or "etcd://HOST:PORT[?prefix=P]".

    With a key file, Secrets are encrypted at rest. Raises StoreUnavailable.
    """
    backend: Backend
    if store.startswith("etcd://"):
        from apiserver.storage.etcd import EtcdBackend

        backend = EtcdBackend(store)
    else:
        from apiserver.storage.sqlite import SQLiteBackend

        backend = SQLiteBackend(Path(data_dir) / "state.db")
    if encryption_key:
        from apiserver.storage.encryption import EncryptedBackend

        backend = EncryptedBackend(backend, Path(encryption_key))
    return backend
