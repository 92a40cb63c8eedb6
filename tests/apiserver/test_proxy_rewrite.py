"""Pages that come through the proxy lead back through it."""

import gzip

from hypothesis import given
from hypothesis import strategies as st

from apiserver.streaming.rewrite import Page, link

PREFIX, HOST = "/api/v1/namespaces/n/pods/p/proxy", "10.0.0.1:80"
_PIECES = [
    b"<", b">", b"<a ", b"href=", b"rel.html", b"'", b'"', b"/", b"</a>", b"<!--", b"-->", b"<![", b"]]>", b"<!", b"<?", b"&",
    b"&amp;", b"&#", b"<script>", b"</script>", b"if (a<b)", b"text", b"\xff\x00", b" ", b"\n", b"=",
]  # fmt: skip


def rewritten(page: bytes, sizes: list[int]) -> bytes:
    """The page, fed in pieces of these sizes and a last one."""
    rewriter, sent = Page(PREFIX, HOST), b""
    for size in sizes:
        sent += rewriter.feed(page[:size])
        page = page[size:]
    return sent + rewriter.feed(page) + rewriter.finish()


@given(st.lists(st.sampled_from(_PIECES)).map(b"".join), st.lists(st.integers(1, 9)))
def test_what_is_no_link_to_the_root_passes_as_it_came(page: bytes, sizes: list[int]) -> None:
    if b"=/" not in page and b'"/' not in page and b"'/" not in page:
        assert rewritten(page, sizes) == page


@given(st.lists(st.integers(1, 40)))
def test_links_to_the_root_lead_through_the_proxy(sizes: list[int]) -> None:
    page = (
        b'<a href="/rewriteme">test</a> <IMG SRC=/i.png alt=x><a href="rel">r</a><a href="http://other/x">o</a>'
        b"<form action='/f/?a=1&amp;b=2#c'/><!-- <a href=\"/no\"> --><script>'<a href=/no>'</script>"
        b'<a href="http://10.0.0.1:80/mine"><a class="/no" href="//other/x">'
    )
    assert rewritten(page, sizes).decode() == (
        f'<a href="{PREFIX}/rewriteme">test</a> <IMG SRC="{PREFIX}/i.png" alt=x><a href="rel">r</a>'
        f"<a href=\"http://other/x\">o</a><form action='{PREFIX}/f/?a=1&amp;b=2#c'/>"
        "<!-- <a href=\"/no\"> --><script>'<a href=/no>'</script>"
        f'<a href="{PREFIX}/mine"><a class="/no" href="//other/x">'
    )


def test_a_compressed_page_is_read() -> None:
    rewriter = Page(PREFIX, HOST, "gzip")
    packed = gzip.compress(b'<a href="/x">')
    assert (
        rewriter.feed(packed[:7]) + rewriter.feed(packed[7:]) + rewriter.finish() == f'<a href="{PREFIX}/x">'.encode()
    )


def test_a_link_that_is_ours_already_stays() -> None:
    assert link(f"{PREFIX}/x", PREFIX, HOST) == f"{PREFIX}/x"
    assert link("http://[broken", PREFIX, HOST) == "http://[broken"
