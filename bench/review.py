"""Measures a reviewer's hand: keystrokes a face, and what passes from a key to the next card.

    python bench/review.py --scale 0.01           # a quick try
    python bench/review.py --keep --write         # among 1,000,000 faces, and bench/review.md

The database is that of `bench/pages.py`, on the PostgreSQL of DATABASE_URL. gunicorn serves it as
on a team's server, a real browser shows the review, and keys are pressed in it: those that the
cards ask for. Before each decision the hand rests for `--think` seconds, and for `--type` between
two keys of a name. No worker runs. Photos are pictures of the demo's, whatever is said of who is
on them: they are loaded, cut and shown, not looked at.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from machine import Yardstick, cpu, wait_for
from pages import ROOT, beside, filled, prepare
from playwright.sync_api import Page, sync_playwright

if TYPE_CHECKING:
    from persons.models import Face, User

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
TEN_MINUTES = 600.0
WANTED = 500
PATIENCE = 60
READY_PICTURES = 1.5
"""Photos that get pictures, by decisions: others are between."""

WATCH = """
window.bench = { keys: [], cards: [] };
performance.setResourceTimingBufferSize(20000);
addEventListener("keydown", () => bench.keys.push(performance.now()), true);
addEventListener("DOMContentLoaded", () => {
  const box = document.getElementById("review-card");
  if (box) new MutationObserver(() => {
    const card = box.querySelector("[data-card]")?.dataset.card;
    // When it has been drawn, not when it has been put.
    const drawn = () => bench.cards.push([performance.now(), card]);
    if (card) requestAnimationFrame(() => setTimeout(drawn));
  }).observe(box, { childList: true });
});
"""
CARD = """() => {
  const box = document.getElementById("review-card");
  const card = box.querySelector("[data-card]");
  return card && {
    id: card.dataset.card,
    space: card.dataset.space,
    yes: Boolean(box.querySelector("[data-key=yes]")),
    no: Boolean(box.querySelector("[data-key=no]")),
    names: box.querySelectorAll("[data-recent] > button").length,
  };
}"""
SHOWN = (
    "(id) => { const card = document.querySelector('#review-card [data-card]');"
    " return !card || card.dataset.card !== id }"
)
LAST_WAIT = """() => {
  const pressed = bench.keys.at(-1);
  return bench.cards.find(([at]) => at > pressed)[0] - pressed;
}"""
ANSWERS = """() => performance.getEntriesByType("resource")
  .filter((one) => one.initiatorType === "fetch")
  .filter((one) => new URL(one.name).pathname.endsWith("/review/"))
  .map((one) => one.responseEnd - one.requestStart)"""


@dataclass
class Way:
    """One way to decide: how often, with how many keys, and what passed until the next card."""

    name: str
    keys: int = 0
    times: list[float] = field(default_factory=list)

    def line(self) -> str:
        count = len(self.times)
        return f"| {self.name} | {count} | {self.keys / count:.1f} | {ends(self.times)} |"


@dataclass
class Stretch:
    """Decisions one after the other; seconds from the first card to the last."""

    ways: dict[str, Way]
    seconds: float = 0.0
    thinking: float = 0.0
    asked: list[float] = field(default_factory=list)
    stored: int = 0

    @property
    def count(self) -> int:
        return sum(len(way.times) for way in self.ways.values())

    @property
    def times(self) -> list[float]:
        return [one for way in self.ways.values() for one in way.times]

    @property
    def keys(self) -> int:
        return sum(way.keys for way in self.ways.values())


def ends(times: Sequence[float]) -> str:
    """The median and the 95th of a hundred, as two cells."""
    most = statistics.quantiles([*times, *times], n=20, method="inclusive")[18]
    return f"{statistics.median(times):.0f} | {most:.0f}"


# --- What there is to look at ---


def reviewer() -> User:
    import drafts

    from persons.models import User

    return User.objects.get(username=drafts.OWNER)


def first_faces(kind: str, count: int) -> list[Face]:
    """Those that the queue shows first, with their photos."""
    from asking import World

    from persons.models import Face

    world = World(0, 1, reviewer().username)
    kinds = {"review": kind}
    faces = Face.objects.filter(space__in=world.spaces, **kinds).order_by("-pk")
    return list(faces.select_related("photo__gallery")[:count])


def beginnings() -> dict[str, list[str]]:
    """By space, what somebody types of the names of people who are in it."""
    from asking import World

    from persons.models import Person

    people = Person.objects.filter(merged_into=None, hidden=False).exclude(label="")
    world = World(0, 1, reviewer().username)
    return {
        str(space.pk): [
            label[:3].lower()
            for label in people.filter(space=space).values_list("label", flat=True)[:200]
            if label[:3].isascii() and label[:3].isalpha()
        ]
        for space in world.spaces
    }


def hang_pictures(faces: Sequence[Face]) -> None:
    """One picture of each size, under the names of all these photos."""
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage
    from PIL import Image

    from persons import images

    source = ROOT / "demo" / "photos" / "group_1.jpg"
    with Image.open(source) as picture:
        upright = picture.convert("RGB").resize((3000, 4000))
        across = picture.convert("RGB").resize((4000, 3000))
    made = {True: images.renditions(across), False: images.renditions(upright)}
    for photo in {face.photo_id: face.photo for face in faces}.values():
        for name, data in made[photo.width > photo.height].items():
            if not default_storage.exists(photo.key(name)):
                default_storage.save(photo.key(name), ContentFile(data))


@contextmanager
def server(folder: str, database: str) -> Iterator[str]:
    """Its address. It has the data folder and the keys of this process, and its database."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"DATABASE_URL": beside(database), "ROLLCALL_DATA": folder}
    command = [
        *(sys.executable, "-m", "gunicorn", "dashboard.wsgi"),
        *("--config=python:dashboard.gunicorn_conf", f"--bind=127.0.0.1:{port}"),
        *("--log-level=error",),
    ]
    process = subprocess.Popen(command, cwd=ROOT, env=env)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


# --- The hand ---


def review(
    page: Page, address: str, kind: str, count: int, asked: argparse.Namespace, found: Stretch
) -> None:
    import drafts

    dice, typed = Random(asked.seed), beginnings()
    page.goto(f"{address}/t/{drafts.BIG_TEAM}/review/?kind={kind}&order=new")
    page.wait_for_load_state("networkidle")
    before = last_change()
    began = time.monotonic()
    for _ in range(count):
        card = page.evaluate(CARD)
        if card is None:
            raise SystemExit(f"There are not {count} faces of kind {kind}.")
        name, keys = keys_for(card, typed[card["space"]], dice)
        time.sleep(asked.think)
        found.thinking += asked.think
        page.keyboard.press(keys[0])
        for key in keys[1:]:
            time.sleep(asked.type)
            if key == "ArrowDown":  # The names are waited for, as by somebody who reads them.
                page.locator(".name-options [role=option]").first.wait_for()
            page.keyboard.press(key)
        page.wait_for_function(SHOWN, arg=card["id"])
        found.ways.setdefault(name, Way(name)).keys += len(keys)
        found.ways[name].times.append(last_wait(page))
    found.seconds += time.monotonic() - began
    until = time.monotonic() + PATIENCE
    while (stored := since(before)) < count and time.monotonic() < until:
        time.sleep(0.5)
    found.stored += stored
    found.asked += page.evaluate(ANSWERS)


def last_change() -> int:
    from persons.models import ChangedFace

    return ChangedFace.objects.latest("pk").pk


def since(pk: int) -> int:
    from persons.models import ChangedFace

    return ChangedFace.objects.filter(pk__gt=pk).count()


def keys_for(card: dict[str, Any], names: Sequence[str], dice: Random) -> tuple[str, list[str]]:
    """What somebody presses on such a card, and which way that is."""
    chance = dice.random()
    if card["yes"]:
        # Of a guess that nobody said there is nothing to reject.
        sure = chance < 0.85 or not card["no"]
        return ("Confirm", ["Enter"]) if sure else ("Not this person", ["-"])
    if chance < 0.1:
        return "Ignore", ["Delete"]
    if chance < 0.75 and card["names"]:
        return "One of the nine names", [str(dice.randint(1, card["names"]))]
    return "Type a name", [*dice.choice(names), "ArrowDown", "Enter"]


def last_wait(page: Page) -> float:
    """Milliseconds from the last key to the card that it brought."""
    page.wait_for_function("() => bench.cards.at(-1)?.[0] > bench.keys.at(-1)")
    return float(page.evaluate(LAST_WAIT))


# --- Telling ---


def report(found: Stretch, asked: argparse.Namespace, load: float, yardstick: Yardstick) -> str:
    count, times = found.count, found.times
    without = found.seconds - found.thinking
    pace, most = (round(count * TEN_MINUTES / one) for one in (found.seconds, without))
    about = (
        f"`python bench/review.py --keep --faces {asked.faces} --think {asked.think:g}`, measured "
        f"{time.strftime('%Y-%m-%d')} on {cpu()}, {os.cpu_count()} cores shared by PostgreSQL, "
        f"gunicorn and the browser; Python {platform.python_version()}; load {load:.1f} before, "
        f"{yardstick} before and after (`bench/machine.py`). "
        f"{round(1_000_000 * asked.scale):,} faces; Chromium, 1440 x 900."
    )
    result = (
        f"**{count} faces in {found.seconds:.0f} s: {pace:,} in ten minutes** (wanted: {WANTED}), "
        f"with {asked.think:g} s to look at each. {found.keys / count:.2f} keystrokes a face. "
        f"Without the time to look it would be {most:,} in ten minutes."
    )
    notes = (
        f"{found.stored} of these {count} decisions were in the database at the end. From a key "
        "to the next card includes the browser's own work; the server's answers, which no card "
        "waits for, include those that bring the next cards."
    )
    lines = [
        "# How quick a review by keyboard is",
        "",
        about,
        "",
        result,
        "",
        "| | p50 ms | p95 ms |",
        "| --- | ---: | ---: |",
        f"| from a key to the next card, drawn | {ends(times)} |",
        f"| the server's answer, behind it ({len(found.asked)} requests) | {ends(found.asked)} |",
        "",
        "| decided by | faces | keys a face | p50 ms | p95 ms |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(way.line() for way in found.ways.values()),
        "",
        notes,
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--faces", type=int, default=200, help="decisions; a third on suggestions")
    parser.add_argument("--think", type=float, default=0.6, help="seconds to look at a face")
    parser.add_argument("--type", type=float, default=0.12, help="seconds between keys of a name")
    parser.add_argument("--keep", action="store_true", help="leave the database for next time")
    parser.add_argument("--write", action="store_true", help="put it into bench/review.md")
    asked = parser.parse_args()
    if "postgres" not in os.environ.get("DATABASE_URL", ""):
        raise SystemExit("DATABASE_URL is no address of PostgreSQL")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    load, yardstick = os.getloadavg()[0], Yardstick()
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder)
        with filled(asked.scale, keep=asked.keep, seed=asked.seed) as database:
            for _ in range(5):
                yardstick.lay()
            found = run(folder, database, asked)
            for _ in range(5):
                yardstick.lay()
    text = report(found, asked, load, yardstick)
    print(text)
    if asked.write:
        (ROOT / "bench" / "review.md").write_text(text)


def run(folder: str, database: str, asked: argparse.Namespace) -> Stretch:
    from django.test import Client

    counts = {"weak": asked.faces // 3, "unknown": asked.faces - asked.faces // 3}
    for kind, count in counts.items():
        hang_pictures(first_faces(kind, round(count * READY_PICTURES) + 8))
    client = Client(SERVER_NAME="localhost")
    client.force_login(reviewer())
    # Playwright has a loop of its own in this thread; the queries here are none of its business.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with server(folder, database) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.add_init_script(WATCH)
        session = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": address}])
        page = context.new_page()
        found = Stretch({})
        for kind, count in counts.items():
            review(page, address, kind, count, asked, found)
        browser.close()
    return found


if __name__ == "__main__":
    main()
