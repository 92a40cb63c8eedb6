"""What the C library's allocator is told: to keep the memory of large answers instead of giving it back after each.

Who calls it: `main.run`, first. Invariant: a setting, nothing else; where the C library has no such setting (musl) nothing
happens. A list of 1,000 objects is 1.7 MB and passes through buffers on its way into TLS. By default each block above 128 kB
is mapped and given back, and touching fresh pages took two thirds of the time of such an answer. So lists are made and sent
in pieces of that size (`encode.py`, `listener.py`), and blocks are kept up to twice as much. uvloop's buffer of 256 kB per
TLS connection just reaches `_MMAP`: mapped, it costs a page as long as little is read; out of kept blocks it costs more.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM = 32 * 1024 * 1024
_MMAP = 256 * 1024


def keep_large_blocks() -> None:
    """Blocks below `_MMAP` bytes come from the heap; its top goes back to the system only above `_TRIM` bytes."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP)
        mallopt(_M_TRIM_THRESHOLD, _TRIM)
