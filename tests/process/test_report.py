"""`harvester report`: a real harvest made into a page."""

from __future__ import annotations

import os
import signal

from tests.process.nights import harvest_nights
from tests.process.tool import Tool


def test_nothing_but_a_page_is_ever_overwritten(tool: Tool) -> None:
    harvest_nights(tool)
    output, page = tool.output, tool.folder / "again.html"
    lines = output.read_bytes()
    for target in (output, output.with_name("notes.jsonl.ledger"), "ids-400-1.txt"):
        refused = tool.run("report", output, "-o", target)
        assert refused.code == 2
        assert "name another file" in refused.err.splitlines()[-1]
    assert output.read_bytes() == lines
    assert tool.verify().code == 0
    texts = []
    for price in ("0.05", "0.10"):
        made = tool.run("report", output, "-o", page, "--price", price)
        assert made.code == 0, made.text
        texts.append(page.read_text("utf-8"))
    assert texts[0] != texts[1]
    assert "\x1b" not in texts[0]
    assert not list(tool.folder.glob(".*"))
    assert not [file for file in tool.holding(tool.token) if file.endswith(".html")]


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
        "install harvester from its folder again, with '.[report]' in place of '.'."
    )


def test_an_output_that_never_was_is_told_in_one_line(tool: Tool) -> None:
    refused = tool.run("report", "no.jsonl", "-o", "report.html", env=tool.env)
    assert refused.code == 2
    assert "there is no ledger" in refused.err
    assert not (tool.folder / "report.html").exists()
