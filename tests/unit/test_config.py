"""The options of a run as a person writes them, and what they mean."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, urlsplit

import pytest

import harvester
from harvester.api.client import Target
from harvester.api.proxy import read_proxy, unused_proxy
from harvester.cli.running import unencrypted, warnings_about
from harvester.config import (
    BASE_URL_VARIABLE,
    FASTEST,
    ConsoleOptions,
    RunConfig,
)
from harvester.errors import HaltedError, InputError, OptionError, UsageError
from harvester.option import Option, options_in
from harvester.parsing import Rate, read_base_url
from harvester.rules.backoff import RetryLimits
from harvester.rules.budget import Limits
from harvester.secret import Secret
from harvester.small import small_text
from harvester.source.given import pages_of
from harvester.source.options import InputOptions, Inputs
from harvester.tokens import NO_TOKEN, TOKEN_VARIABLES, doubt_about

ID = "67f32a94000000001d02eb4a"
OTHER = "6a274ceb000000000803f157"
SECRET = "s3cret-token-of-mine"  # noqa: S105 - the one that must not be shown


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TOKEN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv(BASE_URL_VARIABLE, raising=False)


def config_of(*, token: Any = SECRET, **said: Any) -> RunConfig:  # noqa: ANN401 - as given
    hidden = None if token is None else Secret(token)
    return RunConfig.read([ID], "new.jsonl", said, hidden)


def texts_of(token: Any = None, **said: Any) -> tuple[str, ...]:  # noqa: ANN401 - the same
    return tuple(token.reveal() for token in config_of(token=token, **said).tokens)


_AS_IT_COMES = InputOptions()


def refusal(act: Callable[[], object]) -> str:
    """What the UsageError says."""
    with pytest.raises(UsageError) as caught:
        act()
    return str(caught.value)


def ids_of(inputs: Inputs, options: InputOptions = _AS_IT_COMES, stdin: bytes = b"") -> list[str]:
    pages = pages_of(inputs, options, io.BytesIO(stdin))
    return [note_id for page in pages for note_id in page.ids]


# The token


def test_the_token_is_taken_from_the_file_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUSTONEAPI_TOKEN", "from-env")
    file = tmp_path / "token"
    file.write_text("  from-file \n")
    assert texts_of("given", token_file=file) == ("from-file",)
    assert texts_of("given") == ("given",)
    assert texts_of("") == ("from-env",)
    assert texts_of() == ("from-env",)


def test_several_tokens_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("first\r\n\n  second\nfirst\n")
    assert texts_of(token_file=file) == ("first", "second")
    assert texts_of(["first", "second"]) == ("first", "second")


def test_a_missing_token_is_told_with_where_to_get_one() -> None:
    assert refusal(texts_of) == NO_TOKEN
    for words in ("justoneapi.com", *TOKEN_VARIABLES[:1], "--token-file", "--simulate"):
        assert words in NO_TOKEN
    assert UsageError.exit_code == 2


def test_a_blank_token_is_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUSTONEAPI_TOKEN", " \n")
    assert refusal(texts_of) == NO_TOKEN


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xff", "cannot be read: it is not text."),
        (b" \n", f"holds {NO_TOKEN}"),
        (b"# JUSTONEAPI_TOKEN=x\n", f"holds {NO_TOKEN}"),
    ],
)
def test_a_token_file_that_cannot_be_used_is_told(
    tmp_path: Path, content: bytes, told: str
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    assert refusal(lambda: texts_of(token_file=file)) == f"--token-file {file} {told}"


def test_a_token_given_in_place_of_its_file_is_not_shown() -> None:
    for name in (SECRET, SECRET * 50, f"{SECRET}\0"):
        told = refusal(lambda name=name: texts_of(token_file=name))  # type: ignore[misc]
        assert told.startswith("--token-file cannot be read: ")
        assert str(Path.cwd()) in told or "\0" in name
        assert "never the token itself" in told
        assert SECRET not in told


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("JUSTONEAPI_TOKEN=first-token", ["first-token"]),
        ("export JUST_ONE_API_TOKEN='first-token'  # mine\n", ["first-token"]),
        ("\"first-token\"\n'second-token'", ["first-token", "second-token"]),
        ("TOKEN = first-token", ["first-token"]),
        (
            "# keys\nDB=x://u:p@h\nOTHER_TOKEN=no\nJUSTONEAPI_TOKEN=first-token # a\n",
            ["first-token"],
        ),
        ("JUSTONEAPI_TOKEN=a-b=c==\nJUSTONEAPI_BASE_URL=https://h", ["a-b=c=="]),
        ("QUJDREVGR0g=\nQUJDREVGRw==", ["QUJDREVGR0g=", "QUJDREVGRw=="]),
        ("DB_URL=postgres://u:p@h/d\nfirst-token", ["first-token"]),
        ("JUSTONEAPI_TOKEN=\nfirst-token", ["first-token"]),
    ],
)
def test_a_token_file_is_read_as_people_mean_it(
    tmp_path: Path, text: str, tokens: list[str]
) -> None:
    file = tmp_path / ".env"
    file.write_text(text)
    assert list(texts_of(token_file=file)) == tokens


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_token_file_of_windows_is_read(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "token.txt"
    file.write_bytes("JUSTONEAPI_TOKEN=first\r\nJUSTONEAPI_TOKEN=second\r\n".encode(encoding))
    assert texts_of(token_file=file) == ("first", "second")


def test_a_token_file_that_has_no_end_or_nobody_writes_is_told(tmp_path: Path) -> None:
    long, pipe = tmp_path / "long", tmp_path / "pipe"
    long.write_bytes(b"#" * ((1 << 20) + 1))
    for file in (Path("/dev/zero"), long):
        told = refusal(lambda file=file: texts_of(token_file=file))  # type: ignore[misc]
        assert told.startswith(f"--token-file {file} cannot be read: it holds more than 1,048,576")
    os.mkfifo(pipe)
    with pytest.raises(OSError, match=r"nobody wrote into this pipe within 0\.01 s: start what"):
        small_text(pipe, 0.01)
    # Whom that left waiting.
    os.close(os.open(pipe, os.O_WRONLY))


def test_a_token_may_come_through_a_pipe_with_a_name_or_without(tmp_path: Path) -> None:
    pipe, (reader, writer) = tmp_path / "pipe", os.pipe()
    os.write(writer, b"first-token\n")
    os.close(writer)
    assert texts_of(token_file=f"/dev/fd/{reader}") == ("first-token",)
    os.close(reader)
    os.mkfifo(pipe)
    writing = threading.Thread(target=pipe.write_text, args=("second-token\n",))
    writing.start()
    assert texts_of(token_file=pipe) == ("second-token",)
    writing.join()


def test_a_token_is_doubted_also_before_a_server_on_this_machine() -> None:
    for simulate in (False, True):
        config = config_of(token="short", base_url="http://127.0.0.1:9", simulate=simulate)  # noqa: S106 - made up
        warnings = list(warnings_about(config, ConsoleOptions()))
        assert ("only 5 characters" in " ".join(warnings)) is not simulate


@pytest.mark.parametrize("name", ["notes.csv", "notes.XLSX", "notes.jsonl", "notes"])
def test_whoever_names_output_as_a_table_is_told_how_tables_are_made(name: str) -> None:
    config = RunConfig.read([ID], name, {"simulate": True})
    told = "`harvester export` makes tables" in " ".join(warnings_about(config, ConsoleOptions()))
    assert told is (name in {"notes.csv", "notes.XLSX"})


def test_both_of_the_vendors_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUST_ONE_API_TOKEN", "second")
    assert texts_of() == ("second",)
    monkeypatch.setenv("JUSTONEAPI_TOKEN", "first")
    assert texts_of() == ("first",)


@pytest.mark.parametrize(
    ("token", "is_doubted"),
    [
        ("YOUR_TOKEN", True),
        ("<your-api-token-here>", True),
        ("xxxxxxxxxxxxxxxxxxxx", True),
        ("${JUSTONEAPI_TOKEN}", True),
        ("abcdef...", True),
        ("eleven-long", True),
        ("twelve-long-", False),
        ("tok-3f9ac17e55d04b28", False),
        ("QUJDREVGR0hJSktMTU5P", False),
    ],
)
def test_an_unlikely_token_is_doubted_in_words_that_do_not_show_it(
    token: str, *, is_doubted: bool
) -> None:
    doubt = doubt_about(token)
    assert (doubt is not None) == is_doubted
    assert token not in (doubt or "")


@pytest.mark.parametrize(
    "spoilt",
    [f"{SECRET} x", f"ok\n{SECRET}\x0bx", f"{SECRET}\x1b[31m", SECRET * 2 + "\t1"],
)
def test_a_spoilt_token_is_refused_and_not_shown(spoilt: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(spoilt)
    for token, path in ((spoilt, None), (None, file)):
        with pytest.raises(UsageError) as caught:
            texts_of(token, token_file=path)
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert "spaces or unprintable characters" in str(caught.value)


def test_a_target_shows_its_token_in_no_text() -> None:
    target = Target("https://h", "/p", Secret(SECRET))
    assert SECRET not in repr(target)
    assert SECRET not in str(target)
    assert SECRET not in f"{target}"


def test_secrets_of_a_config_show_in_no_repr() -> None:
    said = {"proxy": f"http://me:{SECRET}@proxy:3128", "ledger": f"postgresql://me:{SECRET}@db/x"}
    config = config_of(token=[SECRET, "another-token"], **said)
    shown = repr(config)
    assert SECRET not in shown
    assert "another-token" not in shown
    assert [token.reveal() for token in config.tokens] == [SECRET, "another-token"]
    assert config.fleet is not None
    assert config.fleet.url.endswith("@db/x")


def test_a_spoilt_token_is_in_no_frame_of_the_error(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET} x")
    for token, path in ((Secret(f"{SECRET} x"), None), (None, file)):
        with pytest.raises(UsageError) as caught:
            RunConfig.read([ID], "new.jsonl", {"token_file": path}, token)
        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert SECRET not in "".join("".join(told.format()).splitlines()[2:])


# Through which proxy


def test_a_proxy_is_told_its_name_and_password_and_nobody_else_is() -> None:
    found = config_of(proxy="http://me%40x:p%3Aw@proxy.example:3128/").proxy
    assert found is not None
    assert found.place == "proxy.example:3128"
    assert found.authorization is not None
    assert found.authorization.reveal() == "Basic bWVAeDpwOnc="
    assert config_of().proxy is None
    assert config_of(proxy="http://[::1]:8080").proxy is not None


@pytest.mark.parametrize(
    "wrong",
    ["", "proxy:3128", "https://p:1", "socks5://p:1", f"http://me:{SECRET}@", "http://p:99999"],
)
def test_what_is_no_proxy_is_refused_and_not_shown(wrong: str) -> None:
    told = refusal(lambda: config_of(proxy=wrong).proxy)
    assert told.startswith("--proxy ")
    assert SECRET not in told


def test_a_proxy_in_the_environment_is_named_where_it_would_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert unused_proxy("https://h") == ""
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@proxy:3128")
    told = unused_proxy("https://h")
    assert "HTTPS_PROXY is set" in told
    assert "--proxy" in told
    assert SECRET not in told
    assert unused_proxy("http://h") == ""
    monkeypatch.setenv("NO_PROXY", "h")
    assert unused_proxy("https://h") == ""


def test_over_plain_http_a_proxy_is_asked_for_the_whole_url() -> None:
    proxy = read_proxy("http://me:secret@proxy:3128")
    asked = Target("http://h:8/b", "/p", Secret("t"), proxy=proxy).request("n").reveal()
    assert asked.startswith(b"GET http://h:8/b/p?token=t&noteId=n HTTP/1.1\r\nHost: h:8\r\n")
    assert asked.endswith(b"\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n")
    # Over TLS it is told by CONNECT, and the API never.
    assert b"Proxy" not in Target("https://h", "/p", Secret("t"), proxy=proxy).request("n").reveal()


def test_a_target_writes_token_and_id_so_that_neither_can_break_out() -> None:
    target = Target("https://h/b", "/p", Secret("a&b=c#/? \r\n"), accept_cache=True)
    asked = target.request("x&token=y z\r\n").reveal()
    url = urlsplit(asked.split(b" ")[1].decode())
    assert url.path == "/b/p"
    assert dict(parse_qsl(url.query)) == {
        "token": "a&b=c#/? \r\n",
        "noteId": "x&token=y z\r\n",
        "acceptCache": "true",
    }
    plain = Target("https://h:8", "/p", Secret("t")).request("n").reveal()
    assert plain.startswith(b"GET /p?token=t&noteId=n HTTP/1.1\r\nHost: h:8\r\n")
    assert asked.count(b"\r\n") == plain.count(b"\r\n")


# Where to call


def test_the_base_url_is_the_one_given_the_environments_or_the_global_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert config_of().base_url == "https://api.justoneapi.com"
    assert config_of(region="global").base_url == "https://api.justoneapi.com"
    assert config_of(region="cn").base_url == "http://47.117.133.51:30015"
    monkeypatch.setenv(BASE_URL_VARIABLE, "https://from.env/")
    assert config_of().base_url == "https://from.env"
    assert config_of(base_url="http://given:8080/x/").base_url == "http://given:8080/x"
    assert config_of(region="cn").base_url == "http://47.117.133.51:30015"


def test_a_region_beside_a_base_url_is_refused() -> None:
    told = refusal(lambda: config_of(base_url="https://h", region="cn").base_url)
    assert told == "--base-url and --region contradict each other: give one of them."


def test_an_unknown_region_is_refused() -> None:
    told = refusal(lambda: config_of(region="mars").base_url)
    assert told == "--region 'mars' is not known: use global or cn."


def test_an_empty_base_url_never_means_the_paid_default(monkeypatch: pytest.MonkeyPatch) -> None:
    told = refusal(lambda: config_of(base_url="").base_url)
    assert told == "--base-url is empty: leave it out, or give it a value."
    monkeypatch.setenv(BASE_URL_VARIABLE, " ")
    told = refusal(lambda: config_of().base_url)
    assert told == f"{BASE_URL_VARIABLE} is empty: leave it out, or give it a value."
    assert config_of(base_url="http://given").base_url == "http://given"


@pytest.mark.parametrize(
    "url",
    [
        "api.justoneapi.com",
        "ftp://h",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://h:0",
        "https://h:99999",
        "https://h:x",
        "https://[::1",
        "https://user@h",
        "https://user:pw@h",
        "https://h?a=b",
        "https://h/#a",
        "https://h/?",
        "https://:pw@h",
        "https://exa mple.com",
        "https://ho\nst",
        "https://h?token=SECRET",
    ],
)
def test_what_cannot_be_a_base_url_is_refused(url: str) -> None:
    told = refusal(lambda: config_of(base_url=url).base_url)
    assert told.startswith("--base-url is not like https://api.justoneapi.com")
    assert "SECRET" not in told
    with pytest.raises(ValueError, match="is not like"):
        read_base_url(url)


@pytest.mark.parametrize(
    ("url", "is_this_machine"),
    [
        ("http://localhost:8080", True),
        ("http://LOCALHOST", True),
        ("http://127.0.0.1:9/x", True),
        ("http://127.8.8.8", True),
        ("http://[::1]:8080", True),
        ("http://localhost.evil.example", False),
        ("http://127.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://47.117.133.51:30015", False),
    ],
)
def test_this_machine_is_told_from_names_that_look_like_it(
    url: str, *, is_this_machine: bool
) -> None:
    assert config_of(base_url=url).is_local == is_this_machine
    assert len(list(unencrypted(config_of(base_url=url)))) == (not is_this_machine)


# What options mean


def test_options_left_out_mean_the_contracts_defaults() -> None:
    config = config_of()
    assert config.rate == Rate(5, 1)
    assert (config.burst, config.workers, config.timeout) == (1, None, 120)
    assert config.endpoint == "xiaohongshu-pgy/note-detail/v1"
    assert config.retry_limits == RetryLimits(6, 2, 1, 120)
    assert (config.limits, config.max_runtime) == (Limits(), None)
    assert config.day_timezone.key == "Asia/Shanghai"
    assert config.refresh is None
    assert config == RunConfig(
        output=config.output, inputs=config.inputs, tokens=config.tokens, base_url=config.base_url
    )


def test_every_option_reaches_its_setting() -> None:
    config = config_of(
        endpoint="/api/xiaohongshu/get-note-detail/v7",
        accept_cache=True,
        rate="300/m",
        burst=3,
        workers="16",
        timeout="2m",
        max_attempts=4,
        max_unanswered=0,
        backoff_base="500ms",
        backoff_cap=30,
        max_notes=1,
        max_calls=2,
        max_charged=3,
        max_charged_daily=4,
        max_runtime="8h",
        day_timezone="UTC",
        refresh="7d",
        retry_failed=True,
        simulate=True,
        rebuild=True,
        sync=True,
        strict=True,
    )
    assert config.endpoint == "xiaohongshu/note-detail/v7"
    assert (config.rate, config.burst, config.workers) == (Rate(300, 60), 3, 16)
    assert (config.timeout, config.accept_cache) == (120, True)
    assert config.retry_limits == RetryLimits(4, 0, 0.5, 30)
    assert (config.limits, config.max_runtime) == (Limits(1, 2, 3, 4), 28800)
    assert (config.day_timezone.key, config.refresh) == ("UTC", 604800)
    assert config.retry_failed
    assert config.simulate
    assert config.rebuild
    assert config.sync
    assert config.strict


@pytest.mark.parametrize("timeout", [59.9, "59s", "50ms", 1])
def test_a_timeout_under_the_vendors_is_refused_unless_allowed(timeout: float | str) -> None:
    told = refusal(lambda: config_of(timeout=timeout))
    assert "under the 60 seconds the vendor asks for" in told
    assert "--allow-short-timeout" in told
    allowed = config_of(timeout=timeout, allow_short_timeout=True)
    assert 0 < allowed.timeout < 60


def test_a_timeout_of_a_minute_needs_no_leave() -> None:
    assert config_of(timeout=60).timeout == 60
    assert config_of(timeout="1m").timeout == 60


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"workers": "many"}, "--workers 'many' is not a whole number of 1 or more, nor auto."),
        ({"workers": "0"}, "--workers '0' is not a whole number of 1 or more, nor auto."),
        ({"burst": 0}, "--burst 0 is not a whole number of 1 or more."),
        ({"max_unanswered": -1}, "--max-unanswered -1 is not a whole number of 0 or more."),
        ({"max_charged": True}, "--max-charged True is not a whole number of 1 or more."),
        ({"rate": "fast"}, "--rate 'fast' is not like 5/s"),
        ({"rate": 5}, "--rate 5 is not like 5/s"),
        ({"timeout": "abc"}, "--timeout 'abc' is not a time like 90, 50ms"),
        ({"backoff_cap": "long"}, "--backoff-cap 'long' is not a time like"),
        ({"max_runtime": "-1h"}, "--max-runtime '-1h' is out of range."),
        ({"refresh": "x"}, "--refresh 'x' is not a time like"),
        ({"refresh": "7"}, "--refresh '7' needs a unit: 7d or 7s?"),
        ({"refresh": 7}, "--refresh 7 needs a unit: 7d or 7s?"),
        ({"max_runtime": " 8.5 "}, "--max-runtime ' 8.5 ' needs a unit: 8.5h or 8.5s?"),
        ({"wait_for_lock": "1e1"}, "--wait-for-lock '1e1' needs a unit: 1e1m or 1e1s?"),
        ({"max_runtime": "1_0"}, "--max-runtime '1_0' needs a unit: 1_0h or 1_0s?"),
        ({"refresh": "\uff17"}, "--refresh '\uff17' needs a unit"),
        ({"max_charged_daily": 10**20}, f"--max-charged-daily {10**20} is not a whole number from"),
        (
            {"endpoint": "/api/x?token=s3cret&noteId=1"},
            "--endpoint '/api/x?token=***&noteId=1' is neither",
        ),
        ({"day_timezone": "Mars"}, "--day-timezone 'Mars' is no known time zone"),
        ({"endpoint": "v1"}, "--endpoint 'v1' is neither a known name nor a path"),
        ({"endpoint": 5}, "--endpoint 5 is no text."),
        ({"sync": "no"}, "--sync 'no' is neither True nor False."),
        ({"timeout": 0, "allow_short_timeout": True}, "--timeout 0 is not more than 0 seconds."),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_by_its_name(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(OptionError) as caught:
        config_of(**options)
    assert str(caught.value).startswith(told)
    in_python = str(caught.value.by(caught.value.option))
    assert in_python.startswith(f"{caught.value.option}=")


@pytest.mark.parametrize(
    ("said", "seconds"), [(None, None), (True, inf), ("always", inf), ("12h", 43_200), ("0s", 0)]
)
def test_a_used_up_day_is_waited_out_without_end_or_for_a_time(
    said: object, seconds: float | None
) -> None:
    assert config_of(wait_quota=said).wait_quota == seconds


@pytest.mark.parametrize("option", ["refresh", "max_runtime", "wait_for_lock", "wait_quota"])
def test_nothing_needs_a_unit_too(option: str) -> None:
    assert getattr(config_of(**{option: "0s"}), option) == 0
    for nothing in ("0", 0, "0.0"):
        with pytest.raises(OptionError, match="needs a unit: 0"):
            config_of(**{option: nothing})


@pytest.mark.parametrize(
    ("keyword", "near"), [("rat", "'rate'"), ("max_charge", "'max_charged'"), ("zzz", "")]
)
def test_a_misspelt_keyword_is_an_error_before_anything_is_done(
    tmp_path: Path, keyword: str, near: str
) -> None:
    output = tmp_path / "out.jsonl"
    options: Any = {"simulate": True, keyword: 1}
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{keyword}'.*{near}"):
        asyncio.run(harvester.harvest([ID], output, **options))
    # That a checker of types refuses both is held by what it is told to leave out here.
    with pytest.raises(TypeError, match="'rat'"):
        asyncio.run(harvester.harvest([ID], output, rat="5/s"))  # type: ignore[call-arg]
    with pytest.raises(UsageError, match=r"^rate=5 is not like 5/s"):
        asyncio.run(harvester.harvest([ID], output, rate=5, simulate=True))  # type: ignore[arg-type]
    assert not output.exists()


def test_every_option_is_typed_for_editors_in_the_order_of_its_help() -> None:
    assert [*get_type_hints(harvester.HarvestOptions)] == [*options_in(RunConfig)]


def is_read(option: Option, value: object) -> bool:
    try:
        option.reader(value)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", [name for name in options_in(RunConfig) if name != "carry"])
def test_an_option_is_typed_as_it_is_read(name: str) -> None:
    option = options_in(RunConfig)[name]
    kinds = get_args(get_type_hints(harvester.HarvestOptions)[name])
    named = [text for kind in kinds if get_origin(kind) is Literal for text in get_args(kind)]
    assert tuple(named) in {option.names, ("auto",)}
    assert all(is_read(option, text) for text in named)
    assert (bool in kinds) is is_read(option, True)  # noqa: FBT003
    assert (Sequence[str] in kinds) is is_read(option, ["a"])
    assert bool({int, float} & {*kinds}) is is_read(option, 1)
    assert (os.PathLike[str] in kinds) is option.is_file
    assert type(None) in kinds


# Inputs


def test_one_text_or_path_alone_is_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text(f"{ID}\n")
    assert ids_of(str(file)) == ids_of(file) == ids_of([file]) == ids_of([str(file)]) == [ID]
    assert ids_of(ID) == ids_of(f"看 https://www.xiaohongshu.com/explore/{ID}") == [ID]


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_an_iterable_of_ids_is_told_from_one_of_paths(
    kind: Callable[[list[str]], Iterable[str]],
) -> None:
    assert ids_of(kind([ID, OTHER.upper()])) == [ID, OTHER]
    assert ids_of(kind([f"https://www.xiaohongshu.com/explore/{ID}?x=1"])) == [ID]


def test_a_file_that_is_there_is_a_path_even_if_its_name_is_an_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(ID).write_text(f"{OTHER}\n")
    assert ids_of([ID]) == [OTHER]


def test_a_dash_is_standard_input_even_if_the_pattern_would_take_it() -> None:
    assert ids_of(["-"], stdin=f"{ID}\n".encode()) == [ID]
    assert ids_of(["-"], InputOptions(r"[-\w]+"), b"a-1\n") == ["a-1"]


def test_no_input_is_no_pages() -> None:
    assert ids_of([]) == ids_of(()) == ids_of(iter([])) == []


def test_a_path_that_is_not_there_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"no-such\.txt"):
        ids_of(["no-such.txt"])


def test_custom_ids_may_come_from_an_iterable() -> None:
    assert ids_of(["a-1", "b-2"], InputOptions(r"[-\w]+")) == ["a-1", "b-2"]


@pytest.mark.parametrize("ids", [[ID, "nonsense"], (ID, "nonsense")])
def test_strict_refuses_a_bad_id_of_an_iterable_before_the_first_page(ids: Iterable[str]) -> None:
    assert ids_of(ids) == [ID]
    with pytest.raises(InputError, match="nonsense"):
        pages_of(ids, InputOptions(strict=True))
    assert ids_of(iter([ID, OTHER]), InputOptions(strict=True)) == [ID, OTHER]


def test_strict_refuses_a_bad_line_of_a_file_before_the_first_page(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text(f"{ID}\nnonsense\n")
    with pytest.raises(InputError, match=r"ids\.txt:2: .*nonsense"):
        pages_of([file], InputOptions(strict=True))
    assert ids_of([file]) == [ID]


def test_what_strict_reads_first_can_be_left_off(tmp_path: Path) -> None:
    read: list[str] = []

    def endless() -> Iterator[str]:
        while True:
            read.append(ID)
            yield ID

    file = tmp_path / "ids.txt"
    file.write_text(f"{ID}\n" * 100_000)

    def look() -> None:
        raise HaltedError

    for inputs in (endless(), [file], ["-"]):
        with pytest.raises(HaltedError):
            pages_of(inputs, InputOptions(strict=True), io.BytesIO(f"{ID}\n".encode()), look)
    assert len(read) <= 2_000


def test_a_strict_harvest_keeps_to_its_time_and_does_not_hold_the_loop(tmp_path: Path) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield ID

    async def main() -> int:
        checking = asyncio.create_task(
            harvester.harvest(
                endless(), tmp_path / "out.jsonl", simulate=True, strict=True, max_runtime="1ms"
            )
        )
        turns = 0
        while not checking.done():
            turns += 1
            await asyncio.sleep(0)
        with pytest.raises(HaltedError):
            await checking
        return turns

    assert asyncio.run(main()) > 10
    assert list(tmp_path.iterdir()) == []


# What is checked before OUTPUT is touched


def test_a_config_touches_no_output(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    config = RunConfig.read([ID], output, {"base_url": "https://h/"}, Secret(SECRET))
    assert (config.output, config.base_url) == (output, "https://h")
    assert not output.exists()


def test_a_simulated_run_needs_no_token() -> None:
    config = config_of(token=None, simulate=True)
    assert config.base_url == ""
    assert [token.reveal() for token in config.tokens] == ["simulated"]


@pytest.mark.parametrize(("inputs", "has_input"), [([], False), ((), False), ([ID], True)])
def test_a_config_knows_whether_it_was_given_input(
    tmp_path: Path, inputs: Inputs, *, has_input: bool
) -> None:
    output = tmp_path / "out.jsonl"
    output.touch()
    assert RunConfig.read(inputs, output, {"simulate": True}).has_input == has_input


def test_going_on_with_what_was_never_begun_is_refused_with_what_was(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl.ledger").touch()
    for name, hint in (
        ("notse.jsonl", "did you mean notes.jsonl? Else name an INPUT"),
        ("other", ": name an INPUT"),
    ):
        told = refusal(lambda name=name: RunConfig.read([], tmp_path / name, {"simulate": True}))  # type: ignore[misc]
        assert f"there is no {tmp_path / name} to go on with" in told
        assert hint in told
    assert RunConfig.read([], tmp_path / "notes.jsonl", {"simulate": True}).has_input is False
    assert [path.name for path in tmp_path.iterdir()] == ["notes.jsonl.ledger"]


def test_the_rate_may_be_left_to_be_found() -> None:
    config = config_of(rate="auto")
    assert (config.rate, config.top_rate) == (None, FASTEST)
    assert config_of(rate="5/s").top_rate == Rate(5, 1)


# Whom to tell


def test_webhooks_stand_in_the_environment_or_a_file_and_show_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "urls"
    file.write_text("# mine\nhttps://h/2#top\n\n  http://h:80/3\n")
    console = ConsoleOptions.read({"notify": "https://h/1", "notify_file": file})
    assert [url.reveal() for url in console.notify] == [
        "https://h/1",
        "https://h/2",
        "http://h:80/3",
    ]
    assert "https" not in repr(console)


@pytest.mark.parametrize(
    "url",
    [
        "h/{}",
        "ftp://h/{}",
        "https:///{}",
        "https://me:{}@h/",
        "https://h:99999/{}",
        "https://h/é{}",
    ],
)
def test_a_webhook_that_is_none_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    told = refusal(lambda: ConsoleOptions.read({"notify": (url.format(SECRET),)}))
    assert told.startswith("--notify ")
    assert SECRET not in told
    file = tmp_path / "urls"
    file.write_text(url.format(SECRET))
    told = refusal(lambda: ConsoleOptions.read({"notify_file": file}))
    assert told.startswith("--notify-file ")
    assert SECRET not in told
    for name in (SECRET, url.format(SECRET)):
        told = refusal(lambda name=name: ConsoleOptions.read({"notify_file": name}))  # type: ignore[misc]
        assert "never the URL itself" in told
        assert SECRET not in told


def test_a_token_in_a_list_is_told_to_nobody(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text(f"{'x' * 70}?token={SECRET}&a=1\n")
    config = RunConfig.read([notes], tmp_path / "o.jsonl", {}, Secret(SECRET))
    (page,) = [page for page in pages_of(config.inputs, config.input_options) if page.bad]
    assert page.bad[0].text == f"{'x' * 70}?token=**…"


def test_the_file_that_holds_the_token_is_no_list(tmp_path: Path) -> None:
    file, link = tmp_path / "token.txt", tmp_path / "ids.txt"
    file.write_text(f"{SECRET}\n")
    link.symlink_to(file)
    for simulate in (False, True):
        said = {"token_file": file, "simulate": simulate}
        with pytest.raises(UsageError, match="INPUT is what --token-file names"):
            RunConfig.read([link], tmp_path / "o.jsonl", said)
