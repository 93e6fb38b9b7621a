"""`harvester report`: a real harvest made into a page, and the page opened in a real browser."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from harvester.api.endpoints import DEFAULT_ENDPOINT
from harvester.ledger.protocol import Extent, Identity
from harvester.ledger.reader import ledger_path
from harvester.ledger.sqlite import SqliteLedger
from harvester.model import Job, Outcome, State
from tests.process.tool import Tool, Upstream
from tests.process.warm import Warm

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOSTILE = "笔记不存在</script><script>document.title='taken'</script>\u202e\x1b[31m"
CHARTS = ("calls", "latency", "backlog", "attempts", "spend")
WIDE, PHONE = 1200, 360
DAY = 86_400.0


@dataclass(frozen=True)
class Look:
    """How a page is looked at: its width in CSS pixels, and light or dark."""

    name: str
    width: int
    scheme: str


LOOKS = (
    Look("light", WIDE, "light"),
    Look("dark", WIDE, "dark"),
    Look("phone", PHONE, "light"),
)


async def answer(upstream: Upstream, note_id: str, nth: int) -> web.StreamResponse:
    """Most notes are good, some are gone in hostile words, some calls fail, one stops it all."""
    if nth == 300:
        return upstream.reply(303)
    if int(note_id, 16) % 20 == 0:
        return upstream.reply(404, message=HOSTILE)
    return upstream.reply(301 if nth % 7 == 0 else 0, {"title": "春日穿搭"})


def failure(job: Job, minute: int) -> Outcome:
    """A collection that failed, some sooner and some later."""
    return Outcome(job, State.QUEUED, 301, "failed", elapsed=0.3 + (job.seq + minute) % 17 / 10)


def earlier_nights(output: Path, ids: list[str]) -> None:
    """Nights in which the collection of all notes failed, as an earlier run would have kept them.

    Real runs of this length are nothing for a test to wait for.
    """
    now = time.time() - 2 * DAY
    ledger = SqliteLedger(ledger_path(output), lambda: now)
    ledger.identify(Identity(DEFAULT_ENDPOINT, simulated=False))
    ledger.enrol(ids, None)
    for _ in range(2):
        ledger.begin_run(120.0)
        for minute in range(40):
            jobs = ledger.claim(20 - minute % 7, 100.0).jobs
            ledger.record([failure(job, minute) for job in jobs], (), Extent())
            now += 60
        ledger.finish_run("SIGTERM", 143)
        now += DAY - 40 * 60
    ledger.close()
    output.touch()


@pytest.fixture(scope="module")
def harvested(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Iterator[Tool]:
    """Nights in vain, then a harvest that failed in part and was stopped by its quota."""
    tool = Tool(tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("logs"), warm)
    try:
        earlier_nights(tool.output, tool.note_ids(400))
        run = tool.harvest(tool.upstream(answer).url, tool.notes(400))
        assert run.code == 3, run.text
        yield tool
    finally:
        tool.end()


@pytest.fixture(scope="module")
def page(harvested: Tool) -> Path:
    """The page of it."""
    made = harvested.run("report", harvested.output, "-o", "report.html", "--price", "0.05")
    assert made.code == 0, made.text
    assert made.out == "wrote report.html: open it in a browser\n"
    return harvested.folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    if not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.skip("no Chromium and chromedriver in /usr/bin (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield browser
    finally:
        browser.quit()


def open_page(browser: webdriver.Chrome, page: Path, look: Look) -> None:
    """Open it with such a width and scheme; a phone also has a finger for a mouse."""
    scheme = {"name": "prefers-color-scheme", "value": look.scheme}
    size = {"width": look.width, "height": 800, "deviceScaleFactor": 1}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {**size, "mobile": look.width == PHONE}
    )
    browser.get(page.as_uri())
    WebDriverWait(browser, 30).until(lambda _: all(marks(browser, name) for name in CHARTS))


def marks(browser: webdriver.Chrome, chart: str) -> list[dict[str, float]]:
    """The bars and lines of a chart, by their sizes on the screen, those with any."""
    found: list[dict[str, float]] = browser.execute_script(
        """
        const marks = `#chart-${arguments[0]} svg :is(.bars .point path, .js-line, .points path)`;
        return [...document.querySelectorAll(marks)]
          .map((mark) => mark.getBoundingClientRect())
          .filter((box) => box.width + box.height > 0)
          .map((box) => ({left: box.left, width: box.width, height: box.height}));
        """,
        chart,
    )
    return found


def is_too_wide(browser: webdriver.Chrome, look: Look) -> bool:
    """Whether the page would have to be scrolled sideways, or shrunk by a phone to fit."""
    root = "document.documentElement"
    wanted, room, shown = browser.execute_script(
        f"return [{root}.scrollWidth, {root}.clientWidth, window.innerWidth]"
    )
    return bool(wanted > room or shown != look.width)


def picture(browser: webdriver.Chrome, place: Path) -> bytes:
    """A picture of the whole page, kept for whoever wants to look."""
    height = browser.execute_script("return document.documentElement.scrollHeight")
    width = browser.execute_script("return window.innerWidth")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
    )
    place.write_bytes(bytes_of(shot))
    return place.read_bytes()


def bytes_of(shot: dict[str, Any]) -> bytes:
    return base64.b64decode(shot["data"])


def log(browser: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """What a log of the browser's has got since last asked."""
    found: list[dict[str, Any]] = browser.execute("getLog", {"type": kind})["value"]
    return found


def requests(browser: webdriver.Chrome) -> set[str]:
    """All that was asked for, from wherever, since last asked."""
    events = [json.loads(entry["message"])["message"] for entry in log(browser, "performance")]
    return {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }


def test_the_page_is_drawn_offline_in_light_in_dark_and_on_a_phone(
    page: Path, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    browser.get("about:blank")
    requests(browser)  # what the browser asks for of itself as it starts
    pictures = {}
    for look in LOOKS:
        open_page(browser, page, look)
        assert browser.title == "notes.jsonl: harvest report"
        assert not is_too_wide(browser, look)
        for chart in CHARTS:
            frame = browser.find_element(By.ID, f"chart-{chart}")
            assert frame.size["width"] > look.width / 3
            assert max(mark["width"] for mark in marks(browser, chart)) > 2, chart
            assert max(mark["height"] for mark in marks(browser, chart)) > 20, chart
        pictures[look] = picture(browser, tmp_path / f"report-{look.name}.png")
    assert len(set(pictures.values())) == len(LOOKS)
    assert {url for url in requests(browser) if not url.startswith("data:")} == {page.as_uri()}
    assert log(browser, "browser") == []


def test_switching_to_dark_repaints_page_and_charts_at_once(
    page: Path, browser: webdriver.Chrome
) -> None:
    colours = """
        const colour = (what, of) => getComputedStyle(document.querySelector(what))[of];
        return [colour("body", "backgroundColor"), colour(".bars .point path", "fill")];
        """
    open_page(browser, page, LOOKS[0])
    light = browser.execute_script(colours)
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    WebDriverWait(browser, 30).until(
        lambda _: all(a != b for a, b in zip(light, browser.execute_script(colours), strict=True))
    )


def test_who_zooms_in_sees_the_hours_and_who_goes_back_the_nights(
    page: Path, browser: webdriver.Chrome
) -> None:
    open_page(browser, page, LOOKS[0])
    chart = browser.find_element(By.CSS_SELECTOR, "#chart-calls .nsewdrag")

    def ticks() -> list[str]:
        labels = browser.find_elements(By.CSS_SELECTOR, "#chart-calls .xtick text")
        return [label.text for label in labels]

    nights = ticks()
    mouse = ActionChains(browser)
    mouse.move_to_element(chart).click_and_hold().move_by_offset(200, 0).release().perform()
    WebDriverWait(browser, 30).until(lambda _: len(ticks()) > len(nights))
    ActionChains(browser).double_click(chart).perform()
    WebDriverWait(browser, 30).until(lambda _: ticks() == nights)


@pytest.mark.parametrize("has_clipboard", [True, False])
def test_the_ids_of_a_reason_are_copied_by_its_button(
    page: Path,
    browser: webdriver.Chrome,
    harvested: Tool,
    has_clipboard: bool,  # noqa: FBT001 - pytest passes parameters so
) -> None:
    open_page(browser, page, LOOKS[0])
    if not has_clipboard:  # as in browsers that keep it from local files
        browser.execute_script("Object.defineProperty(navigator, 'clipboard', {value: null})")
    button = browser.find_element(By.CSS_SELECTOR, "button[data-copy]")
    told = browser.find_element(By.CSS_SELECTOR, "summary").text
    listed = browser.find_element(By.CSS_SELECTOR, "textarea").get_attribute("value") or ""
    failed = harvested.run("failures", harvested.output, "--format", "ids")
    assert listed.split() == failed.out.split()
    assert "笔记不存在</script>" in told
    assert button.text == f"Copy {len(listed.split())} ids"
    button.click()
    WebDriverWait(browser, 30).until(lambda _: button.text == "Copied")
    browser.execute_script("document.body.prepend(document.createElement('textarea'))")
    pasted = browser.find_element(By.CSS_SELECTOR, "body > textarea")
    pasted.send_keys(Keys.CONTROL, "v")
    assert pasted.get_attribute("value") == listed


def test_nothing_but_a_page_is_ever_overwritten(harvested: Tool) -> None:
    output, page = harvested.output, harvested.folder / "again.html"
    lines = output.read_bytes()
    for target in (output, output.with_name("notes.jsonl.ledger"), "ids-400-1.txt"):
        refused = harvested.run("report", output, "-o", target)
        assert refused.code == 2
        assert "name another file" in refused.err.splitlines()[-1]
    assert output.read_bytes() == lines
    assert harvested.verify().code == 0
    texts = []
    for price in ("0.05", "0.10"):
        made = harvested.run("report", output, "-o", page, "--price", price)
        assert made.code == 0, made.text
        texts.append(page.read_text("utf-8"))
    assert texts[0] != texts[1]
    assert "\x1b" not in texts[0]
    assert not list(harvested.folder.glob(".*"))
    assert not [file for file in harvested.holding(harvested.token) if file.endswith(".html")]


def test_a_page_can_be_made_while_a_run_goes_on(tool: Tool) -> None:
    upstream = tool.upstream()
    run = tool.start_harvest(upstream.url, tool.notes(5))
    tool.until(lambda: upstream.calls > 0, "the first call")
    made = tool.run("report", tool.output, "-o", "report.html", env=tool.env)
    assert made.code == 0, made.text
    text = (tool.folder / "report.html").read_text("utf-8")
    assert "Nothing to show yet" in text
    run.signal(signal.SIGTERM)
    upstream.open()
    assert run.finish().code == 143


def test_without_the_extra_one_line_says_what_to_install(tool: Tool) -> None:
    (tool.folder / "plotly.py").write_text("raise ModuleNotFoundError(name='plotly')", "utf-8")
    env = {**tool.env, "PYTHONPATH": os.pathsep.join((str(tool.folder), tool.env["PYTHONPATH"]))}
    refused = tool.run("report", "no.jsonl", "-o", "report.html", env=env)
    assert refused.code == 2
    assert refused.err.splitlines()[-1] == (
        "harvester: error: `report` needs the library plotly, which is not installed: "
        "pip install 'harvester[report]'"
    )


def test_an_output_that_never_was_is_told_in_one_line(tool: Tool) -> None:
    refused = tool.run("report", "no.jsonl", "-o", "report.html", env=tool.env)
    assert refused.code == 2
    assert "there is no ledger" in refused.err
    assert not (tool.folder / "report.html").exists()
