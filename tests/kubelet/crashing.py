"""A kubelet that kills itself at one runtime call: `CRASH=call:before|after:nth python -m tests.kubelet.crashing FLAGS`.

Who runs it: test_crashes.py, test_cri_pods.py. It is the real kubelet with the real runtime; only the call in question is cut
short.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from kubelet.main import Kubelet, parse
from kubelet.runtime.base import Runtime
from kubelet.runtime.choose import make_runtime
from minikube_py.api.clock import REAL


def arm(runtime: Runtime, text: str) -> None:
    """Replace the method named in `text` by one that ends the process."""
    name, when, nth = text.split(":")
    original: Callable[..., Any] = getattr(runtime, name)
    left = [int(nth)]

    def call(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(runtime, name, call)


def main() -> None:
    options = parse(sys.argv[1:])
    runtime = make_runtime(options, REAL)
    if os.environ.get("CRASH"):
        arm(runtime, os.environ["CRASH"])
    Kubelet(options, REAL, runtime).start(threading.Event())
    threading.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main()
