"""The page of `harvester report`, opened in a real browser."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.process.nights import harvest_nights
from tests.process.tool import Tool
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
CHARTS = ("calls", "latency", "backlog", "attempts", "spend")
WIDE, PHONE = 1200, 360


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


@pytest.fixture(scope="module")
def harvested(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Iterator[Tool]:
    tool = Tool(tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("logs"), warm)
    try:
        harvest_nights(tool)
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


def test_notes_are_found_by_a_word_and_sorted_by_a_column(
    page: Path, browser: webdriver.Chrome
) -> None:
    open_page(browser, page, LOOKS[0])

    def column(number: int) -> list[str]:
        shown: list[str] = browser.execute_script(
            "return [...document.querySelectorAll('#notes tbody tr:not([hidden])')]"
            ".map((row) => row.cells[arguments[0]].innerText.trim())",
            number,
        )
        return shown

    def numbers() -> list[int]:
        return [int(text.replace(",", "") or -1) for text in column(2)]

    titles, many = column(0), numbers()
    assert len(titles) > 10
    (likes,) = browser.find_elements(By.XPATH, "//table[@id='notes']//button[.='likes']")
    likes.click()
    assert numbers() == sorted(many, reverse=True)
    likes.click()
    assert numbers() == sorted(many)
    word = max(titles, key=len)[:6]
    browser.find_element(By.ID, "search").send_keys(word)
    both = zip(column(0), column(1), strict=True)
    found = [f"{title} {author}".lower() for title, author in both]
    assert 0 < len(found) <= len(titles)
    assert all(part in text for text in found for part in word.lower().split())
    assert browser.find_element(By.ID, "found").text == f"{len(found)} found"
