"""What a note id is, bare and in URLs."""

from __future__ import annotations

import pytest

from harvester.errors import UsageError
from harvester.source.ids import IdRule, NoNoteError

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
    assert IdRule().find(text) == ID


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ID[:-1], "names no note"),
        (ID + "0", "names no note"),
        (f"{ID} and words", "names no note"),
        (ID[:-1] + "g", "names no note"),
        (ID[:-1] + "٣", "names no note"),
        (f"{ID[:10]}\n{ID[10:]}", "names no note"),
        (f"{SITE}/explore/{ID}0", "names no note"),
        (f"{SITE}/explore/{ID}-x", "names no note"),
        (f"{SITE}/user/profile/{UID}", "names no note"),
        (f"{SITE}/user/profile/{UID}?tab=note", "names no note"),
        (f"{SITE}/board/{ID}", "names no note"),
        (f"{SITE}/explore/{ID} {SITE}/explore/{OTHER}", "names two notes"),
        ("看 http://XHSLINK.com/a/AbC", "short link: open it and paste the full URL"),
    ],
)
def test_anything_else_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(NoNoteError) as caught:
        IdRule().find(text)
    assert str(caught.value) == reason


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
    if found is not None:
        assert rule.find(text) == found
        return
    with pytest.raises(NoNoteError):
        rule.find(text)


@pytest.mark.parametrize("pattern", ["[", "a{99999999999999999999}", "(?u)a", "(" * 5000])
def test_a_pattern_that_is_none_is_a_usage_error(pattern: str) -> None:
    with pytest.raises(UsageError, match="--id-pattern"):
        IdRule(pattern)
