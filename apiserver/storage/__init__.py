"""Where objects live: one seam (`base`), two backends (`sqlite`, `etcd`), encryption in between, the watch cache on top.

Who uses it: `apiserver.main` opens the backend once; nothing above this package knows which one there is.
Invariant: a vendor library is imported only when its backend is chosen.
Upstream: staging/src/k8s.io/apiserver/pkg/storage.
"""

from pathlib import Path

from apiserver.storage.base import Backend
from apiserver.storage.sqlite import SQLiteBackend


def open_backend(store: str, data_dir: str) -> Backend:
    """The backend that `--store` names: "sqlite" (its file is DATA_DIR/store.db). Raises StoreUnavailable."""
    return SQLiteBackend(Path(data_dir) / "store.db")
