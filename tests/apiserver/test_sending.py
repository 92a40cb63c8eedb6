"""Large answers and watches on slow connections: every byte arrives, in order, and the connection goes on."""

import json
import time

from tests.apiserver.wire import Wire, config_map


def test_a_list_of_many_slices_arrives_whole_on_a_slow_connection(wire: Wire, maps: str) -> None:
    """8 MB are more than socket and TLS buffers hold: the rest waits for the client, other clients do not."""
    texts = {f"big-{number}": chr(97 + number) * 700_000 for number in range(12)}
    for name, text in texts.items():
        wire.ok("POST", maps, config_map(name, data={"text": text}))
    slow = wire.connection()
    headers = {"Authorization": f"Bearer {wire.token}"}
    slow.request("GET", maps, headers=headers)
    response = slow.getresponse()
    parts = [response.read(1000)]
    time.sleep(0.2)
    assert wire("GET", f"{maps}/big-1").status == 200
    while part := response.read(300_000):
        parts.append(part)
    items = json.loads(b"".join(parts))["items"]
    assert {
        item["metadata"]["name"]: item["data"]["text"] for item in items if item["metadata"]["name"] in texts
    } == texts
    slow.request("GET", f"{maps}/big-2", headers=headers)  # the same connection serves the next request
    assert slow.getresponse().status == 200


def test_a_watch_whose_client_pauses_misses_nothing(wire: Wire, maps: str) -> None:
    watching = wire.connection()
    version = wire.ok("GET", maps)["metadata"]["resourceVersion"]
    watching.request(
        "GET", f"{maps}?watch=1&resourceVersion={version}", headers={"Authorization": f"Bearer {wire.token}"}
    )
    response = watching.getresponse()
    names = [f"event-{number:02}" for number in range(60)]
    for name in names:  # 12 MB, more than the socket takes while nobody reads
        wire.ok("POST", maps, config_map(name, data={"text": "x" * 200_000}))
    seen: list[str] = []
    while len(seen) < len(names):
        event = json.loads(response.readline())
        assert event["type"] == "ADDED"
        seen.append(event["object"]["metadata"]["name"])
    assert seen == names
