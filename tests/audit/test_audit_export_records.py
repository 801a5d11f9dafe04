"""An audit export has the record of each call, and proves by itself that it is unaltered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from persons import audit
from persons.actions.auditing import export_audit
from persons.calls import log as call_log
from persons.chain import records, verify
from persons.chain.checking import check
from persons.models import AuditEntry, Call, Recognition, Team, User
from persons.models.calls import Outcome
from persons.pipeline.audit.sealing import seal_audit
from persons.vision.types import (
    Answer,
    Box,
    Details,
    FaceDetail,
    FoundPerson,
    ImageResult,
    ImageStatus,
)
from tests.support import tampering
from tests.support.audit_exports import Lines, lines_of, run, unpacked, write
from tests.support.calls import begun

pytestmark = pytest.mark.django_db

ANNA, BORIS = 7, 8
RAW = '{"status":200,"who":"Größe \u2028 🙂"}'.encode()


def asked(team: Team, user: User, *, similarity: float = 0.75) -> Call:
    """A call of two images, one of them with a face."""
    call = begun(team, user)
    face = FoundPerson(f"person{ANNA}", ANNA, Box(1, 2, 3, 4), 1.0, similarity)
    known = FaceDetail(matched="ab" * 32, runner_up=BORIS, runner_up_similarity=0.25)
    results = [
        ImageResult(
            "a.jpg", ImageStatus.DONE, persons=(face,), raw={"name": "a.jpg", "share": 1e22}
        ),
        ImageResult("b.jpg", ImageStatus.DONE, raw={"name": "b.jpg"}),
    ]
    call_log.end(call, Answer(RAW, details=Details({"a.jpg": [known]}, 2, 5)), None, results)
    return call


@pytest.fixture
def asked_for(team: Team, alice: User) -> list[Call]:
    """Three calls, in the entries 2, 3 and 4; the second ended twice, the last time in entry 5."""
    audit.record(actor=tampering.actor(alice), team=team, action="gallery.rename", target=team)
    made = [asked(team, alice, similarity=number / 8) for number in (1, 2, 3)]
    call_log.changed([made[1].pk], actor=tampering.actor(alice), action="call.redact")
    return made


@pytest.fixture
def folder(team: Team, asked_for: list[Call], tmp_path: Path) -> Path:
    return unpacked(team, tmp_path / "export")


def test_a_stranger_can_read_what_was_asked_and_answered(
    folder: Path, asked_for: list[Call]
) -> None:
    lines = lines_of(folder / "calls.jsonl")
    assert [line["call"] for line in lines] == [call.pk for call in asked_for]
    record = lines[0]["record"]
    assert (record["actor_text"], record["address"], record["source"]) == (
        "Alice",
        verify.address_of("2001:db8::7"),
        "page",
    )
    space = asked_for[0].space
    assert space is not None and record["threshold"] == space.threshold > 0
    assert record["confirm_threshold"] == space.confirm_threshold
    assert (record["enrolled_people"], record["enrolled_pictures"]) == (2, 5)
    assert record["model"] == asked_for[0].model
    first, second = record["images"]
    assert first["sha256"] == asked_for[0].rows[0].sha256 and second["faces"] == []
    (face,) = first["faces"]
    assert (face["told_id"], face["similarity"]) == (ANNA, 0.125)
    assert (face["runner_up"], face["matched_sha256"]) == (BORIS, "ab" * 32)


def test_the_records_are_checked_with_nothing_but_python(folder: Path) -> None:
    found = run(folder)
    assert (found.returncode, found.stderr) == (0, "")
    assert "3 records of calls, each as the call's last entry vouches for." in found.stdout
    assert (
        found.stdout.endswith("The chain is whole.\n")
        and "records of calls are NOT" not in found.stdout
    )
    assert "calls.jsonl" in (folder / "README.txt").read_text()


# --- By hand ---

Tamper = Callable[[Lines], object]


def at(record: dict[str, Any], where: Sequence[Any]) -> Any:
    for step in where:
        record = record[step]
    return record


def edit(value: object, *where: Any) -> Tamper:
    """Of the second call's record."""
    return lambda lines: at(lines[1]["record"], where[:-1]).update({where[-1]: value})


def swap_contents(lines: Lines) -> None:
    for name in ("salt", "record"):
        lines[0][name], lines[2][name] = lines[2][name], lines[0][name]


def swap_lines(lines: Lines) -> None:
    lines[0], lines[1] = lines[1], lines[0]


def forge(lines: Lines) -> None:
    """A line for a call that there was none of, with a record that fits it."""
    last = json.loads(json.dumps(lines[2]))
    last["call"] = last["record"]["call"] = lines[2]["call"] + 1
    lines.append(last)


def rename(lines: Lines) -> None:
    lines[2]["call"] += 1


DIFFERS = "call {1}: its record is not what entry 5 vouches for."
FACE = ("images", 0, "faces", 0)
TAMPERED: dict[str, tuple[Tamper, str]] = {
    "similarity": (edit(0.99, *FACE, "similarity"), DIFFERS),
    "who it was told to be": (edit(BORIS, *FACE, "told_id"), DIFFERS),
    "what matched": (edit("cd" * 32, *FACE, "matched_sha256"), DIFFERS),
    "threshold": (edit(0.1, "threshold"), DIFFERS),
    "model": (edit("another", "model"), DIFFERS),
    "size of the space": (edit(1, "enrolled_people"), DIFFERS),
    "who asked": (edit("Bob", "actor_text"), DIFFERS),
    "image": (edit("cd" * 32, "images", 1, "sha256"), DIFFERS),
    "raw answer": (edit("cd" * 32, "answer"), DIFFERS),
    "a face less": (edit([], "images", 0, "faces"), DIFFERS),
    "a field more": (edit(1, "more"), DIFFERS),
    "a field beside the record": (lambda lines: lines[1].update(note="no"), DIFFERS),
    "the salt": (lambda lines: lines[1].update(salt="0" * 32), DIFFERS),
    "no salt": (lambda lines: lines[1].update(salt=""), DIFFERS),
    "an older record": (lambda lines: lines[1].update(lines[0]), "call {0}: its record stands he"),
    "dropped": (lambda lines: lines.pop(1), "call {1}: its record is missing, and entry 5 vouches"),
    "the first dropped": (lambda lines: lines.pop(0), "call {0}: its record is missing, and entry"),
    "the last dropped": (lambda lines: lines.pop(), "call {2}: its record is missing, and entry 4"),
    "all dropped": (lambda lines: lines.clear(), "call {0}: its record is missing, and entry 2"),
    "added": (forge, "call {next}: no entry vouches for its record."),
    "another number": (rename, "call {2}: its record is missing, and entry 4 vouches for it."),
    "twice": (lambda lines: lines.insert(1, lines[0]), "call {0}: its record stands here again"),
    "contents swapped": (swap_contents, "call {0}: its record is not what entry 2 vouches for."),
    "lines swapped": (swap_lines, "call {0}: its record is missing, and entry 2 vouches for it"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("how", TAMPERED)
def test_a_record_that_was_tampered_with_is_named(
    folder: Path, asked_for: list[Call], how: str
) -> None:
    tamper, said = TAMPERED[how]
    lines = lines_of(folder / "calls.jsonl")
    tamper(lines)
    write(folder / "calls.jsonl", lines)
    numbers = {str(place): call.pk for place, call in enumerate(asked_for)}
    numbers["next"] = asked_for[-1].pk + 1
    for place, number in numbers.items():
        said = said.replace(f"{{{place}}}", str(number))
    found = run(folder)
    assert found.returncode == 1 and found.stderr == ""
    assert f"NOT WHOLE. {said}" in found.stdout, found.stdout


def test_a_record_from_before_its_last_entry_does_not_pass(
    team: Team, alice: User, asked_for: list[Call], folder: Path, tmp_path: Path
) -> None:
    """Somebody puts back what was redacted, or what was there before it was altered with cause."""
    old = lines_of(folder / "calls.jsonl")[0]
    Recognition.objects.filter(call=asked_for[0]).update(name="", result={})
    call_log.changed([asked_for[0].pk], actor=tampering.actor(alice), action="call.redact")
    again = unpacked(team, tmp_path / "again")
    assert run(again).returncode == 0
    lines = lines_of(again / "calls.jsonl")
    assert lines[0]["record"]["images"][0]["name"] == "" and lines[0]["salt"] != old["salt"]
    write(again / "calls.jsonl", [old, *lines[1:]])
    said = f"call {asked_for[0].pk}: its record is not what entry 7 vouches for."
    assert f"NOT WHOLE. {said}" in run(again).stdout


def test_a_name_that_stands_twice_in_a_line_does_not_pass(folder: Path) -> None:
    """A reader may see the first one, and the verifier the last."""
    text = (folder / "calls.jsonl").read_text(encoding="utf-8")
    twice = text.replace('"similarity":', '"similarity":0.99,"similarity":', 1)
    (folder / "calls.jsonl").write_text(twice, encoding="utf-8")
    found = run(folder)
    assert found.returncode == 1 and "line 1 of calls.jsonl can't be read" in found.stdout


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "[1]", "null\n", '{"call": 1}\n'])
def test_a_file_that_is_missing_or_something_else_does_not_pass(
    folder: Path, content: str | None
) -> None:
    path = folder / "calls.jsonl"
    path.unlink() if content is None else path.write_text(content)
    found = run(folder)
    assert found.returncode == 1 and found.stderr == "" and "NOT WHOLE." in found.stdout
    assert content is not None or "NOT WHOLE. calls.jsonl is missing." in found.stdout


def test_a_record_that_was_altered_in_the_database_is_named(
    team: Team, asked_for: list[Call], tmp_path: Path
) -> None:
    Call.objects.filter(pk=asked_for[2].pk).update(threshold=0.9)
    found = run(unpacked(team, tmp_path / "export"))
    assert found.returncode == 1
    assert f"call {asked_for[2].pk}: its record is not what entry 4 vouches for." in found.stdout


def test_a_call_that_was_deleted_from_the_database_is_named(
    team: Team, asked_for: list[Call], tmp_path: Path
) -> None:
    pk = asked_for[1].pk
    Call.objects.get(pk=pk).delete()
    assert f"call {pk}: its record is missing" in run(unpacked(team, tmp_path / "export")).stdout


# --- What is not checked is said ---


def test_records_that_were_left_out_on_purpose_are_said_to_be(
    team: Team, asked_for: list[Call], tmp_path: Path
) -> None:
    folder = unpacked(team, tmp_path / "export", without_calls=True)
    assert not (folder / "calls.jsonl").exists()
    found = run(folder)
    assert found.returncode == 0, found.stdout
    assert "The records of 3 calls are NOT checked: the export was made without." in found.stdout
    assert "left out of this export" in (folder / "report.html").read_text(encoding="utf-8")
    assert "left out of this export" in (folder / "README.txt").read_text()
    (folder / "calls.jsonl").write_text("")
    assert "calls.jsonl is there, though" in run(folder).stdout


def test_a_record_for_which_no_entry_vouches_any_more_is_not_whole(
    team: Team, asked_for: list[Call], tmp_path: Path
) -> None:
    seal_audit()
    pk = asked_for[0].pk
    tampering.erased(team, AuditEntry.objects.get(target_type="call", target_id=str(pk)).pk)
    assert "was altered since" in check(team).problem
    found = run(unpacked(team, tmp_path / "export"))
    assert found.returncode == 1
    assert f"NOT WHOLE. call {pk}: nothing vouches for its record." in found.stdout


def test_calls_that_are_under_way_or_from_before_the_chain_have_no_line(
    team: Team, alice: User, asked_for: list[Call], tmp_path: Path
) -> None:
    begun(team, alice)
    old = begun(team, alice)
    Call.objects.filter(pk=old.pk).update(outcome=Outcome.DONE)
    folder = unpacked(team, tmp_path / "export")
    assert len(lines_of(folder / "calls.jsonl")) == 3 and run(folder).returncode == 0


def test_another_teams_calls_are_not_in_it(
    team: Team, charlie: User, asked_for: list[Call], tmp_path: Path
) -> None:
    theirs = asked(charlie.teams.get(), charlie)
    lines = lines_of(unpacked(team, tmp_path / "export") / "calls.jsonl")
    assert theirs.pk not in [line["call"] for line in lines]


# --- While it is made ---


def written(team: Team, to: Path) -> Path:
    export = export_audit(actor=tampering.actor(), team=team)
    with ZipFile(BytesIO(b"".join(export.chunks()))) as archive:
        archive.extractall(to)
    return to


def test_what_changes_while_it_is_made_is_as_it_was_and_vouched_for(
    team: Team,
    alice: User,
    asked_for: list[Call],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first call is redacted after its record was taken, the last one before that, but after
    the export began; a new one ends meanwhile."""
    first, _, last = (call.pk for call in asked_for)
    current = records.current

    def busy(pks: Sequence[int]) -> Iterator[tuple[Call, dict[str, Any]]]:
        call_log.changed([last], actor=tampering.actor(alice), action="call.redact")
        yield from current(pks)
        Recognition.objects.filter(call=first).update(name="", result={})
        call_log.changed([first], actor=tampering.actor(alice), action="call.redact")
        asked(team, alice)

    monkeypatch.setattr(records, "current", busy)
    folder = written(team, tmp_path / "export")
    found = run(folder)
    assert found.returncode == 0, found.stdout
    assert "9 entries" in found.stdout and "3 records of calls" in found.stdout
    assert f"before they changed, during the export: 1 (calls {first})." in found.stdout
    assert "Not in it: records of calls with 1 entries from during the export." in found.stdout
    lines = lines_of(folder / "calls.jsonl")
    lines[0]["record"]["images"][0]["name"] = "c.jpg"
    write(folder / "calls.jsonl", lines)
    assert f"call {first}: its record is not what entry 8 vouches" in run(folder).stdout


def test_a_record_that_changes_between_two_queries_is_read_again(
    team: Team, alice: User, asked_for: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, pk = records.stored, asked_for[0].pk
    left = [1]

    def torn(pks: Sequence[int]) -> Iterator[Any]:
        for call, images, findings in list(stored(pks)):
            if call.pk == pk and left:
                left.pop()
                Recognition.objects.filter(call=pk).update(name="")
                call_log.changed([pk], actor=tampering.actor(alice), action="call.redact")
                call.refresh_from_db()
            yield call, images, findings

    monkeypatch.setattr(records, "stored", torn)
    ((call, record),) = records.current([pk])
    assert not left and record["images"][0]["name"] == ""
    assert verify.salted(call.salt, record) == call.digest


def test_queries_do_not_depend_on_how_many_calls_there_are(
    team: Team, alice: User, asked_for: list[Call], tmp_path: Path
) -> None:
    def queries(name: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as found:
            written(team, tmp_path / name)
        return len(found)

    queries("warm")
    before = queries("few")
    for _ in range(20):
        asked(team, alice)
    assert queries("many") == before


def test_more_calls_than_are_read_at_once_are_all_there_in_order(
    team: Team, asked_for: list[Call], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "BATCH", 2)
    folder = written(team, tmp_path / "export")
    lines = lines_of(folder / "calls.jsonl")
    assert [line["call"] for line in lines] == [call.pk for call in asked_for]
    assert run(folder).returncode == 0
