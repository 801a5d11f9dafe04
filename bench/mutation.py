"""Mutation testing: changes one place of the code at a time, and sees whether a test fails.

    python bench/mutation.py                                  # 40 mutants of each package
    python bench/mutation.py --packages work --sample 100 --seed 3
    python bench/mutation.py --write                          # puts it into bench/mutation.md

It works on a copy of the tree, on SQLite, without the tests that drive a browser or start
processes. A first run finds out which lines each test runs, and how long it takes; that is kept in
pytest's cache until code or test changes. A mutant then meets the tests that run its statement:
first very quick ones, then a parametrised test's first case before its others, those of the
package's own folder before others, for at most --seconds of tests; if it survives, for twice as
long again. It is killed if a test fails that passes without it, or if the tests take far longer
than they should.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from machine import cpu
from mutants import Mutant, drawn

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("faces", "access", "work", "chain", "proxy")
MARKS = "not browser and not processes"
CACHE = Path(".pytest_cache") / "d"
SERVICES = {"DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE"}
UNRELATED = {"decoding", "engine", "images", "vision"}
"""Folders of tests that run none of the packages."""
LONGEST = 6
"""Seconds. Tests that take longer are left out."""
QUICK = 0.05
"""Seconds. All tests that take less come first."""

SCRIPTS = {
    "persons/chain/verify.py": (
        "tests/audit/test_audit_export.py",
        "tests/audit/test_audit_export_records.py",
        "tests/audit/test_redactions.py",
        "tests/calls/test_evidence_columns.py",
    )
}
"""Modules that tests also run as a script, whose lines are not seen there, and those tests."""

MIGRATES = {"persons/chain/triggers.py"}
"""Modules that migrations run: a mutant of these needs a database of its own."""


@dataclass
class Test:
    name: str
    seconds: float
    lines: dict[str, set[int]]

    @property
    def function(self) -> str:
        return self.name.partition("[")[0]

    @property
    def module(self) -> str:
        return self.name.partition("::")[0]


@dataclass
class Tried:
    """A mutant and what became of it; `killer` is the test that failed.

    It meets `tests`, and if it survives, `more`. `seconds` are of the processor, for either.
    """

    mutant: Mutant
    tests: list[str]
    more: list[str]
    seconds: float
    passed: int = 0
    said: str = "fresh"
    killer: str = ""

    @property
    def killed(self) -> bool:
        return self.said in {"failed", "timeout"}


# --- The copy, and pytest in it ---


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of what git would commit, and of the migrated database in pytest's cache."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    with tempfile.TemporaryDirectory(prefix="rollcall-mutation-") as name:
        copy = Path(name) / "tree"
        for file in listed.stdout.split("\0"):
            if file and (ROOT / file).is_file():
                (copy / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, copy / file)
        if (ROOT / CACHE / "migrated").is_dir():
            shutil.copytree(ROOT / CACHE / "migrated", copy / CACHE / "migrated")
        yield copy


def pytest_in(copy: Path, job: dict[str, Any], arguments: Iterable[str], seconds: float) -> bool:
    """Runs a job of mutation_worker.py. Returns False if it was stopped for taking too long."""
    file = copy.parent / "job.json"
    file.write_text(json.dumps(job))
    names = copy.parent / "arguments.txt"
    names.write_text("\n".join(arguments))
    env = {key: value for key, value in os.environ.items() if key not in SERVICES}
    env |= {"MUTATION_JOB": str(file), "PYTHONPATH": "bench"}
    command = [sys.executable, "-m", "pytest", "-p", "mutation_worker", "-p", "no:xdist", "-q"]
    process = subprocess.Popen(
        [*command, "-m", MARKS, f"@{names}"],
        cwd=copy,
        env=env,
        stdout=(copy.parent / "output.txt").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        # Seconds in which this process ran too, so that nothing is late if all are paused.
        for _ in range(int(5 * seconds) + 1):
            if process.poll() is not None:
                return True
            time.sleep(0.2)
        return False
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C first, so that pytest deletes its data folder."""
    for sign, seconds in ((signal.SIGINT, 15), (signal.SIGKILL, 15)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, sign)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


def results(job: dict[str, Any]) -> list[dict[str, Any]]:
    path = Path(job["results"])
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    path.unlink(missing_ok=True)
    return found


# --- Which tests run a line ---


def digest(paths: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in sorted(paths):
        found.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def coverage(copy: Path) -> list[Test]:
    """All tests, from the cache where neither the code nor the test's module has changed."""
    code = [*ROOT.glob("persons/**/*.py"), *ROOT.glob("dashboard/**/*.py")]
    base = digest([*code, *ROOT.glob("tests/support/*.py"), ROOT / "tests/conftest.py"])
    modules = {
        str(one.relative_to(ROOT)): digest([one])
        for one in ROOT.glob("tests/*/test_*.py")
        if one.parent.name not in UNRELATED
    }
    file = ROOT / CACHE / "mutation.json"
    cached = json.loads(file.read_text()) if file.exists() else {}
    known = cached.get("modules", {}) if cached.get("base") == base else {}
    known = {name: one for name, one in known.items() if one["digest"] == modules.get(name)}
    missing = sorted(set(modules) - set(known))
    if missing:
        print(f"Which lines the tests of {len(missing)} modules run …", flush=True)
        files = [str(one.relative_to(ROOT)) for name in PACKAGES for one in sources(name)]
        job = {
            "mode": "cover",
            "files": files,
            "longest": LONGEST,
            "results": str(copy.parent / "results.jsonl"),
        }
        pytest_in(copy, job, missing, 4 * 3600)
        *found, end_of_it = results(job) or [{}]
        if not end_of_it.get("is_all"):
            raise SystemExit((copy.parent / "output.txt").read_text()[-5000:])
        known |= {name: {"digest": modules[name], "tests": []} for name in missing}
        for test in found:
            known[test["test"].partition("::")[0]]["tests"].append(test)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"base": base, "modules": known}))
        keep_migrated(copy)
    return [read(test) for one in known.values() for test in one["tests"] if test["passed"]]


def keep_migrated(copy: Path) -> None:
    """The next copy finds the database that this one has migrated."""
    if not (ROOT / CACHE / "migrated").is_dir() and (copy / CACHE / "migrated").is_dir():
        shutil.copytree(copy / CACHE / "migrated", ROOT / CACHE / "migrated")


def read(test: dict[str, Any]) -> Test:
    lines: dict[str, set[int]] = defaultdict(set)
    for path, line in test["lines"]:
        lines[path].add(line)
    return Test(test["test"], test["seconds"], lines)


def sources(package: str) -> list[Path]:
    return sorted((ROOT / "persons" / package).rglob("*.py"))


def chosen(mutant: Mutant, tests: list[Test], seconds: float) -> Tried:
    """The tests that a mutant meets, in order."""
    if mutant.lines is None:
        runs = [test for test in tests if mutant.path in test.lines]
    else:
        runs = [test for test in tests if not mutant.lines.isdisjoint(test.lines[mutant.path])]
    return in_order(mutant, runs, seconds)


def in_order(mutant: Mutant, tests: list[Test], seconds: float) -> Tried:
    folder = f"tests/{mutant.path.split('/')[1]}/"
    nth: Counter[str] = Counter()
    ranked: list[tuple[int, bool, float, str]] = []
    for test in sorted(tests, key=lambda test: test.seconds):
        nth[test.function] += 1
        turn = nth[test.function] if test.seconds > QUICK else 0
        ranked.append((turn, not test.name.startswith(folder), test.seconds, test.name))
    first: list[str] = []
    more: list[str] = []
    total = 0.0
    for _, _, took, name in sorted(ranked):
        total += took
        if total <= seconds or not first:
            first.append(name)
        elif total <= 3 * seconds:
            more.append(name)
    return Tried(mutant, first, more, 20 + 2 * seconds)


# --- Trying mutants ---


@dataclass
class Trial:
    """Tries mutants in a copy. `fork` tries many in one process, `fresh` one in a new process."""

    copy: Path
    tests: list[Test]
    seconds: float
    unreliable: set[str] = field(default_factory=set)

    def job(self, mode: str, tried: list[Tried]) -> dict[str, Any]:
        mutants = [
            {
                "id": number,
                "path": one.mutant.path,
                "text": one.mutant.text,
                "tests": one.tests,
                "seconds": one.seconds,
                "migrates": one.mutant.path in MIGRATES,
            }
            for number, one in enumerate(tried)
        ]
        return {
            "mode": mode,
            "mutants": mutants,
            "results": str(self.copy.parent / "results.jsonl"),
            "digest": self.database(),
        }

    def database(self) -> str:
        """The name of the cached database, which a change of the chain's modules would rename."""
        found = (self.copy / CACHE / "migrated").glob("*.sqlite3")
        return next((path.stem for path in found), "")

    def fork(self, tried: list[Tried]) -> None:
        job = self.job("fork", tried)
        modules = sorted({name.partition("::")[0] for one in tried for name in one.tests})
        if not modules:
            return
        pytest_in(self.copy, job, modules, sum(one.seconds for one in tried) * 20 + 600)
        found = results(job)
        if len(found) < len(tried):
            raise SystemExit((self.copy.parent / "output.txt").read_text()[-5000:])
        for result in found:
            note(tried[result["id"]], result["said"])

    def fresh(self, one: Tried) -> None:
        job = self.job("fresh", [one])
        path, kept = self.copy / one.mutant.path, self.copy.parent / "kept"
        source = path.read_text()
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.copy / CACHE / "migrated", kept)
        path.write_text(one.mutant.text)
        modules = sorted({name.partition("::")[0] for name in one.tests})
        try:
            in_time = pytest_in(self.copy, job, modules, 10 * one.seconds + 120)
        finally:
            path.write_text(source)
            shutil.rmtree(self.copy / CACHE / "migrated")
            shutil.copytree(kept, self.copy / CACHE / "migrated")
        found = results(job)
        said = found[0]["said"] if found else "failed" if in_time else "timeout"
        note(one, said)

    def try_all(self, mutants: list[Mutant]) -> list[Tried]:
        tried = [chosen(mutant, self.tests, self.seconds) for mutant in mutants]
        forks = [one for one in tried if one.tests and one.mutant.path not in MIGRATES]
        self.fork(forks)
        left = [one for one in forks if one.said == "passed" and one.more]
        for one in left:
            one.passed += len(one.tests)
            one.tests, one.more = one.more, []
        self.fork(left)
        for number, one in enumerate(tried):
            if one.said == "fresh" and one.tests:
                self.fresh(one)
            if not one.killed and one.mutant.path in SCRIPTS:
                scripts = SCRIPTS[one.mutant.path]
                runs = [test for test in self.tests if test.module in scripts]
                tried[number] = one = in_order(one.mutant, runs, 3 * self.seconds)
                self.fresh(one)
            if one.said == "fresh":
                one.said = "passed"
        return tried


def note(one: Tried, said: str) -> None:
    one.said, _, one.killer = said.partition(" ")
    if one.said == "error":
        raise SystemExit(f"{one.mutant.path}:{one.mutant.line}: {one.killer}")


# --- What came of it ---


def row(package: str, tried: list[Tried], seed: int) -> str:
    killed = sum(one.killed for one in tried)
    late = sum(one.said == "timeout" for one in tried)
    share = 100 * killed / max(len(tried), 1)
    return f"| {package} | {seed} | {len(tried)} | {killed} | {late} | {share:.0f} % |"


HEAD = (
    "| package | seed | mutants | killed | of these by time | share |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: |"
)


def survivor(one: Tried) -> str:
    mutant = one.mutant
    passed = one.passed + len(one.tests)
    reason = f"{passed} tests passed" if passed else "no test runs it"
    diff = mutant.diff((ROOT / mutant.path).read_text())
    title = f"{mutant.path}:{mutant.line}, {mutant.function or 'module'}, {mutant.operator}"
    return f"{title}; {reason}\n\n```diff\n{diff}\n```\n"


def versions() -> str:
    told = [
        f"{name} {importlib.metadata.version(name)}" for name in ("cosmic-ray", "django", "pytest")
    ]
    return " · ".join([cpu(), f"Python {platform.python_version()}", *told])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--packages", nargs="+", choices=PACKAGES, default=PACKAGES)
    parser.add_argument("--sample", type=int, default=40, help="mutants of each package")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20, help="of tests for one mutant")
    parser.add_argument("--write", action="store_true", help="put it into bench/mutation.md")
    options = parser.parse_args()
    rows, survivors = [], []
    began = time.monotonic()
    with copied() as copy:
        trial = Trial(copy, coverage(copy), options.seconds)
        for package in options.packages:
            paths = [str(path.relative_to(ROOT)) for path in sources(package)]
            mutants = drawn(ROOT, paths, options.sample, Random(f"{package} {options.seed}"))
            tried = trial.try_all(mutants)
            rows.append(row(package, tried, options.seed))
            left = [survivor(one) for one in tried if not one.killed]
            survivors += left
            print("\n".join(left), rows[-1], sep="\n", flush=True)
    minutes = (time.monotonic() - began) / 60
    told = f"{versions()} · {minutes:.0f} minutes"
    table = "\n".join([HEAD, *rows])
    print(f"\n{told}\n\n{table}")
    if options.write:
        text = (
            "# Mutants that the tests kill\n\n"
            f"`python bench/mutation.py --sample {options.sample} --seed {options.seed} "
            f"--seconds {options.seconds:g} --write`\n\n{told}\n\n{table}\n\n"
            "## Survivors\n\n" + "\n".join(survivors)
        )
        (ROOT / "bench" / "mutation.md").write_text(text)


if __name__ == "__main__":
    main()
