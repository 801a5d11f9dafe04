"""Decoder processes: a crash takes nothing else down, and other pictures are still decoded."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from persons import decoding, pictures
from persons.decoding import DecoderDied, DecodingBusy, DecodingFailed, pool, slots, template, wire
from persons.decoding.errors import BadAnswer, DecoderTooLarge, DecoderTooSlow
from persons.decoding.records import as_json, from_json
from persons.images import CameraFacts, ImageRefused, Inspected, Refusal
from tests.support.broken_decoder import asks_for, misbehaving
from tests.support.factories import jpeg
from tests.support.processes import PATIENCE, ROOT, wait_until

pytestmark = pytest.mark.thorough

PICTURE = jpeg((10, 120, 200), (64, 48))


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[None]:
    with misbehaving(folder=tmp_path / "slots"):
        yield


def inspected(data: bytes) -> Inspected:
    return pictures.inspect(io.BytesIO(data), max_bytes=10_000_000)


def ask(what: str) -> Any:
    """What never ends has less time than the pictures around it, which a busy machine may slow."""
    before = decoding.configure(seconds=0.4) if what in ("loop", "sleep") else None
    try:
        return decoding.ask("header", asks_for(what, PICTURE), formats=["JPEG"])
    finally:
        if before:
            decoding.configure(seconds=before.seconds)


# --- What becomes of a bad picture ---


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("abort", DecoderDied),
        ("exit", DecoderDied),
        ("close", DecoderDied),
        ("loop", DecoderTooSlow),
        ("sleep", DecoderTooSlow),
        ("eat", DecoderTooLarge),
        ("noise", BadAnswer),
        ("nothing", BadAnswer),
        ("endless", BadAnswer),
        ("deep", BadAnswer),
        ("list", BadAnswer),
        ("negative", BadAnswer),
        ("huge", BadAnswer),
        ("code", BadAnswer),
        ("unsealed", BadAnswer),
        ("pipe", BadAnswer),
        ("short", BadAnswer),
    ],
)
@pytest.mark.usefixtures("broken")
def test_whatever_a_helper_does_is_an_answer(what: str, error: type[DecodingFailed]) -> None:
    with pytest.raises(error) as caught:
        ask(what)
    assert str(caught.value).startswith("This picture can't be opened: ")
    assert str(caught.value).endswith(".")
    assert pool.idle_helpers() == [], "that helper opens nothing any more"
    assert inspected(PICTURE).width == 64


@pytest.mark.usefixtures("broken")
def test_it_is_a_refusal_in_the_words_of_pictures() -> None:
    for what in ("abort", "eat", "noise", "other"):
        with pytest.raises(ImageRefused) as caught:
            inspected(asks_for(what, PICTURE))
        assert caught.value.code == Refusal.UNREADABLE


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("what", ["break memory", "break a table", "use up memory"])
def test_what_an_earlier_picture_broke_is_not_blamed_on_the_next(what: str) -> None:
    assert inspected(asks_for(what, PICTURE)).width == 64
    (broken,) = pool.idle_helpers()
    assert inspected(PICTURE).width == 64
    assert broken not in pool.idle_helpers()


def test_a_picture_that_kills_its_helper_at_once_has_been_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It isn't taken for a helper that was gone before, which another would be asked for."""
    mine, theirs = socket.socketpair()
    send_fds = socket.send_fds

    def sent(*args: Any) -> int:
        count = send_fds(*args)
        theirs.close()
        return count

    monkeypatch.setattr(socket, "send_fds", sent)
    with mine, Path("/dev/null").open() as file:
        wire.send(mine, {}, [file.fileno()])


@pytest.mark.usefixtures("broken")
def test_a_helper_that_was_ended_by_somebody_else_costs_nothing() -> None:
    inspected(PICTURE)
    (pid,) = pool.idle_helpers()
    os.kill(pid, signal.SIGKILL)
    assert inspected(PICTURE).width == 64
    assert pool.idle_helpers() != [pid]


def test_a_helper_that_has_seen_a_damaged_picture_sees_no_other(tmp_path: Path) -> None:
    with misbehaving(folder=tmp_path):
        for data, is_kept in ((b"no picture", True), (PICTURE[:300], False)):
            with pytest.raises(ImageRefused):
                inspected(data)
            assert bool(pool.idle_helpers()) is is_kept


def test_a_helper_that_ended_for_want_of_work_is_replaced(tmp_path: Path) -> None:
    with misbehaving(folder=tmp_path, idle=0.05):
        inspected(PICTURE)
        (pid,) = pool.idle_helpers()
        wait_until(lambda: _state(pid) in ("Z", ""), what="the helper to end by itself")
        assert inspected(PICTURE).width == 64


def test_helpers_are_used_again_and_replaced_after_some_pictures(tmp_path: Path) -> None:
    with misbehaving(folder=tmp_path, pictures=3):
        seen = []
        for _ in range(6):
            inspected(PICTURE)
            seen.append(pool.idle_helpers())
        assert seen[0] == seen[1] != []
        assert seen[2] == seen[5] == []
        assert seen[3] == seen[4] != seen[0]


# --- Where helpers come from ---


def test_a_new_helper_is_forked_and_the_template_stays_the_same(tmp_path: Path) -> None:
    with misbehaving(folder=tmp_path):
        inspected(PICTURE)
        (first,) = pool.idle_helpers()
        parent = _parent(first)
        with pytest.raises(ImageRefused):
            inspected(PICTURE[:300])
        inspected(PICTURE)
        (second,) = pool.idle_helpers()
        assert (second != first, _parent(second)) == (True, parent)
        assert parent != os.getpid()


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("what", ["abort", "noise", "huge"])
def test_a_helper_that_broke_takes_its_template_and_its_siblings_with_it(what: str) -> None:
    """Nobody gets to learn by one helper's end what lies where in the memory of the next."""
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ask, ["when", "when"]))
    before = pool.idle_helpers()
    assert len(before) == 2
    (parent,) = {_parent(pid) for pid in before}
    with pytest.raises(DecodingFailed):
        ask(what)
    inspected(PICTURE)
    (after,) = pool.idle_helpers()
    assert after not in before and _parent(after) != parent
    wait_until(lambda: all(_state(pid) in ("Z", "") for pid in (*before, parent)), what="them")


def test_a_template_that_was_ended_by_somebody_else_costs_nothing(tmp_path: Path) -> None:
    with misbehaving(folder=tmp_path):
        inspected(PICTURE)
        (helper,) = pool.idle_helpers()
        os.kill(_parent(helper), signal.SIGKILL)
        assert inspected(PICTURE).width == 64
        with pytest.raises(ImageRefused):
            inspected(PICTURE[:300])
        assert pool.idle_helpers() == []
        assert inspected(PICTURE).width == 64


def test_a_template_is_replaced_after_some_helpers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "_MOST_HELPERS", 2)
    templates = []
    pool.close()
    with misbehaving(folder=tmp_path, pictures=1):
        for _ in range(4):
            templates.append(ask("parent").data["parent"])
    assert templates[0] == templates[1] != templates[2] == templates[3]


def test_a_helper_that_can_not_be_started_is_no_fault_of_a_picture(tmp_path: Path) -> None:
    with misbehaving(folder=tmp_path, module="no_such_module"), pytest.raises(DecodingBusy):
        inspected(PICTURE)


# --- What a helper has ---


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_helper_has_limits_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLCALL_SECRET_KEY", "canary")
    monkeypatch.setenv("DATABASE_URL", "postgres://canary")
    pool.close()
    with misbehaving(folder=tmp_path):
        inspected(PICTURE)
        (pid,) = pool.idle_helpers()
        assert b"canary" not in Path(f"/proc/{pid}/environ").read_bytes()
        memory, _ = resource.prlimit(pid, resource.RLIMIT_AS)
        assert 300_000_000 < memory < 1_000_000_000
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
        assert resource.prlimit(pid, resource.RLIMIT_FSIZE)[1] == 300_000_000
        seconds, _ = resource.prlimit(pid, resource.RLIMIT_CPU)
        assert 2 <= seconds <= 5
        # Three standard streams, the socket, and nothing of the picture or of this process.
        assert len(list(Path(f"/proc/{pid}/fd").iterdir())) == 4


@pytest.mark.usefixtures("broken")
def test_who_takes_a_helper_over_reaches_nothing() -> None:
    told = ask("reach out").data
    if not told["can"]:
        pytest.skip("this kernel has no Landlock")
    errors = {name: errno.errorcode.get(code, code) for name, code in told["errors"].items()}
    assert errors.pop("connect") in ("EACCES", "ECONNREFUSED")
    assert errors.pop("kill") in ("EPERM", 0), "older versions let signals pass"
    assert errors == dict.fromkeys(("read", "list", "write", "run"), "EACCES")


def test_nothing_of_a_picture_stays_open_here(tmp_path: Path) -> None:
    with misbehaving(folder=tmp_path):
        inspected(PICTURE)
        before = len(list(Path("/proc/self/fd").iterdir()))
        for what in ("abort", "unsealed", "short", "list"):
            with pytest.raises(DecodingFailed):
                ask(what)
            inspected(PICTURE)
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_is_handed_over_for_reading_alone(tmp_path: Path) -> None:
    path = tmp_path / "one.jpg"
    path.write_bytes(PICTURE)
    with path.open("r+b") as file, decoding.PictureSource(file) as source:
        with pytest.raises(OSError):
            os.write(source.fileno(), b"x")
        file.seek(7)
        os.lseek(source.fileno(), 30, os.SEEK_SET)
        assert file.tell() == 7, "its place in the file is its own"
    with decoding.PictureSource(PICTURE) as source, pytest.raises(OSError):
        os.pwrite(source.fileno(), b"x", 0)


# --- Who ends when ---

_ASKING = """
import io, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.support.broken_decoder import misbehaving, asks_for
from persons import decoding
from persons.decoding import pool
with misbehaving(folder=Path({folder!r}), seconds=1.0):
    decoding.ask("header", {data!r}, formats=["JPEG"])
    print(pool.idle_helpers()[0], flush=True)
    {then}
"""


def _asking(folder: Path, then: str) -> subprocess.Popen[bytes]:
    code = _ASKING.format(root=str(ROOT), folder=str(folder), data=PICTURE, then=then)
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.processes
def test_helpers_end_with_their_process_and_without_a_word(tmp_path: Path) -> None:
    process = _asking(tmp_path, "pass")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, b"")
    assert _state(int(out)) == ""


@pytest.mark.processes
def test_helpers_end_with_a_process_that_was_killed(tmp_path: Path) -> None:
    process = _asking(tmp_path, "import time; time.sleep(1000)")
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert _state(pid) in ("S", "R")
    process.kill()
    process.communicate()
    wait_until(lambda: _state(pid) in ("Z", ""), what="the helper to end")


@pytest.mark.processes
def test_a_helper_at_work_ends_though_nobody_is_left_to_end_it(tmp_path: Path) -> None:
    """The kernel does, by its time. Until then it keeps its slot."""
    process, pid = _asleep(tmp_path)
    parent = _parent(pid)
    # What would end it at once is stopped.
    os.kill(parent, signal.SIGSTOP)
    process.kill()
    process.communicate()
    assert not _is_free(tmp_path)
    wait_until(lambda: _is_free(tmp_path), what="the helper to end by its time")
    os.kill(parent, signal.SIGCONT)
    wait_until(lambda: _state(parent) in ("Z", ""), what="the template to end")


@pytest.mark.processes
def test_a_helper_at_work_ends_with_the_process_that_asked(tmp_path: Path) -> None:
    process, pid = _asleep(tmp_path, seconds=1000.0)
    process.kill()
    process.communicate()
    wait_until(lambda: _state(pid) in ("Z", ""), what="the helper to end")
    assert _is_free(tmp_path)


@pytest.mark.processes
def test_a_helper_at_work_ends_with_its_template(tmp_path: Path) -> None:
    process, pid = _asleep(tmp_path, seconds=1000.0)
    os.kill(_parent(pid), signal.SIGKILL)
    wait_until(lambda: _state(pid) in ("Z", ""), what="the helper to end")
    process.kill()
    process.communicate()


def _asleep(folder: Path, **limits: float) -> tuple[subprocess.Popen[bytes], int]:
    """A process whose helper sleeps over a picture, and that helper."""
    then = f"decoding.configure(**{limits})" * bool(limits)
    then += "; " * bool(limits) + "decoding.ask('header', DATA, formats=['JPEG']); "
    then += "print(pool.idle_helpers()[0], flush=True); "
    then += "decoding.ask('header', asks_for('sleep', DATA), formats=['JPEG'])"
    process = _asking(folder, then.replace("DATA", repr(PICTURE)))
    assert process.stdout is not None
    process.stdout.readline()
    pid = int(process.stdout.readline())
    wait_until(lambda: not _is_free(folder), what="the slot to be taken")
    return process, pid


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _is_free(folder: Path) -> bool:
    count = decoding.Limits().at_once
    taken = [slots._taken(folder, number) for number in range(count)]
    for one in taken:
        if one is not None:
            os.close(one)
    return None not in taken


@pytest.mark.processes
def test_a_process_that_is_forked_off_has_helpers_of_its_own(tmp_path: Path) -> None:
    then = """
    import os
    mine = pool.idle_helpers()
    child = os.fork()
    if not child:
        decoding.ask("header", DATA, formats=["JPEG"])
        os._exit(pool.idle_helpers() == mine)
    assert os.waitpid(child, 0)[1] == 0
    decoding.ask("header", DATA, formats=["JPEG"])
    assert pool.idle_helpers() == mine
    """
    process = _asking(tmp_path, then.replace("DATA", repr(PICTURE)))
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, b"")


# --- One number for the machine ---


@pytest.mark.processes
def test_so_many_at_a_time_over_all_threads_and_processes(tmp_path: Path) -> None:
    then = """
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(decoding.ask, "header", asks_for("when", DATA)) for _ in range(6)]
        for one in asked:
            print(one.result().data["began"], one.result().data["ended"], flush=True)
    """.replace("DATA", repr(PICTURE))
    processes = [_asking(tmp_path, "decoding.configure(at_once=2)" + then) for _ in range(2)]
    times = []
    for process in processes:
        out, err = process.communicate(timeout=PATIENCE)
        assert err == b""
        times += [tuple(map(float, line.split())) for line in out.splitlines()[1:]]
    assert len(times) == 12
    most = max(sum(began <= at < ended for began, ended in times) for at, _ in times)
    assert most == 2


def test_who_waits_too_long_is_told_to_come_back(tmp_path: Path) -> None:
    with (
        misbehaving(folder=tmp_path, at_once=1, patience=0.05),
        slots.slot(tmp_path, 1, 1),
        pytest.raises(DecodingBusy, match="Try again"),
    ):
        inspected(PICTURE)


def test_who_waits_gets_the_next_free_slot(tmp_path: Path) -> None:
    with misbehaving(folder=tmp_path, at_once=1), ThreadPoolExecutor(1) as threads:
        with slots.slot(tmp_path, 1, 1):
            asked = threads.submit(inspected, PICTURE)
            time.sleep(0.05)
            assert not asked.done()
        assert asked.result(timeout=PATIENCE).width == 64


def test_many_threads_share_few_helpers(tmp_path: Path) -> None:
    with misbehaving(folder=tmp_path, at_once=2, patience=60), ThreadPoolExecutor(8) as threads:
        found = list(threads.map(inspected, [PICTURE] * 40))
        assert {one.width for one in found} == {64}
        assert 1 <= len(pool.idle_helpers()) <= 2
    assert threading.active_count() < 20


# --- Records ---


def test_a_record_comes_back_as_it_was() -> None:
    facts = CameraFacts(camera="A", place=(1.5, -2.0))
    assert from_json(CameraFacts, as_json(facts)) == facts
    found = inspected(PICTURE)
    assert from_json(Inspected, as_json(found)) == found


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": "64"},
        {"width": True},
        {"width": 1 << 60},
        {"width": 6.4},
        {"format": None},
        {"format": "x" * 100_000},
        {"taken_at": "yesterday"},
        {"taken_at": 5},
        {"notes": "words"},
        {"notes": [1]},
        {"notes": [["x"]]},
    ],
)
def test_a_record_of_other_types_is_none(wrong: dict[str, Any]) -> None:
    told = as_json(inspected(PICTURE))
    with pytest.raises(ValueError):
        from_json(Inspected, told | wrong)
    with pytest.raises(ValueError):
        from_json(Inspected, {"width": 5})


@pytest.mark.usefixtures("broken")
def test_the_digest_is_not_the_helpers_word() -> None:
    assert inspected(PICTURE).sha256 == hashlib.sha256(PICTURE).hexdigest()
