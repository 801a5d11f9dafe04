"""Measures what it costs that helper processes open pictures, and what hostile ones cost then.

    python bench/decoding.py            # prints the tables
    python bench/decoding.py --write    # and bench/decoding.md

"In process" is the same code called where it was asked for, as it was before there were helpers.
Both are asked in turn, so that whatever else runs on the machine slows both. Since time that passed
misleads on a busy machine, the processor's time, of the helper too, is given beside it.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import PIL  # noqa: E402
import pillow_heif  # noqa: E402
from machine import Yardstick, cpu  # noqa: E402
from PIL import Image  # noqa: E402

from persons import decoding, images, pictures  # noqa: E402
from persons.decoders import pixels  # noqa: E402
from persons.decoding import pool  # noqa: E402
from persons.engine.detector import MAX_SIDE  # noqa: E402
from persons.engine.picture import read_picture  # noqa: E402
from tests.support.hostile_pictures import heic_of, lossless_jpeg, png_of, webp_of  # noqa: E402

SIZES = {"2 MP": (1600, 1200), "12 MP": (4000, 3000), "24 MP": (6000, 4000)}
PORTRAIT = ROOT / "demo" / "photos" / "obama_1.jpg"
FORMATS = ("JPEG", "PNG", "TIFF")
TICKS = os.sysconf("SC_CLK_TCK")
NO_LIMIT = 10**12
GIVEN = 10**8

ALONE = """
import sys
sys.path.insert(0, {root!r})
from persons import images
from persons.images import budget, opening
budget.limit_to(10**12)
opening.check_frame = lambda file: None
try:
    with open({path!r}, "rb") as file:
        getattr(images, {what!r})(file)
    told = "opened"
except images.ImageRefused as error:
    told = error.code
status = open("/proc/self/status").read()
print(told, int(status.split("VmHWM:")[1].split()[0]) // 1000)
"""


# --- What it costs ---


@dataclass
class Cost:
    size: str
    work: str
    before: list[float]
    after: list[float]
    cpu_before: float
    cpu_after: float

    def line(self) -> str:
        before, after = statistics.median(self.before), statistics.median(self.after)
        extra, cpu_extra = min(self.after) - min(self.before), self.cpu_after - self.cpu_before
        return (
            f"| {self.size} | {self.work} | {before:.1f} | {after:.1f} | {min(self.before):.1f} | "
            f"{min(self.after):.1f} | {extra:+.1f} | {self.cpu_before:.1f} | "
            f"{self.cpu_after:.1f} | {cpu_extra:+.1f} |"
        )


def costs(folder: Path, rounds: int, yardstick: Yardstick) -> Iterator[Cost]:
    with Image.open(PORTRAIT) as portrait:
        portrait.load()
    for name, (width, height) in SIZES.items():
        path = folder / f"{width}.jpg"
        portrait.convert("RGB").resize((width, height)).save(path, quality=90)
        data = path.read_bytes()
        yield _cost(name, "upload: looked at", rounds * 2, *_inspect(path), yardstick)
        yield _cost(name, "recogniser: pixels", rounds * 2, *_coarse(data), yardstick)
        yield _cost(name, "worker: all copies", rounds // 2, *_copies(path), yardstick)


Pair = tuple[Callable[[], object], Callable[[], object]]


def _inspect(path: Path) -> Pair:
    def before() -> object:
        with path.open("rb") as file:
            return images.inspect(file)

    def after() -> object:
        with path.open("rb") as file:
            return pictures.inspect(file, max_bytes=GIVEN)

    return before, after


def _coarse(data: bytes) -> Pair:
    def before() -> object:
        file = io.BytesIO(data)
        with pixels.header(file, FORMATS) as image:
            size = _coarse_size(*image.size)
        return pixels.decoded(file, FORMATS, size).tobytes()

    def after() -> object:
        with decoding.PictureSource(data) as source:
            picture = read_picture(source, max_width=GIVEN, max_height=GIVEN)
            return picture._decode(_coarse_size(picture.width, picture.height))

    return before, after


def _coarse_size(width: int, height: int) -> tuple[int, int]:
    ratio = min(1.0, MAX_SIDE / max(width, height))
    return round(width * ratio), round(height * ratio)


def _copies(path: Path) -> Pair:
    def before() -> object:
        with path.open("rb") as file:
            picture = images.open_oriented(file)
        return images.renditions(picture), images.sent_copy(picture)

    def after() -> object:
        with path.open("rb") as file:
            return pictures.copies(file)

    return before, after


def _cost(
    size: str,
    work: str,
    rounds: int,
    before: Callable[[], object],
    after: Callable[[], object],
    yardstick: Yardstick,
) -> Cost:
    before()
    after()
    took: tuple[list[float], list[float]] = ([], [])
    used: tuple[list[float], list[float]] = ([], [])
    for _ in range(max(rounds, 3)):
        yardstick.lay()
        for which, work_of in enumerate((before, after)):
            began, cpu_began = time.perf_counter(), _cpu_seconds()
            work_of()
            took[which].append((time.perf_counter() - began) * 1000)
            used[which].append((_cpu_seconds() - cpu_began) * 1000)
    # The median: where a helper was replaced, its processor time is gone with it.
    return Cost(size, work, took[0], took[1], *map(statistics.median, used))


def _cpu_seconds() -> float:
    """Of this process and of the helpers that wait; the kernel counts theirs exactly."""
    total = time.process_time()
    for pid in pool.idle_helpers():
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0]) / 1e9
    return total


# --- What hostile pictures cost ---


@contextmanager
def watched() -> Iterator[dict[str, int]]:
    """The most memory that all helpers together had, and the most that one had; megabytes."""
    peaks = {"together": 0, "one": 0, "count": 0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            sizes = list(_helpers())
            peaks["count"] = max(peaks["count"], len(sizes))
            peaks["together"] = max(peaks["together"], sum(now for now, _ in sizes))
            peaks["one"] = max([peaks["one"], *(most for _, most in sizes)])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def _helpers() -> Iterator[tuple[int, int]]:
    """What each helper has now, and had at most: megabytes. Templates fork them."""
    for template in _children("self"):
        for pid in _children(template):
            with suppress(OSError, IndexError):
                status = Path(f"/proc/{pid}/status").read_text()
                now, most = (
                    int(status.split(f"{name}:")[1].split()[0]) // 1000
                    for name in ("VmRSS", "VmHWM")
                )
                yield now, most


def _children(pid: str) -> list[str]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def bombs() -> dict[str, bytes]:
    return {
        "lossless JPEG, 800x600": lossless_jpeg(),
        "lossless JPEG, 3000x2000": lossless_jpeg(3000, 2000),
        "WebP, 10,000x10,000": webp_of(10_000, 10_000),
        "PNG, 16 bit grey, 10,000x10,000": png_of(10_000, 10_000, depth=16, colour=0),
        "PNG, 16 bit RGBA, 8,000x8,000": png_of(8_000, 8_000, depth=16, colour=6),
        "HEIC, 6,000x8,000": heic_of(6_000, 8_000),
    }


def bomb_line(name: str, path: Path) -> str:
    size = path.stat().st_size
    worst, alone = "", 0
    for what in ("inspect", "open_oriented"):
        code = ALONE.format(root=str(ROOT), path=str(path), what=what)
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=False, text=True
        )
        if run.returncode:
            worst, alone = f"process killed by signal {-run.returncode}", 0
        elif not worst.startswith("process"):
            told, peak = run.stdout.split()
            worst, alone = worst or told, max(alone, int(peak))
    pool.close()
    began = time.perf_counter()
    with watched() as peaks, path.open("rb") as file:
        try:
            pictures.copies(file)
            outcome = "opened"
        except images.ImageRefused as error:
            outcome = str(error).partition(". ")[0]
        time.sleep(0.05)
    seconds = time.perf_counter() - began
    before = f"{worst}, {alone:,} MB" if alone else worst
    return f"| {name} | {size:,} | {before} | {outcome} | {peaks['one']:,} MB | {seconds:.2f} s |"


def downloads_line(path: Path, count: int) -> str:
    """So many strangers fetch the original of a HEIC photo, which is encoded anew for each."""

    def download(_: int) -> int:
        with path.open("rb") as file:
            return len(pictures.stripped(file, "HEIF", images.Keep.NOTHING, patience=600).data)

    pool.close()
    began = time.perf_counter()
    with watched() as peaks, ThreadPoolExecutor(count) as threads:
        list(threads.map(download, range(count)))
    seconds = time.perf_counter() - began
    alone = _in_process_downloads(path, count)
    most = decoding.Limits()
    allowed = most.at_once * most.memory // 1_000_000
    return (
        f"| {count} at once | {alone:,} MB | {peaks['together']:,} MB | {peaks['count']} | "
        f"{allowed:,} MB | {seconds:.1f} s |"
    )


def _in_process_downloads(path: Path, count: int) -> int:
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from concurrent.futures import ThreadPoolExecutor
from persons import images
from persons.images import budget
budget.limit_to({NO_LIMIT})
data = open({str(path)!r}, "rb").read()
with ThreadPoolExecutor({count}) as threads:
    list(threads.map(lambda _: images.stripped(data, "HEIF", images.Keep.NOTHING), range({count})))
print(int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1000)
"""
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


def report(rounds: int) -> str:
    yardstick = Yardstick()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="rollcall-bench-decoding-") as name:
        folder = Path(name)
        decoding.configure(folder=folder / "slots", patience=600)
        cost_lines = [cost.line() for cost in costs(folder, rounds, yardstick)]
        bomb_lines = []
        for title, data in bombs().items():
            path = folder / "bomb"
            path.write_bytes(data)
            bomb_lines.append(bomb_line(title, path))
        # The last one is the HEIC.
        downloads = downloads_line(path, 8)
    limits = decoding.Limits()
    versions = (
        f"Python {platform.python_version()}, pillow {PIL.__version__}, "
        f"pillow-heif {pillow_heif.__version__}"
    )
    return f"""# What it costs that helper processes open pictures

`python bench/decoding.py --write`, measured {datetime.now().astimezone().date()} on {cpu()}, \
{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {versions}. The machine's load \
was {load:.1f} before and {os.getloadavg()[0]:.1f} after; {yardstick}. \
{limits.at_once} helpers at a time, each with {limits.memory // 1_000_000:,} MB.

## Time

Milliseconds a picture: the median and the least of several rounds, in process and by a helper, in
turn; and the median of what both took of the processor, the helper's part included.

| JPEG | Work | in process | by a helper | least | least by a helper | more | CPU | \
CPU by a helper | more |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(cost_lines)}

## Hostile pictures

Each opened for an upload and by a worker. "In process" is without the helper's budget and without \
the look at a JPEG's frame, as it was before: what became of the process, and its peak.

| Picture | bytes | in process | by a helper | helper's peak | in all |
| --- | ---: | --- | --- | ---: | ---: |
{chr(10).join(bomb_lines)}

## Downloads of a HEIC original of 48 megapixels, without its details

| Strangers | in process, peak | all helpers, peak | helpers | at most allowed | in all |
| --- | ---: | ---: | ---: | ---: | ---: |
{downloads}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="bench/decoding.md, too")
    options = parser.parse_args()
    text = report(options.rounds)
    print(text)
    if options.write:
        (ROOT / "bench" / "decoding.md").write_text(text)


if __name__ == "__main__":
    main()
