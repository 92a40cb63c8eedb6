"""The grammar of expressions: that of the package cel-python, and what cel-go's parser takes besides.

Who calls it: `program.py`. Invariant: made once per process, on first use; whatever the package parses is parsed alike here.
Added: optional access (`a.?b`, `a[?b]`), optional entries (`{?k: v}`, `[?x]`, `T{?f: v}`), names in backticks, trailing commas.
Upstream: github.com/google/cel-go/parser/gen/CEL.g4.
"""

import re
from functools import cache
from pathlib import Path

import celpy.celparser
from lark import Lark, Token

_RULES = {
    r"^member         :.*$": "member : member_dot | member_dot_arg | member_opt_dot | member_index | member_opt_index"
    " | member_object | primary\nmember_opt_dot : member \".?\" name\nmember_opt_index : member \"[?\" expr \"]\"\n"
    "?name : IDENT | QUOTED",
    r"^member_dot     :.*$": 'member_dot : member "." name',
    r"^list_lit       :.*$": 'list_lit : "[" [listinit ("," listinit)* [","]] "]" | "[?" opt_first ("," listinit)* [","] "]"\n'
    'opt_first : expr\nlistinit : expr | "?" expr -> opt_listinit',
    r"^fieldinits     :.*$": 'fieldinits : fieldinit ("," fieldinit)* [","]\n'
    'fieldinit : name ":" expr | "?" name ":" expr -> opt_fieldinit',
    r"^mapinits       :.*$": 'mapinits : mapinit ("," mapinit)* [","]\n'
    'mapinit : expr ":" expr | "?" expr ":" expr -> opt_mapinit',
    r"^IDENT          :": "QUOTED : /`[a-zA-Z0-9_.\\-\\/ ]+`/\nIDENT :",
}  # fmt: skip


@cache
def parser() -> Lark:
    text = (Path(celpy.celparser.__file__).parent / "cel.lark").read_text()
    for rule, replacement in _RULES.items():
        text, count = re.subn(rule, lambda _, new=replacement: new, text, flags=re.M)  # type: ignore[misc]
        assert count == 1, f"cel-python's grammar has no longer the rule {rule}"
    # IDENT comes last, because Lark asks about the last name alone whether an identifier has become something else
    callbacks = {"QUOTED": _unquoted, "IDENT": celpy.celparser.CELParser.ambiguous_literals}
    return Lark(
        text, parser="lalr", start="expr", g_regex_flags=re.M, lexer_callbacks=callbacks, propagate_positions=True,
        maybe_placeholders=False, priority="invert",
    )  # fmt: skip


def _unquoted(token: Token) -> Token:
    return token.update(value=token.value[1:-1])
