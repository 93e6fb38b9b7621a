"""A server on a core of its own: nginx where there is one, the benchmark's own API elsewhere."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

PATH = "/api/xiaohongshu-pgy/get-note-detail/v1"
_DATA = {
    "noteId": "67f32a94000000001d02eb4a",
    "title": "上海落户普通人指南",
    "content": "上海落户" * 240,
    "likeNum": 0,
}
_BODY = orjson.dumps({"code": 0, "message": "success", "data": _DATA}).decode()
_PATIENCE = 10.0
# One process, so that it is pinned as a whole; nothing outside its own folder.
_CONFIGURATION = """\
daemon off;
master_process off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  log_format status $status;
  default_type application/json;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  limit_req_zone $server_name zone=calls:1m rate={rate}r/s;
  limit_req_status 429;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    server_name bench;
    {location}
  }}
}}
"""
_FREE = "location / {{ return 200 '{body}'; }}"
# nginx answers `return` before it looks at limits, so here the same body comes from a file.
_LIMITED = (
    "location / {{ root {folder}; access_log {folder}/access.log status; "
    "limit_req zone=calls burst={burst} nodelay; try_files /body.json =404; }}"
)


@dataclass(frozen=True, slots=True)
class Limit:
    """What nginx's `limit_req` lets through: calls a second, and how many at once."""

    rate: int
    burst: int


def nginx() -> str | None:
    """Where nginx is, if it is here."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def cores() -> list[int]:
    """The cores this may use; none where they cannot be chosen."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """Start processes on one core, if there are two or more."""
    have = cores()
    if len(have) < 2:
        yield
        return
    os.sched_setaffinity(0, {have[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, have)


@contextmanager
def fast_server(folder: Path) -> Iterator[str]:
    """A server that answers any call at once with a note of 3 KB; gives its URL."""
    program = nginx()
    if program is not None:
        with _nginx(program, folder, Limit(1, 0), _FREE) as url:
            yield url
        return
    with on_core(0):
        command = [sys.executable, "-m", "tests.bench.server", "0", "0", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().decode().strip()
    finally:
        _end(process)
        process.stdout.close()


@contextmanager
def limited_server(program: str, folder: Path, limit: Limit) -> Iterator[str]:
    """The same by nginx with a limit; `statuses` tells what it answered."""
    (folder / "body.json").write_text(_BODY)
    with _nginx(program, folder, limit, _LIMITED) as url:
        yield url


def statuses(folder: Path) -> list[str]:
    """The HTTP status of each call to a limited server."""
    return (folder / "access.log").read_text("ascii").split()


@contextmanager
def _nginx(program: str, folder: Path, limit: Limit, location: str) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    inner = location.format(folder=folder, body=_BODY, burst=limit.burst)
    text = _CONFIGURATION.format(folder=folder, port=port, rate=limit.rate, location=inner)
    configuration = folder / "nginx.conf"
    configuration.write_text(text)
    with on_core(0):
        process = subprocess.Popen(
            [program, "-p", str(folder), "-c", str(configuration)], stderr=subprocess.DEVNULL
        )
    try:
        _await(port, process, folder)
        yield f"http://127.0.0.1:{port}"
    finally:
        _end(process)


def _await(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < until, "nginx does not listen"
            time.sleep(0.05)
        else:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(_PATIENCE)
