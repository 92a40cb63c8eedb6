"""The informer's store: indexes always agree with the objects."""

from hypothesis import given, settings
from hypothesis import strategies as st

from minikube_py.api.types import Obj
from minikube_py.client.store import ObjectStore


def _obj(namespace: str, name: str, colours: list[str]) -> Obj:
    return {"metadata": {"namespace": namespace, "name": name}, "colours": colours}


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["x", "y"]), st.sampled_from(["a", "b", "c"]),
              st.none() | st.lists(st.sampled_from(["red", "blue"]), unique=True)),
    max_size=40,
)  # fmt: skip


@settings(deadline=None)
@given(OPERATIONS, st.integers(0, 40))
def test_indexes_agree_with_a_scan(operations: list[tuple[str, str, list[str] | None]], index_from: int) -> None:
    store, model = ObjectStore(), dict[str, Obj]()
    store.add_index("colour", lambda obj: obj["colours"])
    for number, (namespace, name, colours) in enumerate(operations):
        if number == index_from:
            store.add_index("late", lambda obj: obj["colours"])
        key = f"{namespace}/{name}"
        new = None if colours is None else _obj(namespace, name, colours)
        assert store.put(key, new) is model.get(key)
        if new is None:
            model.pop(key, None)
        else:
            model[key] = new
    store.add_index("late", lambda obj: obj["colours"])
    assert sorted(store.all_keys()) == sorted(model)
    for namespace in ("x", "y"):
        expected = [key for key in model if key.startswith(f"{namespace}/")]
        assert sorted(f"{namespace}/{o['metadata']['name']}" for o in store.list(namespace)) == sorted(expected)
    for colour in ("red", "blue"):
        expected = sorted(key for key, obj in model.items() if colour in obj["colours"])
        for index in ("colour", "late"):
            found = [f"{o['metadata']['namespace']}/{o['metadata']['name']}" for o in store.by_index(index, colour)]
            assert sorted(found) == expected
