"""An audit export verifies itself on a machine without Rollcall, and detects tampering."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from persons.chain import signing, verify
from persons.models import AuditEntry, Source, Team, User
from persons.vision.tokens import Secret
from tests.support import tampering
from tests.support.audit_exports import Lines, lines_of, run, unpacked, write

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

OURS = "ab" * 32
THEIRS = "cd" * 32


@pytest.fixture
def folder(team: Team, alice: User, settings: Any, tmp_path: Path) -> Path:
    """An unpacked export of fourteen entries (the last two are of an erasure and the export's own),
    with two seals and the head's; the third was erased. Beside it, `outside` holds the seals that
    were kept elsewhere."""
    settings.AUDIT_KEY = Secret(OURS)
    settings.AUDIT_SEALS = str(tmp_path / "outside")
    chain = tampering.chain_of(team, alice)
    tampering.erased(team, chain[2].pk)
    return unpacked(team, tmp_path / "export")


def test_holds_everything_and_is_whole(folder: Path, team: Team) -> None:
    found = run(folder)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.splitlines() == [
        "Signatures are NOT checked: the package cryptography is not installed.",
        "14 entries, 3 seals.",
        "0 records of calls, each as the call's last entry vouches for.",
        "Decisions and names in the server's records were as these entries say.",
        f"Key {signing.fingerprint()}: compare it with what you were told, or give it as --key.",
        "The chain is whole.",
    ]
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.txt",
        "calls.jsonl",
        "entries.jsonl",
        "export.json",
        "report.html",
        "seals.jsonl",
        "verify.py",
    ]
    assert signing.fingerprint() in (folder / "README.txt").read_text()


def test_signatures_are_checked_where_they_can_be(folder: Path, tmp_path: Path) -> None:
    outside = str(tmp_path / "outside" / "trip.jsonl")
    found = run(folder, "--key", signing.fingerprint(), "--seals", outside, bare=False)
    assert found.returncode == 0, found.stdout
    assert found.stdout.splitlines() == [
        "Signatures are checked.",
        "14 entries, 5 seals.",
        "0 records of calls, each as the call's last entry vouches for.",
        "Decisions and names in the server's records were as these entries say.",
        f"Key {signing.fingerprint()}: as expected.",
        "The chain is whole.",
    ]


def test_the_verifier_needs_no_newer_python_and_no_package(folder: Path) -> None:
    text = (folder / "verify.py").read_text()
    assert text == Path(verify.__file__).read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    names = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        str(node.module).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert names - {"cryptography"} <= sys.stdlib_module_names
    if (old := shutil.which("python3.8")) and run(folder, "--help", python=old).returncode == 0:
        assert run(folder, python=old).returncode == 0


def test_what_was_erased_is_gone_from_it(folder: Path) -> None:
    third = lines_of(folder / "entries.jsonl")[2]
    assert third["erased_at"] and third["salt"]
    assert third["payload"] == {"target_text": "", "before": {}, "after": {}, "reason": ""}


def test_two_exports_differ_by_what_was_done_between(
    folder: Path, team: Team, tmp_path: Path
) -> None:
    again = unpacked(team, tmp_path / "again")
    first, second = (lines_of(one / "entries.jsonl") for one in (folder, again))
    assert second[:14] == first and len(second) == 15
    assert second[14]["frame"]["action"] == "audit.export"


# --- By hand ---

Tamper = Callable[[Lines], object]


def edit(position: int, field: str, value: object) -> Tamper:
    return lambda lines: lines[position]["frame"].update({field: value})


def reword(position: int, field: str, value: object) -> Tamper:
    return lambda lines: lines[position]["payload"].update({field: value})


def rehash(lines: Lines) -> None:
    lines[4]["frame"]["actor_text"] = "Bob"
    lines[4]["hash"] = verify.hash_of(lines[4]["frame"])


def insert(lines: Lines) -> None:
    """Between the fifth and the sixth, the rest numbered anew."""
    lines.insert(5, json.loads(json.dumps(lines[4])))
    for number, line in enumerate(lines, 1):
        line["frame"]["sequence"] = number


def swap(lines: Lines) -> None:
    lines[4], lines[7] = lines[7], lines[4]


def swap_and_number(lines: Lines) -> None:
    swap(lines)
    for number, line in enumerate(lines, 1):
        line["frame"]["sequence"] = number


def blank(lines: Lines, position: int = 4) -> None:
    """As an erasure would, but for an entry that vouches for it."""
    lines[position].update(payload=dict(verify.ERASED), salt="", erased_at=lines[2]["erased_at"])


UNPROVEN = "what it says of its target was erased, and no later entry vouches for that"

ENTRIES: dict[str, tuple[Tamper, str]] = {
    "who": (edit(4, "actor_text", "Bob"), "entry 5 (number {5}): it was altered"),
    "when": (edit(0, "at", "2020-01-01T00:00:00.000000Z"), "entry 1 (number {1}): it was altered"),
    "which entry": (edit(11, "entry", 7), "entry 12 (number 7): it was altered"),
    "the digest": (edit(4, "digest", "0" * 64), "entry 5 (number {5}): it was altered"),
    "the team": (edit(4, "team", "others"), "entry 5 (number {5}): it was altered"),
    "a field more": (edit(4, "more", 1), "entry 5 (number {5}): it was altered"),
    "the words": (reword(4, "reason", "no"), "entry 5 (number {5}): what it says of its target"),
    "what was before": (reword(4, "before", {}), "entry 5 (number {5}): what it says of its"),
    "erased words": (reword(2, "reason", "no"), f"entry 3 (number {{3}}): {UNPROVEN}"),
    "blanked": (blank, f"entry 5 (number {{5}}): {UNPROVEN}"),
    "only said to be erased": (
        lambda lines: lines[4].update(erased_at="2026-01-01T00:00:00.000000Z"),
        "entry 5 (number {5}): what it says of its target was altered: it is said to be erased",
    ),
    "the redaction": (lambda lines: blank(lines, 12), "entry 13 (number {13}): what it says of"),
    "the salt": (lambda lines: lines[4].update(salt=""), "entry 5 (number {5}): what it says"),
    "hashed anew": (rehash, "entry 6 (number {6}): it does not follow the entry before it"),
    "deleted": (lambda lines: lines.pop(4), "entry 5: it is missing; the next one is number {6}"),
    "deleted first": (lambda lines: lines.pop(0), "entry 1: it is missing"),
    "swapped": (swap, "entry 5: entries 5 to 7 are missing"),
    "swapped and numbered": (swap_and_number, "entry 5 (number {8}): it was altered"),
    "twice": (lambda lines: lines.insert(5, lines[4]), "entry 5 (number {5}): it stands here agai"),
    "inserted": (insert, "entry 6 (number {5}): it was altered"),
    "cut off": (lambda lines: lines.pop(), "entry 14: it is missing: the seal names entry 14"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("how", ENTRIES)
def test_an_entry_that_was_tampered_with_is_named(folder: Path, how: str) -> None:
    tamper, said = ENTRIES[how]
    lines = lines_of(folder / "entries.jsonl")
    numbers = [""] + [str(line["frame"]["entry"]) for line in lines]
    tamper(lines)
    write(folder / "entries.jsonl", lines)
    found = run(folder)
    assert found.returncode == 1
    for place, number in enumerate(numbers):
        said = said.replace(f"{{{place}}}", number)
    assert f"NOT WHOLE. {said}" in found.stdout


def test_a_line_that_is_none_is_named(folder: Path) -> None:
    text = (folder / "entries.jsonl").read_text(encoding="utf-8").split("\n")
    (folder / "entries.jsonl").write_text("\n".join([*text[:4], text[4][:50], *text[5:]]))
    found = run(folder)
    assert found.returncode == 1 and "line 5 of entries.jsonl can't be read" in found.stdout


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["entries.jsonl", "seals.jsonl", "export.json"])
@pytest.mark.parametrize("content", [None, "", "[]", "{}", "[1]", "null\n"])
def test_files_that_are_missing_or_something_else_do_not_pass(
    folder: Path, name: str, content: str | None
) -> None:
    (folder / name).unlink() if content is None else (folder / name).write_text(content)
    found = run(folder)
    assert found.returncode == 1 and found.stderr == "" and "NOT WHOLE." in found.stdout


SEALS: dict[str, tuple[dict[str, Any], str]] = {
    "hash": ({"hash": "0" * 64}, "entry 6"),
    "place": ({"sequence": 5}, "entry 5"),
    "far place": ({"sequence": 99}, "entry 99"),
    "time": ({"at": "2020-01-01T00:00:00.000000Z"}, "entry 6"),
    "signature": ({"signature": "00" * 64}, "entry 6"),
    "no signature": ({"signature": "zz"}, "entry 6"),
    "key": ({"key": "0" * 64}, "entry 6"),
    "team": ({"team": "others"}, "the seal in seals.jsonl is none of this chain"),
}


@pytest.mark.parametrize("how", SEALS)
def test_a_seal_that_was_edited_is_named(folder: Path, how: str) -> None:
    columns, said = SEALS[how]
    lines = lines_of(folder / "seals.jsonl")
    lines[0].update(columns)
    write(folder / "seals.jsonl", lines)
    found = run(folder, bare=False)
    assert found.returncode == 1 and f"NOT WHOLE. {said}" in found.stdout, found.stdout


def cut(folder: Path, count: int) -> None:
    """To so many entries, with all in the export that spoke of more; done well but for the head."""
    lines = lines_of(folder / "entries.jsonl")[:count]
    write(folder / "entries.jsonl", lines)
    kept = [seal for seal in lines_of(folder / "seals.jsonl") if seal["sequence"] <= count]
    write(folder / "seals.jsonl", kept)
    about = json.loads((folder / "export.json").read_text())
    about.update(entries=count, hash=lines[-1]["hash"])
    (folder / "export.json").write_text(json.dumps(about))


def test_a_tail_that_was_cut_off_is_seen_from_the_seals_outside(
    team: Team, alice: User, settings: Any, tmp_path: Path
) -> None:
    settings.AUDIT_SEALS = str(tmp_path / "outside")
    chain = tampering.chain_of(team, alice)
    whole = lines_of(unpacked(team, tmp_path / "before") / "entries.jsonl")[2]
    tampering.erased(team, chain[2].pk)
    folder = unpacked(team, tmp_path / "export")
    cut(folder, 9)
    assert "the chain's last entry is under no seal" in run(folder).stdout
    cut(folder, 6)
    # The third was erased later, by what was cut off.
    assert f"NOT WHOLE. entry 3 (number {chain[2].pk}): {UNPROVEN}" in run(folder).stdout
    lines = lines_of(folder / "entries.jsonl")
    write(folder / "entries.jsonl", [*lines[:2], whole, *lines[3:]])
    assert run(folder).returncode == 0, "nothing in the export itself can tell"
    found = run(folder, "--seals", str(tmp_path / "outside" / "trip.jsonl"))
    assert found.returncode == 1
    assert "NOT WHOLE. entry 7: it is missing: the seal kept outside names entry 12" in found.stdout


def forge(folder: Path, settings: Any) -> None:
    """Everything anew from a changed entry on, signed by a key of their own."""
    settings.AUDIT_KEY = Secret(THEIRS)
    lines = lines_of(folder / "entries.jsonl")
    previous, hashes = "", {}
    lines[2]["frame"]["actor_text"] = "Bob"
    for line in lines:
        line["frame"]["previous"] = previous
        previous = line["hash"] = verify.hash_of(line["frame"])
        hashes[line["frame"]["sequence"]] = previous
    write(folder / "entries.jsonl", lines)
    made = []
    for seal in lines_of(folder / "seals.jsonl"):
        said = {name: seal[name] for name in ("version", "team", "sequence", "at")}
        said["hash"] = hashes[seal["sequence"]]
        key, signature = signing.sign(said)
        made.append({**said, "key": key, "signature": signature})
    write(folder / "seals.jsonl", made)
    about = json.loads((folder / "export.json").read_text())
    about.update(hash=previous, public_keys=[key.hex() for key in signing.public_keys().values()])
    (folder / "export.json").write_text(json.dumps(about))


@pytest.mark.parametrize("bare", [True, False])
def test_a_key_that_was_replaced_is_seen_by_who_knows_the_right_one(
    folder: Path, settings: Any, bare: bool
) -> None:
    right = signing.fingerprint()
    forge(folder, settings)
    assert run(folder, bare=bare).returncode == 0, "nothing in the export itself can tell"
    found = run(folder, "--key", right, bare=bare)
    assert found.returncode == 1
    assert (
        "NOT WHOLE. entry 6" in found.stdout
        and "the seal is signed by a key that is not the one expected" in found.stdout
    )


def test_a_forged_export_is_seen_from_the_seals_outside(
    folder: Path, settings: Any, tmp_path: Path
) -> None:
    forge(folder, settings)
    found = run(folder, "--seals", str(tmp_path / "outside" / "trip.jsonl"))
    assert found.returncode == 1 and "NOT WHOLE. entry 6" in found.stdout


# --- The rest of it ---


def test_the_report_is_for_reading_and_runs_nothing(
    team: Team, alice: User, tmp_path: Path
) -> None:
    team.name = "<script>alert(1)</script>"
    team.save()
    tampering.chain_of(team, alice)
    text = (unpacked(team, tmp_path / "export") / "report.html").read_text(encoding="utf-8")

    class Tags(HTMLParser):
        seen: set[str] = set()
        asks: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.seen.add(tag)
            self.asks += [name for name, _ in attrs if name in ("src", "href", "onload")]

    Tags().feed(text)
    assert "script" not in Tags.seen and "link" not in Tags.seen and not Tags.asks
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "Renamed the gallery" in text and "13 entries" in text and "Alice" in text
    assert "gallery.rename" not in text and "audit.export" not in text


def test_an_empty_chain_can_be_exported(team: Team, tmp_path: Path) -> None:
    folder = unpacked(team, tmp_path / "export")
    assert run(folder).stdout.splitlines()[1] == "1 entries, 1 seals."


def test_the_file_is_its_owners_alone_and_never_half_there(team: Team, tmp_path: Path) -> None:
    out = StringIO()
    call_command("audit_export", team="trip", out=tmp_path / "a.zip", reason="Court", stdout=out)
    assert (tmp_path / "a.zip").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    assert out.getvalue().splitlines()[1] == f"key {signing.fingerprint()}"
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.source, entry.reason) == ("audit.export", Source.COMMAND, "Court")
    with pytest.raises(CommandError, match="can't be written"):
        call_command("audit_export", team="trip", out=tmp_path / "no" / "a.zip")
    with pytest.raises(CommandError, match="no team"):
        call_command("audit_export", team="nobody", out=tmp_path / "b.zip")
