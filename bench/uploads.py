"""Measures one drop of many photos, in a real browser against `manage.py up`.

    python bench/uploads.py                       # 1,000 photos of about 300 kB
    python bench/uploads.py --photos 100 --write  # fewer, and bench/uploads.md

Everything is in a temporary folder: SQLite, files, and the photos, which are noise with nobody on
them, no two the same. Web, worker, beat and browser share this machine: the workers are at the
photos that have arrived while the others are on their way. Then the same photos are chosen again.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from machine import wait_for
from PIL import Image
from playwright.sync_api import CDPSession, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
MANAGE = [sys.executable, str(ROOT / "manage.py")]
PASSWORD = "bench-password-1"
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
EVERY = 0.5
MEMORY = {"JSHeapUsedSize": "heap", "Nodes": "nodes"}


@dataclass
class Drop:
    """One drop as its page told it. Megabytes of JavaScript's heap; nodes of the document."""

    name: str
    seconds: float = 0
    outcome: str = ""
    requests: int = 0
    peaks: dict[str, float] = field(default_factory=dict)
    rows: int = 0

    def line(self, photos: int) -> str:
        rate = photos / self.seconds
        heap, nodes = self.peaks["heap"] / 1e6, self.peaks["nodes"]
        return (
            f"| {self.name} | {self.outcome} | {self.requests:,} | {self.seconds:.1f} s | "
            f"{rate:.1f} | {heap:.1f} MB | {nodes:,.0f} | {self.rows} |"
        )


def make_photos(folder: Path, count: int) -> float:
    """How many megabytes they have."""
    noise = Image.effect_noise((1100, 760), 34).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG", quality=70)
    start, rest = buffer.getvalue()[:2], buffer.getvalue()[2:]
    for number in range(count):
        comment = f"{number:06}".encode()
        mark = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (folder / f"IMG_{number:05}.jpg").write_bytes(start + mark + rest)
    return count * len(buffer.getvalue()) / 1e6


@contextmanager
def rollcall(data: Path, log: Path | None = None) -> Iterator[str]:
    """Its address, with the demo team in it; what it prints goes into `log`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        "ROLLCALL_DATA": str(data),
        "ROLLCALL_DEMO_PASSWORD": PASSWORD,
        "PORT": str(port),
    }
    for name in ("DATABASE_URL", "REDIS_URL", "VISION_URL"):
        env.pop(name, None)
    for words in (["migrate"], ["collectstatic", "--noinput"], ["seed_demo"]):
        subprocess.run([*MANAGE, *words], env=env, check=True, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    with (log or Path(os.devnull)).open("wb") as out:
        up = subprocess.Popen([*MANAGE, "up"], env=env, stdout=out, stderr=out if log else None)
    try:
        wait_for(address)
        yield address
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)


def sign_in(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_label("User name").fill("demo")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/t/demo/")


def make_gallery(page: Page, address: str) -> None:
    page.goto(f"{address}/t/demo/galleries/new")
    page.locator("#main [name=name]").fill("Bench")
    page.locator("#main [name=name]").press("Enter")
    page.wait_for_url("**/g/bench*/")


def drop(page: Page, devtools: CDPSession, name: str, photos: list[Path]) -> Drop:
    measured = Drop(name)

    def count(request: object) -> None:
        measured.requests += "/upload" in getattr(request, "url", "")

    page.on("request", count)
    start = time.monotonic()
    page.set_input_files("#files", photos)
    while page.locator("#uploads [data-role=close]").is_hidden():
        for metric in devtools.send("Performance.getMetrics")["metrics"]:
            if key := MEMORY.get(metric["name"]):
                measured.peaks[key] = max(measured.peaks.get(key, 0), metric["value"])
        measured.rows = max(measured.rows, page.locator("#uploads .upload-row").count())
        time.sleep(EVERY)
    measured.seconds = time.monotonic() - start
    page.remove_listener("request", count)
    measured.outcome = page.locator("#uploads .uploads-head [data-role=words]").inner_text()
    return measured


def report(drops: list[Drop], photos: int, megabytes: float, load: float) -> str:
    about = (
        f"`python bench/uploads.py --photos {photos}`, measured {time.strftime('%Y-%m-%d')} on "
        f"{os.cpu_count()} cores, the browser and the recogniser among those who want them; the "
        f"machine's load was {load:.1f} before. {photos:,} photos, {megabytes:.0f} MB in all; "
        "peaks of the page's memory were looked for twice a second."
    )
    columns = ["Drop", "Outcome", "requests", "time", "photos/s", "heap", "nodes", "rows"]
    lines = [
        "# One drop of many photos",
        "",
        about,
        "",
        f"| {' | '.join(columns)} |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(one.line(photos) for one in drops),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--write", action="store_true", help="bench/uploads.md, too")
    options = parser.parse_args()
    # So that what was started is stopped, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    load = os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="rollcall-bench-uploads-"))
    try:
        (folder / "photos").mkdir()
        megabytes = make_photos(folder / "photos", options.photos)
        photos = sorted((folder / "photos").iterdir())
        with rollcall(folder / "data") as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            sign_in(page, address)
            make_gallery(page, address)
            devtools = page.context.new_cdp_session(page)
            devtools.send("Performance.enable")
            drops = [drop(page, devtools, "All new", photos)]
            page.reload()
            drops.append(drop(page, devtools, "The same again", photos))
            browser.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = report(drops, options.photos, megabytes, load)
    print(text)
    if options.write:
        (ROOT / "bench" / "uploads.md").write_text(text)


if __name__ == "__main__":
    main()
