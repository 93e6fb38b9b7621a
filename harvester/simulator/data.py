"""Believable notes: the same id always gives the same `data`, in the real answer's exact shape."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random

import msgspec
from msgspec import Struct

_SHANGHAI = timezone(timedelta(hours=8))
_CUT_TITLES = 100  # one title in so many ends in half an emoji, as the vendor cuts them
_HALF_AN_EMOJI = "\ud83d"
_DAY = 86_400


class _Topic(Struct, frozen=True):
    """What a note may be about: words for its title, its sentences and its hashtags."""

    subjects: tuple[str, ...]
    points: tuple[str, ...]
    tags: tuple[str, ...]


class _Words(Struct, frozen=True):
    """What all notes are made of: the members of each part, and words for the texts in them.

    `titles` and `openings` have a place for the subject.
    """

    note: dict[str, object]
    image: dict[str, object]
    user: dict[str, object]
    topics: tuple[_Topic, ...]
    titles: tuple[str, ...]
    openings: tuple[str, ...]
    closings: tuple[str, ...]
    bullets: tuple[str, ...]
    names: tuple[str, ...]
    nicks: tuple[str, ...]
    cities: tuple[str, ...]


_WORDS = msgspec.json.decode(Path(__file__).with_name("words.json").read_bytes(), type=_Words)
_SIZES = ((1242, 1656), (1080, 1440), (1440, 1920), (1280, 960), (1080, 1080))


def note_data(note_id: str) -> dict[str, object]:
    """The `data` of an answer for `note_id` (24 lower-case hex digits), some 3 KB as JSON.

    Keys, their order and types are those of the real answer of `xiaohongshu-pgy/get-note-detail`
    v1; the id's first 8 digits are the note's creation in Unix seconds. About one title in a
    hundred ends in a lone surrogate.
    """
    dice = Random(note_id)  # noqa: S311 - believable is enough
    topic = dice.choice(_WORDS.topics)
    subject = dice.choice(topic.subjects)
    created = int(note_id[:8], 16)
    user_id = f"{created - dice.randrange(900 * _DAY) & 0xFFFFFFFF:08x}0000000001{_digits(6, dice)}"
    return _WORDS.note | {
        "noteId": note_id,
        "noteLink": _link(note_id, dice),
        "userId": user_id,
        "title": _title(subject, dice),
        "content": _content(topic, subject, dice),
        "imagesList": [_image(dice) for _ in range(1 + dice.randrange(4))],
        "time": _times(created, dice),
        "createTime": f"{datetime.fromtimestamp(created, _SHANGHAI):%Y-%m-%d %H:%M}",
        **_counts(dice),
        "userInfo": _user(user_id, dice),
    }


def _digits(count: int, dice: Random) -> str:
    """Lower-case hex digits."""
    return f"{dice.getrandbits(4 * count):0{count}x}"


def _link(note_id: str, dice: Random) -> str:
    token = urlsafe_b64encode(dice.randbytes(32)).decode()
    return f"https://www.xiaohongshu.com/explore/{note_id}?xsec_token=MB{token}&xsec_source=pc_pgy"


def _title(subject: str, dice: Random) -> str:
    title = dice.choice(_WORDS.titles).format(subject)
    return title if dice.randrange(_CUT_TITLES) else title + _HALF_AN_EMOJI


def _content(topic: _Topic, subject: str, dice: Random) -> str:
    points = _some(topic.points, 6 + dice.randrange(3), dice)
    lines = [f"{bullet}{point}" for bullet, point in zip(_WORDS.bullets, points, strict=False)]
    tags = "".join(f"#{tag}[话题]#" for tag in _some(topic.tags, 3 + dice.randrange(3), dice))
    opening = dice.choice(_WORDS.openings).format(subject)
    return "\n".join((opening, "-", *lines, "\t", dice.choice(_WORDS.closings), tags))


def _some(choices: tuple[str, ...], count: int, dice: Random) -> tuple[str, ...]:
    """`count` different ones of `choices`, which stand in a ring and are taken from one spot on."""
    start = dice.randrange(len(choices))
    return (choices + choices)[start : start + count]


def _image(dice: Random) -> dict[str, object]:
    file_id = f"1040g2sg31{_digits(30, dice)}"
    width, height = dice.choice(_SIZES)
    return _WORDS.image | {
        "fileId": file_id,
        "url": f"http://ci.xiaohongshu.com/{file_id}?imageView2/2/w/1080/format/jpg",
        "original": f"http://ci.xiaohongshu.com/{file_id}",
        "width": width,
        "height": height,
        "traceId": file_id,
    }


def _times(created: int, dice: Random) -> dict[str, int]:
    """Three moments in Unix milliseconds."""
    edited = created + dice.randrange(3 * _DAY)
    return {
        "createTime": created * 1000,
        "updateTime": (edited + dice.randrange(30 * _DAY)) * 1000,
        "userUpdateTime": edited * 1000,
    }


def _counts(dice: Random) -> dict[str, int]:
    likes = dice.randrange(5_000)
    reads = likes * 12 + dice.randrange(1_000)
    return {
        "impNum": reads * 5 + dice.randrange(1_000),
        "likeNum": likes,
        "favNum": dice.randrange(likes + 1),
        "cmtNum": dice.randrange(likes // 8 + 1),
        "readNum": reads,
        "shareNum": dice.randrange(likes // 10 + 1),
        "followCnt": dice.randrange(likes // 20 + 1),
    }


def _user(user_id: str, dice: Random) -> dict[str, object]:
    avatar = f"1040g2jo31{_digits(30, dice)}"
    return _WORDS.user | {
        "nickName": dice.choice(_WORDS.names) + dice.choice(_WORDS.nicks),
        "avatar": f"https://sns-avatar-qc.xhscdn.com/avatar/{avatar}?imageView2/2/w/120/format/jpg",
        "userId": user_id,
        "fansNum": dice.randrange(20_000),
        "location": dice.choice(_WORDS.cities),
        "gender": dice.choice(("女", "男")),
    }
