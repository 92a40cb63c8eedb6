"""The threads that write the scheduler's decisions, so that the next decision need not wait for the API's answer.

Who calls it: main.py submits bindings and failure reports. Invariant: jobs with the same key run one after the other, in the
order they were submitted, so a "cannot be scheduled" never overwrites the binding that followed it. Threads are started
when first needed.
"""

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

Job = Callable[[], object]


class Writers:
    """`count` queues with one daemon thread each; a key always goes to the same one."""

    def __init__(self, count: int) -> None:
        self._queues: list[queue.SimpleQueue[Job | None]] = [queue.SimpleQueue() for _ in range(count)]
        self._threads: list[threading.Thread | None] = [None] * count

    def submit(self, key: str, job: Job) -> None:
        number = hash(key) % len(self._queues)
        self._queues[number].put(job)
        if self._threads[number] is None:
            thread = threading.Thread(target=self._run, args=(number,), name=f"scheduler-writer-{number}", daemon=True)
            self._threads[number] = thread
            thread.start()

    def stop(self, timeout: float) -> None:
        """Finish what was submitted, waiting at most `timeout` seconds per thread."""
        for jobs in self._queues:
            jobs.put(None)
        for thread in self._threads:
            if thread is not None:
                thread.join(timeout)

    def _run(self, number: int) -> None:
        while (job := self._queues[number].get()) is not None:
            try:
                job()
            except Exception:
                log.exception("a scheduler write failed")
