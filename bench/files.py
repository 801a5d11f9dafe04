"""Sends every picture among the tests of other projects through Rollcall, and looks at what comes.

    pip install -e ".[dev,bench]"
    python bench/files.py                       # the source packages below, from the package index
    python bench/files.py FOLDER … --write      # more pictures, and bench/files.md

The source packages of Pillow, pillow_heif, imageio, scikit-image and OpenCV have pictures that went
wrong somewhere: cut off, hostile, rare. Each file goes to `manage.py up` by an upload, by the proxy
and, where it was taken, by the worker and a public download. None may end a process, be answered
with 5xx or take more than 20 seconds; and what was taken must look as another reader shows it:
Chromium, or libvips. What two readers can't open either is listed by itself.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import requests
from machine import cpu
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from uploads import CHROMIUM, FLAGS, MANAGE, PASSWORD, ROOT, rollcall

PACKAGES = ("pillow", "pillow_heif", "imageio", "scikit-image", "opencv-python-headless")
NAMES = re.compile(
    r"\.(jpe?g|jfif|png|apng|tiff?|webp|hei[cf]|hif|avif|gif|bmp|dib|jp2|j2k|jpc|jpx|jxl|tga|p[bgnp]m"
    r"|pfm|exr|psd|ico|cur|icns|dds|pcx|dcx|sgi|rgb|bw|fl[ic]|mpo|hdr|xbm|xpm|im|msp|wal|ras|sun"
    r"|eps|emf|wmf|spider|fits|blp|qoi|grib|hdf5|svg|bin|crash[^/]*|poc[^/]*)$",
    re.IGNORECASE,
)
MOST_BYTES = 50_000_000
SLOWEST = 20.0
SIDE = 48
UNLIKE = 14.0
"""Mean difference of 48 x 48 pixels, of 255, above which two pictures do not look alike. Readers
differ by up to about 8 in colour profiles and chroma alone."""

Look = NDArray[np.float32]


@dataclass
class Trial:
    """What came of one file: HTTP statuses and seconds by way; `words` is the upload's answer."""

    name: str
    path: Path
    status: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    words: str = ""
    photo: int = 0
    state: str = ""
    like: dict[str, float] = field(default_factory=dict)
    turned: bool = False
    doubted_by: str = ""
    """The one other reader that opens it, if that shows something else."""
    faults: list[str] = field(default_factory=list)


# --- Pictures of other projects ---


def source_package(name: str, folder: Path) -> Path:
    """The newest source package, from the index that pip is told to use."""
    from pip._internal.models.index import PyPI

    index = os.environ.get("PIP_INDEX_URL", PyPI.simple_url).rstrip("/")
    request = urllib.request.Request(
        f"{index}/{name.replace('_', '-')}/",
        headers={"Accept": "application/vnd.pypi.simple.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        page = answer.geturl()
        files = json.load(answer)["files"]
    sources = [one for one in files if one["filename"].endswith((".tar.gz", ".zip"))]
    newest = max(sources, key=lambda one: one.get("upload-time", ""))
    path = folder / str(newest["filename"])
    if not path.exists():
        address = urllib.parse.urljoin(page, newest["url"])
        with urllib.request.urlopen(address, timeout=600) as answer:
            path.write_bytes(answer.read())
    return path


def pictures_in(archive: Path, folder: Path) -> list[Path]:
    """Unpacked under made-up names: nothing in an archive becomes a path."""
    found: list[Path] = []

    def keep(name: str, data: bytes) -> None:
        target = folder / f"{archive.name.partition('-')[0]}-{len(found):04}-{Path(name).name}"
        target.write_bytes(data)
        found.append(target)

    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if NAMES.search(info.filename) and info.file_size <= MOST_BYTES:
                    keep(info.filename, zipped.read(info))
        return found
    with tarfile.open(archive) as packed:
        for member in packed:
            is_wanted = NAMES.search(member.name) and member.size <= MOST_BYTES
            if is_wanted and (file := packed.extractfile(member)):
                keep(member.name, file.read())
    return found


def damaged(path: Path, number: int, random: Random) -> Path:
    """A copy of a file with its end cut off, or with a few bytes changed, mostly in its head."""
    data = bytearray(path.read_bytes())
    if number % 3 == 0:
        del data[random.randrange(len(data)) :]
    else:
        reach = len(data) if number % 3 == 1 else min(len(data), 512)
        for _ in range(random.randint(1, 8)):
            data[random.randrange(reach)] = random.randrange(256)
    copy = path.with_name(f"{path.stem}-damaged{number}{path.suffix}")
    copy.write_bytes(data)
    return copy


# --- Rollcall ---


@dataclass
class Site:
    """A running Rollcall with a key and a public link to a gallery."""

    address: str
    log: Path
    key: str = ""
    link: str = ""

    def falls(self) -> list[str]:
        """What is said of processes that ended by themselves."""
        return [
            line
            for line in self.log.read_text(errors="replace").splitlines()
            if "it starts again" in line or "was sent SIG" in line
        ]


def managed(data: Path, *words: str) -> str:
    """The last line that a command prints."""
    env = os.environ | {"ROLLCALL_DATA": str(data)}
    command = [*MANAGE, *words]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1]


class Member:
    """The demo's owner, signed in. One a thread."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.http = requests.Session()
        page = self.http.get(f"{site.address}/login/", timeout=30)
        page.raise_for_status()
        self.http.post(
            f"{site.address}/login/",
            data={
                "username": "demo",
                "password": PASSWORD,
                "csrfmiddlewaretoken": self.http.cookies["csrftoken"],
            },
            headers={"Referer": site.address},
            timeout=30,
        ).raise_for_status()

    def post(self, path: str, **more: Any) -> requests.Response:
        headers = {
            "Accept": "application/json",
            "X-CSRFToken": self.http.cookies["csrftoken"],
            "Referer": self.site.address,
        }
        address = f"{self.site.address}{path}"
        return self.http.post(address, headers=headers, timeout=120, **more)


def make_gallery_and_link(site: Site) -> str:
    """The gallery's slug. The link allows downloads and shows no details."""
    member = Member(site)
    headers = {"Referer": site.address}
    page = member.http.post(
        f"{site.address}/t/demo/galleries/new",
        data={
            "name": "Files",
            "space": re.search(
                r'<option value="(\d+)"',
                member.http.get(f"{site.address}/t/demo/galleries/new", timeout=30).text,
            ).group(1),  # type: ignore[union-attr]
            "csrfmiddlewaretoken": member.http.cookies["csrftoken"],
        },
        headers=headers,
        timeout=30,
    )
    return re.search(r"/g/([\w-]+)/", page.url).group(1)  # type: ignore[union-attr]


def share(data: Path, slug: str) -> str:
    """A public link's token, made by the same action that the page calls."""
    code = (
        "from persons.models import Gallery, User; from persons.audit import Actor;"
        "from persons.actions.sharing import LinkOptions, make_link;"
        "print(make_link(actor=Actor.command('shell', User.objects.get(username='demo')),"
        f" gallery=Gallery.objects.get(slug={slug!r}),"
        " options=LinkOptions(days=1, allow_download=True))[1])"
    )
    return managed(data, "shell", "-v", "0", "-c", code)


# --- The ways of a file ---


class Courier:
    def __init__(self, site: Site, slug: str) -> None:
        self.site, self.slug = site, slug
        self._own = threading.local()

    def member(self) -> Member:
        if not hasattr(self._own, "member"):
            self._own.member = Member(self.site)
        return self._own.member  # type: ignore[no-any-return]

    def send(self, trial: Trial) -> None:
        data = trial.path.read_bytes()
        with self._timed(trial, "upload"):
            answer = self.member().post(
                f"/t/demo/g/{self.slug}/upload", files={"files": (trial.path.name, data)}
            )
            trial.status["upload"] = answer.status_code
            said = answer.json()
            trial.words = said.get("error", "") or "; ".join(said.get("notes", []))
            trial.photo = said.get("photo", 0)
        with self._timed(trial, "proxy"):
            meta = {"space": "0", "images": [{"name": "file"}]}
            answer = requests.post(
                f"{self.site.address}/api/v1/persons/recognize",
                params={"oauth_token": self.site.key, "oauth_provider": "mcs"},
                files={"file": (trial.path.name, data)},
                data={"meta": json.dumps(meta)},
                timeout=120,
            )
            trial.status["proxy"] = answer.status_code
            if not {"status", "body"} <= set(answer.json()):
                trial.faults.append("the proxy's answer is no envelope")

    def fetch(self, trial: Trial) -> None:
        with self._timed(trial, "download"):
            answer = requests.get(
                f"{self.site.address}/s/{self.site.link}/photo/{trial.photo}/original", timeout=120
            )
            trial.status["download"] = answer.status_code
        with self._timed(trial, "page"):
            answer = self.member().http.get(
                f"{self.site.address}/t/demo/media/photo/{trial.photo}/medium", timeout=120
            )
            trial.status["page"] = answer.status_code
            if answer.status_code == 200:
                self._shown(trial).write_bytes(answer.content)

    def _shown(self, trial: Trial) -> Path:
        return trial.path.with_name(f"{trial.path.name}.shown")

    @contextmanager
    def _timed(self, trial: Trial, way: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except (requests.RequestException, ValueError) as error:
            trial.faults.append(f"{way}: {type(error).__name__}")
        trial.seconds[way] = time.monotonic() - began
        if trial.seconds[way] > SLOWEST:
            trial.faults.append(f"{way} took {trial.seconds[way]:.0f} s")
        if trial.status.get(way, 0) >= 500:
            trial.faults.append(f"{way}: HTTP {trial.status[way]}")


def states(data: Path, *, seconds: float) -> dict[int, str]:
    """Each photo's state, when none is waiting any more."""
    import sqlite3

    end = time.monotonic() + seconds
    while True:
        with sqlite3.connect(f"file:{data / 'rollcall.sqlite3'}?mode=ro", uri=True) as database:
            found = dict(database.execute("SELECT id, state FROM persons_photo"))
        if not {"new", "preparing", "queued", "running"} & {
            str(one).lower() for one in found.values()
        }:
            return found
        if time.monotonic() > end:
            return found
        time.sleep(1)


# --- How it looks ---


def look(image: Image.Image) -> Look:
    """48 x 48 pixels, over white."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)


def by_vips(path: Path) -> Look | None:
    import pyvips

    try:
        image = pyvips.Image.new_from_file(str(path), fail_on="warning").autorot()
        if image.format not in ("uchar", "ushort"):
            # It would be cut off at 255, not scaled.
            return None
        if image.format == "ushort":
            deep = "grey16" if image.bands < 3 else "rgb16"
            image = image.copy(interpretation=deep).colourspace("srgb")
        elif image.interpretation != "srgb":
            image = image.colourspace("srgb")
        if image.hasalpha():
            image = image.flatten(background=[255, 255, 255])
        if image.bands == 1:
            image = image.bandjoin([image, image])
        image = image.cast("uchar")[0:3]
        pixels = np.ndarray(
            (image.height, image.width, 3), np.uint8, buffer=image.write_to_memory()
        )
        return look(Image.fromarray(pixels))
    except (pyvips.Error, ValueError, TypeError):
        return None


IN_CHROMIUM = """async ([data, side]) => {
  const image = new Image();
  image.src = data;
  try { await image.decode(); } catch { return null; }
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  const small = document.createElement("canvas");
  small.width = Math.min(canvas.width, 960);
  small.height = Math.max(1, Math.round(canvas.height * small.width / canvas.width));
  const on = small.getContext("2d");
  on.imageSmoothingQuality = "high";
  on.drawImage(canvas, 0, 0, small.width, small.height);
  return small.toDataURL("image/png");
}"""


def by_chromium(page: Page, path: Path) -> Look | None:
    data = path.read_bytes()
    if len(data) > 20_000_000:
        return None
    kind = "image/svg+xml" if data.lstrip().startswith(b"<svg") else "image/png"
    source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    drawn = page.evaluate(IN_CHROMIUM, [source, SIDE])
    if not drawn:
        return None
    return look(Image.open(io.BytesIO(base64.b64decode(drawn.partition(",")[2]))))


def closest_turn(ours: Look, theirs: Look) -> float:
    turned = [np.rot90(ours, quarter) for quarter in range(4)]
    turned += [one[:, ::-1] for one in turned]
    return min(float(np.abs(one - theirs).mean()) for one in turned)


def compare(trials: list[Trial]) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        for trial in trials:
            shown = trial.path.with_name(f"{trial.path.name}.shown")
            if not shown.exists():
                continue
            ours = look(Image.open(shown))
            others = {"Chromium": by_chromium(page, trial.path), "libvips": by_vips(trial.path)}
            trial.like = {
                name: float(np.abs(ours - theirs).mean())
                for name, theirs in others.items()
                if theirs is not None
            }
            if not trial.like or min(trial.like.values()) <= UNLIKE:
                continue
            if (
                min(closest_turn(ours, theirs) for theirs in others.values() if theirs is not None)
                <= UNLIKE
            ):
                trial.turned = True
            elif len(trial.like) == 1:
                (trial.doubted_by,) = trial.like
            else:
                trial.faults.append(f"looks unlike what {' and '.join(trial.like)} show")
        browser.close()


# --- The report ---


def report(trials: list[Trial], falls: list[str], load: float) -> str:
    taken = [one for one in trials if one.photo]
    faults = [one for one in trials if one.faults]
    slowest = {
        way: max((one.seconds.get(way, 0.0) for one in trials), default=0.0)
        for way in ("upload", "proxy", "download", "page")
    }
    packages = Counter(one.path.name.partition("-")[0] for one in trials)
    why = Counter(re.sub(r"[\d,]+", "N", one.words) for one in trials if not one.photo)
    alone = [one.name for one in taken if not one.like]
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("pillow", "pillow-heif", "opencv-python-headless")
    )
    asked = " ".join(Path(word).name for word in sys.argv[1:])
    about = (
        f"`python bench/files.py {asked}`, on {datetime.now(UTC):%Y-%m-%d}: "
        f"{cpu()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}. The "
        f"machine's load was {load:.1f} before."
    )
    outcome = (
        f"{len(trials):,} files ({', '.join(f'{n:,} of {p}' for p, n in packages.items())}), each "
        f"by upload, proxy, worker and public download. Taken: {len(taken):,}; refused with a "
        f"sentence: {len(trials) - len(taken):,}."
    )
    lines = [
        "# Pictures that went wrong elsewhere",
        "",
        about,
        "",
        outcome,
        "",
        "| Way | slowest | statuses |",
        "| --- | ---: | --- |",
    ]
    for way, seconds in slowest.items():
        counts = Counter(one.status[way] for one in trials if way in one.status)
        told = ", ".join(f"{count:,} x {status}" for status, count in sorted(counts.items()))
        lines.append(f"| {way} | {seconds:.1f} s | {told} |")
    doubted = [f"{one.name} ({one.doubted_by})" for one in taken if one.doubted_by]
    lines += [
        "",
        f"Processes that ended: {len(falls)}. Files with a fault: {len(faults)}.",
        "",
        *(f"- {one.name}: {'; '.join(one.faults)}" for one in faults),
        "",
        "States after the worker: "
        + ", ".join(f"{n:,} {s}" for s, n in Counter(one.state for one in taken).items())
        + ".",
        "",
        "Turned otherwise than both others show them (by a tag that those don't read, or wrongly): "
        + (", ".join(one.name for one in taken if one.turned) or "none")
        + ".",
        "",
        f"Unlike what the only other reader shows ({len(doubted)}): "
        + (", ".join(doubted) or "none")
        + ".",
        "",
        f"Taken, and opened by neither Chromium nor libvips ({len(alone)}): "
        + (", ".join(alone) or "none")
        + ".",
        "",
        "| Refused because | files |",
        "| --- | ---: |",
        *(f"| {text} | {count} |" for text, count in why.most_common()),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, help="more pictures")
    parser.add_argument("--packages", nargs="*", default=PACKAGES)
    parser.add_argument("--keep", type=Path, help="where the packages stay for the next run")
    parser.add_argument("--damaged", type=int, default=0, help="damaged copies of each, by chance")
    parser.add_argument("--most", type=int, default=0, help="files, spread over all")
    parser.add_argument("--write", action="store_true", help="bench/files.md, too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="rollcall-bench-files-") as name:
        folder = Path(name)
        trials = [Trial(path.name, path) for path in gathered(folder, options)]
        print(f"{len(trials):,} files", flush=True)
        falls, told = tried(trials, folder)
        compare(trials)
        text = report(trials, falls, load)
        if falls:
            print("\n".join(falls[:20]))
        if any(code >= 500 for one in trials for code in one.status.values()):
            print(told[-6000:])
    print(text)
    if options.write:
        (ROOT / "bench" / "files.md").write_text(text)
    return 1 if falls or any(one.faults for one in trials) else 0


def gathered(folder: Path, options: argparse.Namespace) -> list[Path]:
    """The files of the packages and folders that were asked for, and damaged copies of them."""
    packages = options.keep or folder / "packages"
    for made in (packages, folder / "files", folder / "data"):
        made.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for package in options.packages:
        files += pictures_in(source_package(package, packages), folder / "files")
    for more in options.folders:
        for number, one in enumerate(sorted(more.rglob("*"))):
            if one.is_file() and one.stat().st_size <= MOST_BYTES:
                copy = folder / "files" / f"{more.name}-{number:04}-{one.name}"
                copy.write_bytes(one.read_bytes())
                files.append(copy)
    if options.most:
        files = files[:: max(1, len(files) // options.most)]
    random = Random(7)
    files += [
        damaged(one, number, random)
        for one in files
        if one.stat().st_size
        for number in range(options.damaged)
    ]
    return files


def tried(trials: list[Trial], folder: Path) -> tuple[list[str], str]:
    """(what fell over, the log) after each was sent by every way."""
    data = folder / "data"
    with rollcall(data, folder / "up.log") as address:
        key = managed(data, "create_api_key", "--team", "demo", "--name", "bench")
        site = Site(address, folder / "up.log", key)
        slug = make_gallery_and_link(site)
        site.link = share(data, slug)
        courier = Courier(site, slug)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(courier.send, trials))
        print("sent", flush=True)
        found = states(data, seconds=1800)
        for trial in trials:
            trial.state = found.get(trial.photo, "")
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(courier.fetch, [one for one in trials if one.photo]))
        falls = site.falls()
        told = site.log.read_text(errors="replace")
    return falls, told


if __name__ == "__main__":
    sys.exit(main())
