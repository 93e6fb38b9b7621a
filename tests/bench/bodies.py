"""What it costs to read an answer, mask it and make its line: odd and hostile bodies, by the byte.

None may cost more than 1.5 times the plain one, save those that no JSON reader takes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from harvester.api.redaction import Redaction
from harvester.model import Answer, Job, Verdict
from harvester.output.lines import make_line
from harvester.rules.verdicts import judge
from harvester.secret import Secret
from harvester.simulator.data import note_data
from tests.bench.table import show

LIMIT = 1.5
_ROUNDS = 7
_SECONDS = 0.02
_JOB = Job(1, "67f32a94000000001d02eb4a")
_ENDPOINT = "xiaohongshu-pgy/note-detail/v1"
_REDACTION = Redaction([Secret("tok-3f9ac17e55d04b28")])


def bodies(size: int) -> dict[str, bytes]:
    """Bodies of about `size` bytes that a JSON reader takes, the plain one first."""
    note = json.dumps(note_data(_JOB.note_id), ensure_ascii=False).encode()
    plain = b"[" + b",".join([note] * max(1, size // len(note))) + b"]"
    depth = 900
    deep = b'{"a":[' * (depth // 2) + b"1" + b"]}" * (depth // 2)
    texts = {
        "plain": plain,
        "Chinese": _filled("上海的夜晚 一杯咖啡 ".encode(), size),
        "\\u escapes": _filled(rb"\u4e0a\u6d77\u7684\u591c\u665a ", size),
        "emoji in escapes": _filled(rb"\ud83d\ude00 words ", size),
        "half an emoji": _filled(rb"words \ud83d ", size),
        "19 digits as numbers": _listed(b"1234567890123456789", size),
        "30 digits as numbers": _listed(b"123456789012345678901234567890", size),
        "19 digits in strings": _filled(b"1234567890123456789 ", size),
        "% and &#": _filled(b"%74%6f&#107;%25 &amp; ", size),
        "backslashes": _filled(rb"\\", size),
        "quotes": _filled(rb"\"", size),
        "empty strings": _listed(b'""', size),
        "1e400": _listed(b"1e400", size),
        "deep": b"[" + b",".join([deep] * (size // len(deep) + 1)) + b"]",
    }
    made = {name: b'{"code":0,"message":"ok","data":' + text + b"}" for name, text in texts.items()}
    whole = made["plain"]
    twice = b'{"data":' + plain + b',"data":' + plain + b',"code":0}'
    return made | {
        "pretty-printed": json.dumps(json.loads(whole), indent=1, ensure_ascii=False).encode(),
        "duplicate keys": twice,
        "byte order mark": b"\xef\xbb\xbf" + whole,
        "UTF-16": whole.decode().encode("utf-16"),
        "JSONP": b"callback(" + whole + b");",
    }


def hostile(size: int) -> dict[str, bytes]:
    """Bodies that no JSON reader takes, each to be given up soon."""
    return {
        '{ and "\\ for ever': b"{" + b'"\\' * (size // 2),
        '{ and ", for ever': b"{" + b'",' * (size // 2),
        "[ for ever": b'{"code":0,"data":' + b"[" * size,
        "NaN": b'{"code":0,"data":' + _listed(b"NaN", size) + b"}",
        "no UTF-8": b'{"code":0,"data":"' + b"\xff" * size + b'"}',
        "( for ever": b"callback" + b"(" * size,
        ") for ever": b"callback(" + b") " * (size // 2) + b"x",
    }


def _filled(unit: bytes, size: int) -> bytes:
    return b'["' + unit * (size // len(unit)) + b'"]'


def _listed(unit: bytes, size: int) -> bytes:
    return b"[" + b",".join([unit] * (size // (len(unit) + 1))) + b"]"


def whole_way(body: bytes) -> bytes | None:
    """From an answer to its line, if it is one."""
    judgement = judge(Answer(200, body), _REDACTION.said)
    if judgement.verdict is not Verdict.SAVE:
        return None
    return _REDACTION.line(make_line(_JOB, judgement, _ENDPOINT, 1795395723.5))


def cost(deed: Callable[[], object]) -> float:
    """Seconds of CPU a call takes, at the least of some rounds."""
    once = _timed(deed, 1)
    many = max(1, int(_SECONDS / max(once, 1e-7)))
    return min(_timed(deed, many) / many for _ in range(_ROUNDS))


def _timed(deed: Callable[[], object], many: int) -> float:
    began = time.process_time()
    for _ in range(many):
        deed()
    return time.process_time() - began


def ratios(found: dict[str, bytes]) -> dict[str, tuple[float, float]]:
    """What each costs in microseconds, and a byte of it against a byte of the plain one.

    Each is measured beside the plain one, so that a machine that is busy slows both.
    """
    plain = found["plain"]
    told = {}
    for name, body in found.items():
        beside = cost(lambda: whole_way(plain)) / len(plain)
        spent = cost(lambda body=body: whole_way(body))  # type: ignore[misc]
        told[name] = spent * 1e6, spent / len(body) / beside
    return told


def main(sizes: tuple[int, ...] = (3 << 10, 64 << 10)) -> None:
    """Print a table for each size."""
    for size in sizes:
        good = bodies(size)
        rows = [("body", "bytes", "us", "ratio a byte")]
        for kind in (good, {"plain": good["plain"], **hostile(size)}):
            rows += [
                (name, f"{len(kind[name]):,}", f"{spent:.1f}", f"{ratio:.2f}")
                for name, (spent, ratio) in ratios(kind).items()
            ]
        show(
            f"Reading an answer of about {size >> 10} KB, masking it and making its line",
            rows,
            f"Ratios are to the plain one; at most {LIMIT} is wanted of what is JSON.",
        )


if __name__ == "__main__":
    main()
