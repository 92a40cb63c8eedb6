"""The etcd backend: several API servers over one real etcd, with its own transactions and watches.

Who calls it: `storage.open_backend` for `--store etcd://HOST:PORT[,HOST:PORT…][?prefix=P]`. The only module that imports etcd3.
Invariant: a compare and its write are one etcd transaction; a revision is etcd's own. Reads that decide something are
linearizable. Whatever is wrong with the connection surfaces as StoreUnavailable, and the next call tries again: gRPC
reconnects by itself, the watch cache re-watches from its last revision.
Upstream: staging/src/k8s.io/apiserver/pkg/storage/etcd3 (store.go, watcher.go, compact.go).
"""

import contextlib
import os
import queue
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit

from apiserver.storage.base import (
    MARK,
    Change,
    Compacted,
    KeyExists,
    KeyValue,
    Listing,
    RevisionMismatch,
    StoreUnavailable,
    Watch,
    end_of,
)
from minikube_py.api.errors import RequestEntityTooLarge

_TIMEOUT_SECONDS = 5.0
_PAGE = 1000
_GRPC_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
_REQUIRE_LEADER = (("hasleader", "true"),)


def _address(host: str) -> str:
    """Raises StoreUnavailable for a name nobody knows."""
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise StoreUnavailable(f"etcd's host {host} is not known: {error}") from error


class EtcdBackend:
    """`Backend` over etcd's gRPC API."""

    shared = True

    def __init__(self, url: str) -> None:
        """In: "etcd://HOST:PORT[,HOST:PORT…]", with "?prefix=P" where one etcd serves several clusters.

        Raises StoreUnavailable.
        """
        parts = urlsplit(url)
        try:
            members = [urlsplit(f"//{member}") for member in parts.netloc.split(",")]
            named = [(member.hostname or "127.0.0.1", member.port or 2379) for member in members]
        except ValueError as error:
            raise StoreUnavailable(f"--store {url} is not etcd://HOST:PORT: {error}") from error
        self._endpoint = ",".join(f"{host}:{port}" for host, port in named)
        self._prefix = parse_qs(parts.query).get("prefix", [""])[0].rstrip("/")
        self._etcd3 = _import_etcd3()
        self._rpc: Any = self._etcd3.etcdrpc
        *others, (host, port) = named
        if others:  # gRPC itself goes on to the next member when the one it talks to is gone
            host = "ipv4:" + "".join(f"{_address(other)}:{number}," for other, number in others) + _address(host)
        self._client: Any = self._etcd3.client(host, port, timeout=_TIMEOUT_SECONDS, grpc_options=_GRPC_OPTIONS)
        self._kv: Any = self._client.kvstub
        self._streams: list[_WatchStream] = []
        self._closed = False
        self.current_revision()

    # -- reading ------------------------------------------------------------------------------------------------------

    def get(self, key: str, revision: int = 0) -> KeyValue | None:
        with self._explained(revision):
            reply = self._kv.Range(
                self._rpc.RangeRequest(key=self._full(key), revision=revision), timeout=_TIMEOUT_SECONDS
            )
        return self._key_value(reply.kvs[0]) if reply.kvs else None

    def list(self, prefix: str, *, revision: int = 0, start_after: str = "", limit: int = 0) -> Listing:
        first = self._full(start_after) + b"\0" if start_after else self._full(prefix)
        end = self._full(end_of(prefix))
        items: list[KeyValue] = []
        while True:
            size = min(limit - len(items), _PAGE) if limit else _PAGE
            request = self._rpc.RangeRequest(key=first, range_end=end, limit=size, revision=revision)
            with self._explained(revision):
                reply = self._kv.Range(request, timeout=_TIMEOUT_SECONDS * 4)
            items += map(self._key_value, reply.kvs)
            revision = revision or reply.header.revision
            if not reply.more or len(items) == limit:
                return Listing(items, revision, reply.count - len(reply.kvs))
            first = reply.kvs[-1].key + b"\0"

    def current_revision(self) -> int:
        with self._explained():
            request = self._rpc.RangeRequest(key=self._full(MARK), count_only=True)
            return int(self._kv.Range(request, timeout=_TIMEOUT_SECONDS).header.revision)

    # -- writing ------------------------------------------------------------------------------------------------------

    def create(self, key: str, value: bytes) -> int:
        reply = self._compare_and_swap(key, 0, self._put(key, value))
        if not reply.succeeded:
            raise KeyExists(key)
        return int(reply.header.revision)

    def update(self, key: str, value: bytes, expected_revision: int) -> int:
        return self._swapped(key, self._compare_and_swap(key, expected_revision, self._put(key, value)))

    def delete(self, key: str, expected_revision: int) -> int:
        remove = self._rpc.RequestOp(request_delete_range=self._rpc.DeleteRangeRequest(key=self._full(key)))
        return self._swapped(key, self._compare_and_swap(key, expected_revision, remove))

    def mark(self) -> int:
        with self._explained():
            request = self._rpc.PutRequest(key=self._full(MARK), value=b"")
            return int(self._kv.Put(request, timeout=_TIMEOUT_SECONDS).header.revision)

    def compact(self, revision: int) -> None:
        """etcd reuses the space it frees; handing it back to the file system (defragment) stops it, and is not ours."""
        request = self._rpc.CompactionRequest(revision=min(revision, self.current_revision()))
        with contextlib.suppress(Compacted), self._explained(revision):
            self._kv.Compact(request, timeout=_TIMEOUT_SECONDS * 4)

    def _put(self, key: str, value: bytes) -> Any:
        return self._rpc.RequestOp(request_put=self._rpc.PutRequest(key=self._full(key), value=value))

    def _compare_and_swap(self, key: str, expected: int, operation: Any) -> Any:
        """One transaction: the key's newest revision is `expected` (0 = no such key), then `operation`."""
        compare = self._rpc.Compare(
            key=self._full(key), target=self._rpc.Compare.MOD, result=self._rpc.Compare.EQUAL, mod_revision=expected
        )
        read = self._rpc.RequestOp(request_range=self._rpc.RangeRequest(key=self._full(key)))
        request = self._rpc.TxnRequest(compare=[compare], success=[operation], failure=[read])
        with self._explained():
            return self._kv.Txn(request, timeout=_TIMEOUT_SECONDS)

    def _swapped(self, key: str, reply: Any) -> int:
        if not reply.succeeded:
            found = reply.responses[0].response_range.kvs
            raise RevisionMismatch(key, self._key_value(found[0]) if found else None)
        return int(reply.header.revision)

    # -- watching -----------------------------------------------------------------------------------------------------

    def watch(self, prefix: str, after_revision: int, into: Watch | None = None) -> Watch:
        self.get(MARK, after_revision)  # raises Compacted at once; etcd itself would only say so in the stream
        create = self._rpc.WatchCreateRequest(
            key=self._full(prefix),
            range_end=self._full(end_of(prefix)),
            start_revision=after_revision + 1,
            prev_kv=True,
        )
        stub = self._rpc.WatchStub(self._client.channel)
        with self._explained():
            stream = _WatchStream(self, stub, self._rpc.WatchRequest(create_request=create), into or Watch())
        self._streams = [*(open_ for open_ in self._streams if not open_.into.closed), stream]
        stream.thread.start()
        return stream.into

    def change_of(self, event: Any) -> Change:
        """An etcd event as a `Change`."""
        current = self._key_value(event.kv)
        deleted = event.type == event.DELETE
        before = self._key_value(event.prev_kv) if event.prev_kv.mod_revision else None
        return Change(current.mod_revision, current.key, None if deleted else current.value, before)

    def close(self) -> None:
        self._closed = True
        for stream in self._streams:
            stream.stop()
        self._client.close()

    # -- names and errors ---------------------------------------------------------------------------------------------

    def _full(self, key: str) -> bytes:
        return (self._prefix + key).encode()

    def _key_value(self, found: Any) -> KeyValue:
        key = found.key.decode()[len(self._prefix) :]
        return KeyValue(key, found.value, found.create_revision, found.mod_revision)

    @contextlib.contextmanager
    def _explained(self, revision: int = 0) -> Iterator[None]:
        if self._closed:
            raise StoreUnavailable("the store is closed: the API server is stopping")
        try:
            yield
        except self.rpc_errors as error:
            if "compacted" not in (error.details() or ""):
                self.explain(error)
            with self._explained():
                oldest = self._compact_revision()
            raise Compacted(revision, oldest) from error
        except ValueError as error:  # grpc's word for a channel that `close` closed meanwhile
            raise StoreUnavailable("the store is closed: the API server is stopping") from error

    @property
    def rpc_errors(self) -> Any:
        return sys.modules["grpc"].RpcError

    def explain(self, error: Any) -> NoReturn:
        """The gRPC failure as one sentence. Raises StoreUnavailable, or RequestEntityTooLarge for a value too big."""
        code, details = error.code().name, error.details() or ""
        if "request is too large" in details or "larger than max" in details:
            raise RequestEntityTooLarge(f"etcd refuses the object: {details}") from error
        if "space exceeded" in details:
            message = f"etcd at {self._endpoint} is out of space; compact and defragment it, then disarm its alarm"
        elif code == "DEADLINE_EXCEEDED":
            message = (
                f"etcd at {self._endpoint} did not answer within {_TIMEOUT_SECONDS:g} s; check that it has a leader"
            )
        else:
            message = f"etcd at {self._endpoint} cannot be used ({details}); check that it runs and can be reached"
        raise StoreUnavailable(message) from error

    def _compact_revision(self) -> int:
        """Where the log starts: only the answer to a watch from too far back says it."""
        create = self._rpc.WatchCreateRequest(key=self._full(MARK), start_revision=1)
        requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        requests.put(self._rpc.WatchRequest(create_request=create))
        stub = self._rpc.WatchStub(self._client.channel)
        replies = stub.Watch(iter(requests.get, None), timeout=_TIMEOUT_SECONDS)
        try:
            for reply in replies:
                if reply.compact_revision:
                    return int(reply.compact_revision)
        finally:
            requests.put(None)
            replies.cancel()
        raise StoreUnavailable(f"etcd at {self._endpoint} ended a watch without saying why; check its log")


class _WatchStream:
    """One watch: a gRPC stream of its own, read by a thread of its own into `into`."""

    def __init__(self, backend: EtcdBackend, stub: Any, create: Any, into: Watch) -> None:
        self.into = into
        self._backend = backend
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._requests.put(create)
        self._replies: Any = stub.Watch(iter(self._requests.get, None), metadata=_REQUIRE_LEADER)
        self.thread = threading.Thread(target=self._run, name="etcd-watch", daemon=True)

    def stop(self) -> None:
        self._requests.put(None)
        self._replies.cancel()
        self.into.close()

    def _run(self) -> None:
        try:
            self._read()
        except self._backend.rpc_errors as error:
            if not self.into.closed:
                self.into.fail(StoreUnavailable(f"etcd's watch broke: {error.details()}"))
        except Exception as error:
            self.into.fail(error)
        finally:
            self._requests.put(None)
            self._replies.cancel()

    def _read(self) -> None:
        for reply in self._replies:
            if self.into.closed:
                return
            if reply.canceled:
                if reply.compact_revision:
                    self.into.fail(Compacted(0, reply.compact_revision))
                else:
                    self.into.fail(StoreUnavailable("etcd cancelled the watch"))
                return
            if reply.events:
                self.into.push([self._backend.change_of(event) for event in reply.events])


def _import_etcd3() -> Any:
    """etcd3's generated code is from before protobuf 3.20 and only loads on protobuf's pure-Python implementation.

    That choice is made once per process at protobuf's first import; a parent that forked us may already have made the
    other one, so that it is forgotten first. Nothing else in an API server uses protobuf.
    """
    os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
    if "etcd3" not in sys.modules:
        for name in [name for name in sys.modules if name.startswith("google.protobuf")]:
            del sys.modules[name]
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            import etcd3
    except ImportError as error:
        raise StoreUnavailable(f"the package etcd3 is not usable ({error}); install minikube-py with it") from error
    return etcd3
