"""A certificate for HAProxy to read in tests, made once."""

from functools import cache
from pathlib import Path

from minikube_py.cluster import pki


@cache
def _pair() -> tuple[str, str]:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        pki.ensure(directory, api_addresses=[])
        own = (directory / "admin.crt").read_text() + (directory / "admin.key").read_text()
        return own, (directory / "ca.crt").read_text()


def write_pair(directory: Path) -> None:
    """`own.pem` and `ca.pem`, as a sidecar has them."""
    own, authority = _pair()
    (directory / "own.pem").write_text(own)
    (directory / "ca.pem").write_text(authority)
