"""The sidecar's process: gets this pod's certificate and configuration from the control plane, and keeps HAProxy by them.

Who runs it: the container `mesh-proxy` that inject.py adds. Invariant: the private key is made here and
leaves only for HAProxy's directory, in memory; without the control plane all goes on as it is, until the certificate ends.
"""

import argparse
import http.client
import json
import logging
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

from minikube_py.api.clock import REAL
from minikube_py.client import termination
from minikube_py.ingress.haproxy import Configuration
from minikube_py.ingress.proxy import HAProxy
from minikube_py.mesh import certificates
from minikube_py.mesh.kinds import RUN, TOKENS, identity

log = logging.getLogger("mesh-agent")

_TIMEOUT, _RETRY = 40.0, 1.0


class Agent:
    """`step` is one round; it may be called by hand in tests. In: host:port of the control plane; where token and CA lie."""

    def __init__(self, control: str, tokens: Path = Path(TOKENS), run: Path = Path(RUN)) -> None:
        self._control, self._tokens = control, tokens
        self.proxy = HAProxy(run)
        self._pair, self._renew_at = "", 0.0
        self._known: dict[str, Any] = {}

    def step(self) -> None:
        """Renew what is due, wait for news, serve. Raises OSError, HTTPException, ValueError: the control plane fails us."""
        if REAL.time() >= self._renew_at:
            self._renew()
            if self._known:
                self._serve()
        news = self._ask("/v1/configuration", {"have": self._known.get("digest", "")})
        if news:
            self._known = news
        self._serve()  # also when nothing is new: a proxy that died starts again

    def _renew(self) -> None:
        key = certificates.new_key()
        request = certificates.request(key, self._identity())
        certificate = self._ask("/v1/certificate", {"request": request})["certificate"]
        begins, ends = certificates.lifetime(certificate)
        self._pair = certificate + certificates.key_pem(key)
        self._renew_at = begins.timestamp() + (ends - begins).total_seconds() * 2 / 3
        log.info("certificate of %s until %s", self._identity(), ends)

    def _serve(self) -> None:
        authority = (self._tokens / "ca.crt").read_text()
        files = {**self._known["files"], "own.pem": self._pair, "ca.pem": authority}
        self.proxy.apply(Configuration(self._known["text"], files))

    def _identity(self) -> str:
        """As the token says: the control plane says no to any other."""
        import base64

        payload = self._token().split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        _, _, namespace, account = claims["sub"].split(":")
        return identity(namespace, account)

    def _token(self) -> str:
        return (self._tokens / "token").read_text().strip()

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        context = ssl.create_default_context(cafile=str(self._tokens / "ca.crt"))
        connection = http.client.HTTPSConnection(self._control, timeout=_TIMEOUT, context=context)
        try:
            headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise ValueError(f"{path}: {answer.status} {text[:300]!r}")
            found: dict[str, Any] = json.loads(text)
            return found
        finally:
            connection.close()


def run(agent: Agent, ended: threading.Event) -> None:
    """Until `ended`; then requests in progress are finished."""
    threading.Thread(target=_work, args=(agent, ended), daemon=True, name="mesh-agent").start()
    ended.wait()
    agent.proxy.stop()


def _work(agent: Agent, ended: threading.Event) -> None:
    while not ended.is_set():
        try:
            agent.step()
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            log.warning("%s; trying again", error)
            REAL.wait(ended, _RETRY)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    ended = termination.event()
    parser = argparse.ArgumentParser(prog="mesh-agent", description="A pod's side of the service mesh.")
    parser.add_argument("--control", required=True, help="host:port of the control plane")
    run(Agent(parser.parse_args(sys.argv[1:]).control), ended)


if __name__ == "__main__":
    main()
