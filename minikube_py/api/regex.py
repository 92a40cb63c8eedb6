"""Regular expressions that clients bring along, matched in linear time whatever they are. The only file that knows re2.

Who calls it: validation of custom resources, CEL. Invariant: no expression and no text keep the server busy for longer than
the text is long; the syntax is RE2's, which is upstream's.
"""

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=512)
def compile(text: str) -> Any:
    """The compiled expression, with `search` and `finditer` as in the standard library's. Raises ValueError."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        why = error.args[0] if error.args else ""
        raise ValueError(f"error parsing regexp: {why.decode() if isinstance(why, bytes) else why}") from None
