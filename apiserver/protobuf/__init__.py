"""Request bodies in Kubernetes' protobuf encoding, decoded into the same JSON objects every other path uses."""

from apiserver.protobuf.decode import CONTENT_TYPE, decode

__all__ = ["CONTENT_TYPE", "decode"]
