"""etcd's gRPC API: its messages as a page of text, its calls as functions.

Who calls it: the etcd backend, which decides what a reply means. The only module of the API server that imports grpc, with the
first connection. Invariant: names and numbers are etcd's published ones (api/etcdserverpb/rpc.proto, mvccpb/kv.proto), as far
as we use them; what a reply has beside them is ignored.
The package etcd3 is not used: its generated code only loads on protobuf's pure-Python implementation, with which a write costs
1.3 times the processor time, etcd's own included.
"""

from typing import Any

from minikube_py.api.messages import classes

_MESSAGES = """
ResponseHeader: revision 3 int64
KeyValue: key 1 bytes, create_revision 2 int64, mod_revision 3 int64, value 5 bytes
RangeRequest: key 1 bytes, range_end 2 bytes, limit 3 int64, revision 4 int64, count_only 9 bool
RangeResponse: header 1 ResponseHeader, kvs 2 KeyValue[], more 3 bool, count 4 int64
PutRequest: key 1 bytes, value 2 bytes
PutResponse: header 1 ResponseHeader
DeleteRangeRequest: key 1 bytes
RequestOp: request_range 1 RangeRequest, request_put 2 PutRequest, request_delete_range 3 DeleteRangeRequest
ResponseOp: response_range 1 RangeResponse
Compare: result 1 enum, target 2 enum, key 3 bytes, mod_revision 6 int64
TxnRequest: compare 1 Compare[], success 2 RequestOp[], failure 3 RequestOp[]
TxnResponse: header 1 ResponseHeader, succeeded 2 bool, responses 3 ResponseOp[]
CompactionRequest: revision 1 int64
CompactionResponse: header 1 ResponseHeader
WatchCreateRequest: key 1 bytes, range_end 2 bytes, start_revision 3 int64, prev_kv 6 bool
WatchRequest: create_request 1 WatchCreateRequest
Event: type 1 enum, kv 2 KeyValue, prev_kv 3 KeyValue
WatchResponse: header 1 ResponseHeader, canceled 4 bool, compact_revision 5 int64, events 11 Event[]
"""
EQUAL, MOD = 0, 2
"""`Compare`: result and target."""
DELETE = 1
"""`Event`: its type, where it is not a put."""
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


class API:
    """A lasting connection to etcd, made anew when it breaks. Thread-safe. Its calls raise `Error`.

    In: "HOST:PORT", or "ipv4:" and several of them, of which gRPC goes on to the next when one is gone.
    """

    def __init__(self, target: str) -> None:
        import grpc

        self.Error: Any = grpc.RpcError
        self.messages = classes("etcdserverpb", _MESSAGES)
        self._channel: Any = grpc.insecure_channel(target, options=_GRPC_OPTIONS)
        self.range, self.put = self._unary("Range", "RangeResponse"), self._unary("Put", "PutResponse")
        self.txn, self.compact = self._unary("Txn", "TxnResponse"), self._unary("Compact", "CompactionResponse")
        self.watch: Any = self._channel.stream_stream(
            "/etcdserverpb.Watch/Watch", _serialized, self.messages["WatchResponse"].FromString
        )

    def close(self) -> None:
        self._channel.close()

    def _unary(self, method: str, answer: str) -> Any:
        return self._channel.unary_unary(f"/etcdserverpb.KV/{method}", _serialized, self.messages[answer].FromString)


def _serialized(message: Any) -> bytes:
    return bytes(message.SerializeToString())
