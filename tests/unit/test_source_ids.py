"""What a note id is, bare and in URLs."""

from __future__ import annotations

import pytest

from harvester.errors import UsageError
from harvester.source.ids import SHORT_LINK, IdRule

ID = "67f32a94000000001d02eb4a"
OTHER = "6a274ceb000000000803f157"
UID = "5f0c1d2e000000000101a2b3"
SITE = "https://www.xiaohongshu.com"


@pytest.mark.parametrize(
    "text",
    [
        ID,
        ID.upper(),
        f"  {ID}\t\r",
        f"\ufeff{ID}",
        f"{SITE}/explore/{ID}",
        f"{SITE}/explore/{ID.upper()}?xsec_token=AB=&xsec_source=pc",
        f"{SITE}/discovery/item/{ID}?a=1",
        f"{SITE}/search_result/{ID}/",
        f"{SITE}/user/profile/{UID}/{ID}?xsec_token=x",
        f"/explore/{ID}#comments",
        f"看看这个😆 {SITE}/discovery/item/{ID}。复制打开",
        f"{SITE}/explore/{ID}复制",
        f"{SITE}/explore/{ID} {SITE}/discovery/item/{ID.upper()}",
    ],
)
def test_one_note_is_found(text: str) -> None:
    assert IdRule().read(text) == ([ID], "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ID[:-1], "names no note"),
        (ID + "0", "names no note"),
        (ID[:-1] + "g", "names no note"),
        (ID[:-1] + "٣", "names no note"),
        (f"{ID[:10]}\n{ID[10:]}", "names no note"),
        (f"{SITE}/explore/{ID}0", "names no note"),
        (f"{SITE}/explore/{ID}-x", "names no note"),
        (f"{SITE}/user/profile/{UID}", "names no note"),
        (f"{SITE}/user/profile/{UID}?tab=note", "names no note"),
        (f"{SITE}/board/{ID}", "names no note"),
        (f"{SITE}/user/profile/{UID}?appuid={UID}&x=/{UID}", "names no note"),
        (f"www.xiaohongshu.com/user/profile/{UID}", "names no note"),
        (f"{SITE}/x?user_id={UID}", "names no note"),
        (f"https://sns-img.xhscdn.com/{ID}.jpg {ID}_1.jpg @{UID}", "names no note"),
        (f"user_id: {UID} 作者ID：{UID} 'uid': '{UID}'", "names no note"),
        ("看 http://XHSLINK.com/a/AbC", SHORT_LINK),
        ("https://xhslink.cn/o/AbC，复制", SHORT_LINK),
        ("6.79E+22", "Excel"),
        ("67932000000000000000000", "Excel"),
        ("679320000000000000000000", "Excel"),
        ("2026/3/1", "Excel"),
        ("李雷 2026-11-20 10:00:01", "names no note"),
    ],
)
def test_anything_else_is_refused_with_a_reason(text: str, reason: str) -> None:
    ids, told = IdRule().read(text)
    assert ids == []
    assert reason in told


@pytest.mark.parametrize(
    "text",
    [
        f"{ID} {OTHER}",
        f"{ID},{OTHER}",
        f"{ID}/{OTHER}",
        f"1. {ID} ② {OTHER}",
        f"①{ID}、{OTHER}",
        f"ids = [\"{ID}\", '{OTHER}']",
        f"{SITE}/explore/{ID}?a=1，{SITE}/explore/{OTHER}",
        f"{SITE}/explore/{ID}?xsec_token=AB={SITE}/explore/{OTHER}",
        f"[一]({SITE}/explore/{ID}) [二]({SITE}/explore/{OTHER}?a=b)",
        f"xhsdiscover://item/{ID}?type=normal xhsdiscover://item/{OTHER}",
        f"https%3A%2F%2Fwww.xiaohongshu.com%2Fexplore%2F{ID}%3Fa%3D1 {OTHER}",
        f"https:\\/\\/www.xiaohongshu.com\\/explore\\/{ID}\\u0026 {OTHER}",
        f"{SITE}/explore/{ID}?a=1&amp;b=2 {SITE}&#x2F;explore&#47;{OTHER}",
        f"{SITE}/explore/{UID}/{ID}?a=1 {SITE}/user/profile/{UID}/{OTHER}",
        f"{SITE}/login?redirectPath=https%3A%2F%2Fwww.xiaohongshu.com%2Fexplore%2F{ID} {OTHER}",
        f"note_id={ID} user_id={UID} noteId: {OTHER}",
        "".join(chr(ord(sign) + 0xFEE0) for sign in ID)
        + f"\u200b\u3000{OTHER[:9]}\u00ad{OTHER[9:]}",
    ],
)
def test_several_notes_are_found_in_order_and_nothing_else(text: str) -> None:
    assert IdRule().read(text) == ([ID, OTHER], "")


def test_a_link_beside_a_note_is_told() -> None:
    assert IdRule().read(f"{ID} xhslink.com/a/b") == ([ID], SHORT_LINK)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"[A-Z]\d+", "A17", "A17"),
        (r"[A-Z]\d+", " A17 ", "A17"),
        (r"[A-Z]\d+", f"{SITE}/explore/A17?x=1", "A17"),
        (r"[A-Z]\d+", f"{SITE}/explore/A17/B2", "A17"),
        (r"[A-Z]\d+", f"{SITE}/explore/A17x", None),
        (r"\d+", "٣٣", None),
        (r"\d+$", "17\n8", None),
        (r".+", "a\x1bb", None),
        (r"(?s).+", "a\nb", None),
        (r".+", "a\ufffdb", None),
        (r"a+", "a" * 512, "a" * 512),
        (r"a+", "a" * 513, None),
        (r".*", "", None),
    ],
)
def test_a_pattern_decides_what_an_id_is(pattern: str, text: str, found: str | None) -> None:
    rule = IdRule(pattern)
    assert rule.read(text).ids == ([] if found is None else [found])


@pytest.mark.parametrize("pattern", ["[", "a{99999999999999999999}", "(?u)a", "(" * 5000])
def test_a_pattern_that_is_none_is_a_usage_error(pattern: str) -> None:
    with pytest.raises(UsageError, match="--id-pattern"):
        IdRule(pattern)
