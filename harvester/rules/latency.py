"""Latencies counted in buckets that grow evenly, so that many can be kept small and added up."""

from __future__ import annotations

import math
from collections.abc import Mapping

# Eight to each doubling: a quantile read back is off by 4.5 % at most.
_PER_DOUBLING = 8
_SHORTEST = 0.001


def bucket_of(seconds: float) -> int:
    """The number of the bucket that a latency falls into; 0 holds all up to a millisecond."""
    return max(0, math.ceil(_PER_DOUBLING * math.log2(max(seconds, _SHORTEST) / _SHORTEST)))


def seconds_of(bucket: int) -> float:
    """The latency, in seconds, that stands for a bucket: the middle of it, as ratios go."""
    return float(_SHORTEST * 2 ** (max(0.0, bucket - 0.5) / _PER_DOUBLING))


def quantile(calls: Mapping[int, int], share: float) -> float | None:
    """The latency in seconds that a share of the calls did not exceed; None without any call.

    `calls` counts calls by bucket; `share` is 0.5 for the median, 0.95 for the 95th percentile.
    """
    left = share * sum(calls.values())
    for bucket in sorted(calls):
        left -= calls[bucket]
        if left <= 0 and calls[bucket]:
            return seconds_of(bucket)
    return None
