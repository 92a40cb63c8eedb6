"""Schemas are compiled on first use: no thread may ever see one that another is still compiling."""

import sys
import threading

from minikube_py.api import schema, schema_cache


def test_a_kind_is_complete_for_every_thread_that_asks_first() -> None:
    compact, interval = schema_cache.compact(schema.RELEASE), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5):
            schemas = schema.Schemas(compact)
            found: list[bool] = []

            def ask(schemas: schema.Schemas = schemas, found: list[bool] = found) -> None:
                node = schemas.for_gvk("", "v1", "Pod")
                found.append(node is not None and "containers" in node.properties["spec"].properties)

            threads = [threading.Thread(target=ask) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert found == [True] * 8
    finally:
        sys.setswitchinterval(interval)
