"""The one type every layer shares.

Who uses it: everything. Invariant: an API object is plain JSON data (dict, list, str, int, float, bool, None), shaped by
the official schema and never wrapped in a class, so that adding a resource is one row of a table.
"""

from typing import Any

Obj = dict[str, Any]
"""An API object, or any JSON object inside one, with upstream's field names."""
