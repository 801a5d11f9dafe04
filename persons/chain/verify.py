"""Verifies an export of an audit, on any machine with Python 3.8 or later:

    python verify.py [FOLDER] [--key FINGERPRINT] [--seals FILE]

FOLDER is where the export was unpacked, by default the folder of this file. Exit status 0 means
that the chain is whole; 1 that it is not, and the first bad entry or record is named. Only the
standard library is needed. Signatures are checked if the package `cryptography` is installed.

The checks:

- Sequence numbers have no gaps, and each entry contains the hash of the entry before it.
- Each entry's hash matches its frame.
- Each entry's payload matches its digest, or a later entry of the chain vouches for its redaction.
- Every seal, here and in FILE, matches an entry of the chain.
- Every call has a record, which matches the digest in the call's last audit entry.
- When the export was made, the server found no differences to its own decisions and names.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import ipaddress
import json
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Tuple

VERSION = 1
"""Version of the export format and of seals."""
FRAME_VERSION = 2
"""Frame version of new entries. Entries of version 1 predate signed redactions."""
FRAME_VERSIONS = (1, FRAME_VERSION)
REDACT, UPGRADE = "audit.redact", "audit.upgrade"
"""Actions of entries that vouch for redactions. UPGRADE covers those that predate signing, once."""
Fields = Dict[str, Any]


# --- Hashing --------------------------------------------------------------------------------------


def canonical(value: Any) -> bytes:
    """Canonical JSON of a value: sorted keys, no spaces, UTF-8, whole floats as integers."""
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def _plain(value: Any) -> Any:
    """The value as a database returns it: 1.0 becomes 1, keys become texts."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def salted(salt: str, value: Any) -> str:
    """Salted SHA-256 of personal data. Without the salt, guesses can't be tested against it."""
    return hashlib.sha256(salt.encode() + canonical(value)).hexdigest()


def hash_of(frame: Fields) -> str:
    """Hash of an entry's frame. Its `previous` is the hash of the entry before it."""
    return hashlib.sha256(canonical(frame)).hexdigest()


def address_of(text: str | None) -> str:
    """The address in one canonical spelling; IPv6 allows several."""
    if not text or ":" not in text:
        return text or ""
    return ipaddress.ip_address(text).exploded


# --- The chain ------------------------------------------------------------------------------------


class Broken(Exception):
    """The first problem found, with `sequence` and id (`entry`) of the bad entry; 0 if unknown."""

    def __init__(self, sequence: int, entry: int, what: str) -> None:
        super().__init__(sequence, entry, what)
        self.sequence, self.entry, self.what = sequence, entry, what

    def __str__(self) -> str:
        if not self.sequence:
            return f"entry number {self.entry}: {self.what}" if self.entry else self.what
        number = f" (number {self.entry})" if self.entry else ""
        return f"entry {self.sequence}{number}: {self.what}"


class Seal(NamedTuple):
    """States that the chain had `hash` at `sequence`. `flaw` is a problem of the seal itself."""

    sequence: int
    hash: str
    name: str
    flaw: str = ""


class Chain:
    """A chain verified entry by entry. `seals` are in order of sequence. Methods raise Broken."""

    def __init__(self, team: str, seals: Iterable[Seal] = ()) -> None:
        self.team, self.sequence, self.hash = team, 0, ""
        self.sealed = 0
        self._seals = iter(seals)
        self._next = next(self._seals, None)

    def follow(self, frame: Fields, digest: str) -> None:
        """Verify the next entry: its frame against the recorded hash `digest`."""
        sequence, entry = frame["sequence"], frame["entry"]
        if sequence != self.sequence + 1:
            raise Broken(*self._misplaced(sequence, entry))
        if hash_of(frame) != digest:
            raise Broken(sequence, entry, "it was altered: its hash is not that of what it says")
        if frame["previous"] != self.hash:
            raise Broken(
                sequence, entry, "it does not follow the entry before it: one of them was altered"
            )
        if frame["team"] != self.team or frame["version"] not in FRAME_VERSIONS:
            raise Broken(sequence, entry, "it is of another chain")
        self.sequence, self.hash = sequence, digest
        while self._next is not None and self._next.sequence <= sequence:
            self._compare(self._next, entry)

    def _misplaced(self, sequence: int, entry: int) -> tuple[int, int, str]:
        missing = self.sequence + 1
        if sequence <= self.sequence:
            return sequence, entry, "it stands here again, or out of order"
        if sequence == missing + 1:
            return missing, 0, f"it is missing; the next one is number {entry}"
        return missing, 0, f"entries {missing} to {sequence - 1} are missing"

    def _compare(self, seal: Seal, entry: int) -> None:
        if seal.flaw:
            raise Broken(seal.sequence, entry, f"{seal.name} {seal.flaw}")
        if seal.sequence < self.sequence:
            raise Broken(seal.sequence, 0, f"{seal.name} is out of order")
        if seal.hash != self.hash:
            raise Broken(
                seal.sequence,
                entry,
                f"it is not the one that {seal.name} names: it, or one after entry {self.sealed}, "
                "was altered, or an older backup was restored",
            )
        self.sealed = self.sequence
        self._next = next(self._seals, None)

    def end(self, *, sequence: int | None = None, digest: str = "") -> None:
        """Verify the end, after the last entry. `sequence` and `digest` are the expected head."""
        if self._next is not None:
            if self._next.flaw:
                raise Broken(self._next.sequence, 0, f"{self._next.name} {self._next.flaw}")
            raise Broken(
                self.sequence + 1,
                0,
                f"it is missing: {self._next.name} names entry {self._next.sequence}, so the end "
                "was cut off, or an older backup was restored",
            )
        if sequence is None:
            return
        if self.sequence < sequence:
            raise Broken(self.sequence + 1, 0, f"it is missing: the chain has {sequence} entries")
        if self.sequence != sequence or self.hash != digest:
            raise Broken(self.sequence, 0, "the chain's head names another one")


# --- Redactions -----------------------------------------------------------------------------------

ERASED = {"target_text": "", "before": {}, "after": {}, "reason": ""}
BLANK = salted("", ERASED)
"""Digest of a payload blanked before redactions were signed. Those removed everything."""


class Blanked(NamedTuple):
    """A redacted entry. `digest` is in its frame, `now` is the digest of what is left."""

    sequence: int
    entry: int
    version: int
    digest: str
    now: str


class Redactions:
    """Redacted entries, and the later entries that vouch for them.

    An entry with the action REDACT lists in `redacted` what it vouches for: id and sequence of each
    entry, and its digest before and after. UPGRADE occurs once in a chain. It vouches for entries
    that were blanked before redactions were signed, and only for frames of version 1.
    """

    def __init__(self) -> None:
        self.unsigned: List[int] = []
        """Sequences of entries that were blanked before redactions were signed."""
        self.is_signed = False
        """Whether the chain has an entry of the version with signed redactions."""
        self._blanked: Dict[int, Blanked] = {}
        self._steps: Dict[int, List[Tuple[str, str, bool]]] = {}
        self._upgrade = 0

    def add(self, frame: Fields, payload: Fields, salt: str, erased: bool) -> None:
        """Add each entry, in order of the chain. `erased` is whether it is marked as redacted."""
        sequence, entry = frame["sequence"], frame["entry"]
        self.is_signed = self.is_signed or frame["version"] == FRAME_VERSION
        now = salted(salt, payload)
        if erased and (frame["action"] in (REDACT, UPGRADE) or now == frame["digest"]):
            raise Broken(
                sequence,
                entry,
                "what it says of its target was altered: it is said to be erased, and is not",
            )
        if erased:
            self._blanked[entry] = Blanked(sequence, entry, frame["version"], frame["digest"], now)
        elif now != frame["digest"]:
            raise Broken(sequence, entry, "what it says of its target was altered")
        if frame["action"] in (REDACT, UPGRADE):
            self.vouch(frame, payload["after"])

    def vouch(self, frame: Fields, after: Fields) -> None:
        """Add what a REDACT or UPGRADE entry vouches for. `after` is the entry's own."""
        is_upgrade = frame["action"] == UPGRADE
        if is_upgrade and self._upgrade not in (0, frame["entry"]):
            raise Broken(frame["sequence"], frame["entry"], "what was old is vouched for only once")
        if is_upgrade:
            self._upgrade = frame["entry"]
        for entry, _, old, new in after["redacted"]:
            if entry < frame["entry"]:
                self._steps.setdefault(entry, []).append((old, new, is_upgrade))

    def demand(self) -> None:
        """Verify, after the last entry, that every redaction is vouched for.

        Raises Broken otherwise.
        """
        for one in sorted(self._blanked.values()):
            now, reached = one.digest, set()
            for before, after, is_upgrade in self._steps.get(one.entry, ()):
                if before == now and (one.version == 1 or not is_upgrade):
                    now = after
                    reached.add(now)
                    if is_upgrade:
                        self.unsigned.append(one.sequence)
            if one.now in reached:
                continue
            if not self.is_signed and one.now == BLANK:
                self.unsigned.append(one.sequence)
                continue
            raise Broken(
                one.sequence,
                one.entry,
                "what it says of its target was erased, and no later entry vouches for that: "
                "it was altered",
            )


# --- An export ------------------------------------------------------------------------------------

SALT_LENGTH = 32
MOST_NAMED = 20
Signed = Callable[[Fields, str, str], str]


def check(folder: Path, keys: list[str], outside: Path | None, say: Callable[[str], None]) -> Chain:
    """Verify the export in `folder`. Raises Broken.

    `keys` are fingerprints of the accepted keys; empty means any key of the export. `outside` is a
    file of further seals. `say` prints a line of the report.
    """
    about = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    public = {hashlib.sha256(bytes.fromhex(one)).hexdigest(): one for one in about["public_keys"]}
    signed = _signatures(public, say)
    sources = [("the seal", folder / "seals.jsonl")]
    sources += [("the seal kept outside", outside)] if outside else []
    seals = [list(_seals(path, name, about["team"], keys, signed)) for name, path in sources]
    if not seals[0] and about["entries"]:
        raise Broken(about["entries"], 0, "it has no seal")
    chain = Chain(about["team"], heapq.merge(*(sorted(some) for some in seals)))
    calls, redactions = Calls(about["calls_until"]), Redactions()
    for line in _lines(folder / "entries.jsonl"):
        frame = line["frame"]
        chain.follow(frame, line["hash"])
        redactions.add(frame, line["payload"], line["salt"], bool(line["erased_at"]))
        calls.add(line, frame)
    chain.end(sequence=about["entries"], digest=about["hash"])
    if chain.sealed != chain.sequence:
        raise Broken(chain.sequence, 0, "the chain's last entry is under no seal")
    redactions.demand()
    used = sorted({key for key in public if not keys or key in keys})
    say(f"{chain.sequence} entries, {sum(map(len, seals))} seals.")
    if redactions.unsigned:
        places = _some("entries", redactions.unsigned)
        say(f"Blanked before redactions were signed, which nothing but the upgrade says: {places}.")
    _check_calls(folder / "calls.jsonl", calls, say)
    if about.get("decisions"):
        raise Broken(0, 0, f"the server's own records, when this was made: {about['decisions']}")
    if "decisions" in about:
        say("Decisions and names in the server's records were as these entries say.")
    for key in used:
        note = "as expected" if keys else "compare it with what you were told, or give it as --key"
        say(f"Key {key}: {note}.")
    return chain


class Vouched(NamedTuple):
    """What the chain says about a call: `sequence` of its last entry, and its record's digest.

    `record` is "" if the entry gives no digest. `older` are digests in earlier entries. The record
    may match one of these instead if it changed during the export.
    """

    sequence: int
    record: str
    older: Tuple[str, ...] = ()


class Calls:
    """The last entry of each call.

    The export contains the records of calls that had an entry at `until`. It reads the records
    before the end of the chain, so a call that changed in between may match an older entry.
    `until` is None for an export without records. `late` counts entries of calls without a record.
    """

    def __init__(self, until: int | None) -> None:
        self.until = until
        self.late = 0
        self._said: Dict[int, Vouched] = {}

    def add(self, line: Fields, frame: Fields) -> None:
        if frame["target_type"] != "call" or not frame["action"].startswith("call."):
            return
        call, sequence = int(frame["target_id"]), frame["sequence"]
        record = str(line["payload"]["after"].get("record") or "")
        before = self._said.get(call)
        if self.until is None or sequence <= self.until:
            self._said[call] = Vouched(sequence, record)
        elif before is not None:
            self._said[call] = Vouched(sequence, record, (*before.older, before.record))
        else:
            self.late += 1

    def get(self, call: int) -> Vouched | None:
        return self._said.get(call)

    def numbers(self) -> List[int]:
        return sorted(self._said)


def _check_calls(path: Path, calls: Calls, say: Callable[[str], None]) -> None:
    """Verify that the records are exactly those of the calls, once each and in order."""
    wanted = calls.numbers()
    if calls.until is None:
        if path.exists():
            raise Broken(0, 0, f"{path.name} is there, though it is said to be left out")
        say(f"The records of {len(wanted)} calls are NOT checked: the export was made without.")
        return
    if not path.exists():
        raise Broken(0, 0, f"{path.name} is missing")
    found, changed = _check_records(path, calls, wanted)
    say(f"{found} records of calls, each as the call's last entry vouches for.")
    if changed:
        some = _some("calls", changed)
        say(f"Of them as they were before they changed, during the export: {some}.")
    if calls.late:
        say(f"Not in it: records of calls with {calls.late} entries from during the export.")


def _check_records(path: Path, calls: Calls, wanted: List[int]) -> Tuple[int, List[int]]:
    """(number of records, calls whose record is older than their last entry)"""
    found, changed = 0, []
    for line in _lines(path):
        call = line["call"]
        if found < len(wanted) and call > wanted[found]:
            break
        vouched = calls.get(call)
        if vouched is None:
            raise Broken(0, 0, f"call {call}: no entry vouches for its record")
        if found == len(wanted) or call < wanted[found]:
            raise Broken(0, 0, f"call {call}: its record stands here again, or out of order")
        changed += [call] if _compare_record(line, vouched) == "older" else []
        found += 1
    if found < len(wanted):
        call = wanted[found]
        last = calls.get(call)
        place = last.sequence if last else 0
        raise Broken(0, 0, f"call {call}: its record is missing, and entry {place} vouches for it")
    return found, changed


def _compare_record(line: Fields, vouched: Vouched) -> str:
    """Which entry vouches for a call's record: "last" or "older". Raises Broken if none does."""
    if set(line) == {"call", "salt", "record"} and len(line["salt"]) == SALT_LENGTH:
        digest = salted(line["salt"], line["record"])
        if digest == vouched.record:
            return "last"
        if digest in vouched.older:
            return "older"
    if not vouched.record:
        raise Broken(0, 0, f"call {line['call']}: nothing vouches for its record")
    raise Broken(
        0, 0, f"call {line['call']}: its record is not what entry {vouched.sequence} vouches for"
    )


def _some(what: str, numbers: List[int]) -> str:
    shown = ", ".join(str(one) for one in numbers[:MOST_NAMED])
    more = len(numbers) - MOST_NAMED
    return f"{len(numbers)} ({what} {shown}{f' and {more} more' if more > 0 else ''})"


def _seals(path: Path, name: str, team: str, keys: list[str], signed: Signed) -> Iterator[Seal]:
    for seal in _lines(path):
        key, signature = str(seal.pop("key", "")), str(seal.pop("signature", ""))
        sequence = seal.get("sequence")
        if not isinstance(sequence, int) or seal.get("team") != team:
            raise Broken(0, 0, f"{name} in {path.name} is none of this chain: {seal}")
        flaw = "is signed by a key that is not the one expected" if keys and key not in keys else ""
        yield Seal(sequence, str(seal.get("hash")), name, flaw or signed(seal, key, signature))


def _signatures(public: dict[str, str], say: Callable[[str], None]) -> Signed:
    """A function that returns what is wrong with a signature, "" if nothing is."""

    def known(seal: Fields, key: str, signature: str) -> str:
        return "" if key in public else "is signed by a key that is not in the export"

    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        say("Signatures are NOT checked: the package cryptography is not installed.")
        return known

    def checked(seal: Fields, key: str, signature: str) -> str:
        if key not in public:
            return known(seal, key, signature)
        verifier = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public[key]))
        try:
            verifier.verify(bytes.fromhex(signature), canonical(seal))
        except (InvalidSignature, ValueError):
            return "was altered: its signature does not fit"
        return ""

    say("Signatures are checked.")
    return checked


def _lines(path: Path) -> Iterator[Fields]:
    with path.open(encoding="utf-8", errors="surrogatepass") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line, object_pairs_hook=_once)
            except ValueError:
                raise Broken(0, 0, f"line {number} of {path.name} can't be read") from None


def _once(pairs: List[Tuple[str, Any]]) -> Fields:
    """Refuse duplicate names: another JSON parser might use the other value."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks an export of Rollcall's audit.")
    here = Path(__file__).resolve().parent
    parser.add_argument("folder", nargs="?", type=Path, default=here, help="of the export")
    parser.add_argument("--key", action="append", default=[], help="fingerprint that is expected")
    parser.add_argument("--seals", type=Path, help="seals that were kept outside, one a line")
    asked = parser.parse_args()
    try:
        check(asked.folder, asked.key, asked.seals, print)
    except Broken as broken:
        print(f"NOT WHOLE. {broken}.")
        return 1
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        print(f"NOT WHOLE. The export can't be read: {type(error).__name__}: {error}.")
        return 1
    print("The chain is whole.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
