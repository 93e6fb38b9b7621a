"""Endpoints by name and by path."""

from __future__ import annotations

import pytest

from harvester.api.endpoints import DEFAULT_ENDPOINT, ENDPOINTS, endpoint_name, endpoint_path
from harvester.simulator import api


def test_the_default_is_the_seeds() -> None:
    assert DEFAULT_ENDPOINT == "xiaohongshu-pgy/note-detail/v1"
    assert endpoint_path(DEFAULT_ENDPOINT) == "/api/xiaohongshu-pgy/get-note-detail/v1"


@pytest.mark.parametrize(("name", "path"), ENDPOINTS.items())
def test_a_name_and_its_path_are_the_same_endpoint(name: str, path: str) -> None:
    assert endpoint_name(name) == endpoint_name(path) == name
    assert endpoint_path(name) == path


def test_the_simulator_answers_the_same_paths() -> None:
    assert sorted([*api.ENDPOINTS, api.RESOLVER]) == sorted(ENDPOINTS.values())


def test_an_unknown_path_is_its_own_name() -> None:
    path = "/api/xiaohongshu/get-note-detail/v8"
    assert endpoint_name(path) == endpoint_path(path) == path


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("xiaohongshu/note-detail/7", "did you mean xiaohongshu/note-detail/v7?"),
        ("xiaohongshu-pgy/note-details/v1", "did you mean xiaohongshu-pgy/note-detail/v1?"),
        ("XIAOHONGSHU/Note-Detail/V3", "did you mean xiaohongshu/note-detail/v3?"),
        (" xiaohongshu/note-detail/v2", "did you mean xiaohongshu/note-detail/v2?"),
        ("solar-note-detail/v1", "did you mean xiaohongshu-pgy/solar-note-detail/v1?"),
        (
            "api/xiaohongshu/get-note-detail/v5",
            "did you mean /api/xiaohongshu/get-note-detail/v5?",
        ),
        ("note-detail/v1", "known: "),
        ("nothing like it", "known: " + ", ".join(ENDPOINTS)),
        ("", "known: "),
        ("/", "known: "),
        ("/a b", "known: "),
        ("/a?token=b", "known: "),
        ("/a#b", "known: "),
        ("/a\n", "known: "),
        ("/\u4e2d", "known: "),
    ],
)
def test_what_is_neither_name_nor_path_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r"^is neither") as caught:
        endpoint_name(text)
    message = f"is neither a known name nor a path: {hint}"
    assert str(caught.value).startswith(message)
