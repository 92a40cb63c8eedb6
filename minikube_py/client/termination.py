"""Ending on SIGTERM and SIGINT, for processes that run threads.

Who calls it: the `run` function of the kubelet and of kube-proxy, before they start any thread.
Invariant: no code runs inside a signal handler. A handler that sets an event while the main thread stands inside that
event's own lock would wait for itself for ever; a thread of its own that waits for the signal cannot.
"""

import signal
import threading

_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def event() -> threading.Event:
    """An event that is set when this process is asked to end. Call it once, before any other thread exists."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    asked = threading.Event()

    def wait() -> None:
        signal.sigwait(_SIGNALS)
        asked.set()

    threading.Thread(target=wait, daemon=True, name="termination").start()
    return asked
