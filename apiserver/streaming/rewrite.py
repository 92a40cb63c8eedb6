"""Links in proxied pages: a page that says "/x" means its own root, which for the client lies behind our proxy path.

Who calls it: `proxy.py`, for answers of type text/html and for Location headers. Invariants: every byte that is not such a
link passes as it came; links to other hosts and relative links stay; a page is rewritten as it streams, never held whole.
Upstream: staging/src/k8s.io/apimachinery/pkg/util/proxy/transport.go.
"""

import html
import re
import zlib
from html.parser import HTMLParser
from posixpath import normpath
from urllib.parse import urlsplit, urlunsplit

_LINKS: dict[str, frozenset[str]] = {
    tag: frozenset(attributes.split())
    for tag, attributes in {
        "a": "href", "applet": "codebase", "area": "href", "audio": "src", "base": "href", "blockquote": "cite",
        "body": "background", "button": "formaction", "command": "icon", "del": "cite", "embed": "src", "form": "action",
        "frame": "longdesc src", "head": "profile", "html": "manifest", "iframe": "longdesc src",
        "img": "longdesc src usemap", "input": "src usemap formaction", "ins": "cite", "link": "href",
        "object": "classid codebase data usemap", "q": "cite", "script": "src", "source": "src", "video": "poster src",
    }.items()
}  # fmt: skip
_ATTRIBUTE = re.compile(r"""([^\s"'<>/=]+)(\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)""")
_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def link(url: str, prefix: str, host: str) -> str:
    """A link as the client has to follow it. In: `prefix` is our path to the page's root, `host` whom the page is from."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if (parts.netloc and parts.netloc != host) or not parts.path.startswith("/") or parts.path.startswith(prefix):
        return url
    path = normpath(f"{prefix}/{parts.path}")
    if parts.path.endswith("/"):
        path += "/"
    return urlunsplit(("", "", path, parts.query, parts.fragment))


class Page:
    """Rewrites one page. `feed` its bytes as they come, `finish` at the end; both give bytes to send."""

    def __init__(self, prefix: str, host: str, encoding: str = "") -> None:
        self._tags = _Tags(prefix, host)
        self._inflate = zlib.decompressobj(_WINDOW[encoding]) if encoding else None

    def feed(self, chunk: bytes) -> bytes:
        if self._inflate is not None:
            chunk = self._inflate.decompress(chunk)
        self._tags.feed(chunk.decode("latin-1"))
        return self._tags.take()

    def finish(self) -> bytes:
        if self._inflate is not None:
            self._tags.feed(self._inflate.flush().decode("latin-1"))
        return self._tags.end()


def readable(encoding: str) -> bool:
    """Whether a page with this Content-Encoding can be rewritten."""
    return encoding in ("", *_WINDOW)


class _Tags(HTMLParser):
    """Collects the text as it is read, start tags with their links changed. The text is latin-1: one character, one byte."""

    def __init__(self, prefix: str, host: str) -> None:
        super().__init__(convert_charrefs=False)
        self._prefix, self._host = prefix, host
        self._ready: list[str] = []
        self._changed: str | None = None

    def take(self) -> bytes:
        text = "".join(self._ready)
        self._ready.clear()
        return text.encode("latin-1")

    def end(self) -> bytes:
        """The last of the text; a page may end inside a tag or a script."""
        self.close()
        self._ready.append(self.rawdata)
        return self.take()

    def updatepos(self, i: int, j: int) -> int:
        """The parser calls this for every stretch of text it is done with, in order."""
        if i < j:
            self._ready.append(self.rawdata[i:j] if self._changed is None else self._changed)
            self._changed = None
        return super().updatepos(i, j)

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """ "<![...": to a browser, a comment; the library would raise for names it does not know."""
        return self.parse_bogus_comment(i)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        links, text = _LINKS.get(tag), self.get_starttag_text()
        if links and text:
            opened = len(tag) + 1
            self._changed = text[:opened] + _ATTRIBUTE.sub(lambda found: self._attribute(found, links), text[opened:])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def _attribute(self, found: re.Match[str], links: frozenset[str]) -> str:
        name, equals, value = found.groups()
        if name.lower() not in links:
            return found.group()
        mark = value[0] if value[0] in "\"'" else ""
        url = html.unescape(value.strip(mark) if mark else value)
        changed = link(url, self._prefix, self._host)
        if changed == url:
            return found.group()
        mark = mark or '"'
        return f"{name}{equals}{mark}{html.escape(changed)}{mark}"
