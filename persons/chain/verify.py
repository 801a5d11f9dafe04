"""Checks an export of an audit, on any machine with Python 3.8 or later:

    python verify.py [FOLDER] [--key FINGERPRINT] [--seals FILE]

FOLDER is where the export was unpacked; this file's own by default. Exit status 0: the chain is
whole. 1: it is not, and the first bad entry or record is named. Needs the standard library alone;
signatures are checked where the package `cryptography` is installed.

What is checked: that each entry names the one before it by its hash, that no number is missing,
that the hash of each entry is that of what stands in it, that what it says of people is what its
digest covers (unless that was erased), that every seal, here and in FILE, names an entry that is
there, unaltered, and that the record of each call is there and is what the last entry of that call
vouches for.
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
Said = Dict[str, Any]


# --- What is hashed -------------------------------------------------------------------------------


def canonical(value: Any) -> bytes:
    """The one way to write a JSON value: sorted keys, no spaces, UTF-8, whole numbers as such."""
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def _plain(value: Any) -> Any:
    """As a database gives it back: 1.0 and 1 are one number, keys are texts."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def salted(salt: str, value: Any) -> str:
    """Digest of something personal: without the salt, nobody can try out what it was."""
    return hashlib.sha256(salt.encode() + canonical(value)).hexdigest()


def hash_of(frame: Said) -> str:
    """Of an entry's frame, which names the entry before it by `previous`."""
    return hashlib.sha256(canonical(frame)).hexdigest()


def address_of(text: str | None) -> str:
    """An address in one spelling; those of IPv6 have many."""
    if not text or ":" not in text:
        return text or ""
    return ipaddress.ip_address(text).exploded


# --- The chain ------------------------------------------------------------------------------------


class Broken(Exception):
    """The first thing that is wrong: `sequence` is the entry's place, `entry` its number, or 0."""

    def __init__(self, sequence: int, entry: int, what: str) -> None:
        super().__init__(sequence, entry, what)
        self.sequence, self.entry, self.what = sequence, entry, what

    def __str__(self) -> str:
        if not self.sequence:
            return f"entry number {self.entry}: {self.what}" if self.entry else self.what
        number = f" (number {self.entry})" if self.entry else ""
        return f"entry {self.sequence}{number}: {self.what}"


class Seal(NamedTuple):
    """That the chain had `hash` at `sequence`. `flaw` is what is wrong with the seal itself."""

    sequence: int
    hash: str
    name: str
    flaw: str = ""


class Chain:
    """A chain as far as it was followed. `seals` come by sequence. Everything raises Broken."""

    def __init__(self, team: str, seals: Iterable[Seal] = ()) -> None:
        self.team, self.sequence, self.hash = team, 0, ""
        self.sealed = 0
        self._seals = iter(seals)
        self._next = next(self._seals, None)

    def follow(self, frame: Said, digest: str) -> None:
        """The next entry: its frame, and what its hash is said to be."""
        sequence, entry = frame["sequence"], frame["entry"]
        if sequence != self.sequence + 1:
            raise Broken(*self._misplaced(sequence, entry))
        if hash_of(frame) != digest:
            raise Broken(sequence, entry, "it was altered: its hash is not that of what it says")
        if frame["previous"] != self.hash:
            raise Broken(
                sequence, entry, "it does not follow the entry before it: one of them was altered"
            )
        if frame["team"] != self.team or frame["version"] != VERSION:
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
        """No entry is left. `sequence` and `digest` are where it should end, if that is known."""
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


# --- An export ------------------------------------------------------------------------------------

ERASED = {"target_text": "", "before": {}, "after": {}, "reason": ""}
SALT_LENGTH = 32
MOST_NAMED = 20
Signed = Callable[[Said, str, str], str]


def check(folder: Path, keys: list[str], outside: Path | None, say: Callable[[str], None]) -> Chain:
    """Raises Broken. `keys` are the fingerprints that are expected; without any, all are."""
    about = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    public = {hashlib.sha256(bytes.fromhex(one)).hexdigest(): one for one in about["public_keys"]}
    signed = _signatures(public, say)
    sources = [("the seal", folder / "seals.jsonl")]
    sources += [("the seal kept outside", outside)] if outside else []
    seals = [list(_seals(path, name, about["team"], keys, signed)) for name, path in sources]
    if not seals[0] and about["entries"]:
        raise Broken(about["entries"], 0, "it has no seal")
    chain = Chain(about["team"], heapq.merge(*(sorted(some) for some in seals)))
    calls = Calls(about["calls_until"])
    for line in _lines(folder / "entries.jsonl"):
        frame = line["frame"]
        chain.follow(frame, line["hash"])
        _demand_payload(line, frame)
        calls.add(line, frame)
    chain.end(sequence=about["entries"], digest=about["hash"])
    if chain.sealed != chain.sequence:
        raise Broken(chain.sequence, 0, "the chain's last entry is under no seal")
    used = sorted({key for key in public if not keys or key in keys})
    say(f"{chain.sequence} entries, {sum(map(len, seals))} seals.")
    _check_calls(folder / "calls.jsonl", calls, say)
    for key in used:
        said = "as expected" if keys else "compare it with what you were told, or give it as --key"
        say(f"Key {key}: {said}.")
    return chain


def _demand_payload(line: Said, frame: Said) -> None:
    if line["erased_at"]:
        if line["payload"] != ERASED or line["salt"]:
            raise Broken(frame["sequence"], frame["entry"], "it is said to be erased, and is not")
    elif salted(line["salt"], line["payload"]) != frame["digest"]:
        raise Broken(frame["sequence"], frame["entry"], "what it says of its target was altered")


class Vouched(NamedTuple):
    """What the chain says of a call: the place of its last entry, and the digest of its record by
    then, "" where that was erased. `older` are digests that the record also had since `until`."""

    sequence: int
    record: str
    older: Tuple[str, ...] = ()


class Calls:
    """The last entry of each call. The export has the records of calls that had one at `until`,
    and took them before the chain's end: one that was changed in between is as an entry from
    before the change vouches for."""

    def __init__(self, until: int | None) -> None:
        self.until = until
        self.late = 0
        self._said: Dict[int, Vouched] = {}

    def add(self, line: Said, frame: Said) -> None:
        if frame["target_type"] != "call" or not frame["action"].startswith("call."):
            return
        call, sequence = int(frame["target_id"]), frame["sequence"]
        record = "" if line["erased_at"] else str(line["payload"]["after"].get("record"))
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
    """Every call has its record, once, in order, and no other has one."""
    wanted = calls.numbers()
    if calls.until is None:
        if path.exists():
            raise Broken(0, 0, f"{path.name} is there, though it is said to be left out")
        say(f"The records of {len(wanted)} calls are NOT checked: the export was made without.")
        return
    if not path.exists():
        raise Broken(0, 0, f"{path.name} is missing")
    found, changed, erased = 0, [], []
    for line in _lines(path):
        call = line["call"]
        if found < len(wanted) and call > wanted[found]:
            break
        said = calls.get(call)
        if said is None:
            raise Broken(0, 0, f"call {call}: no entry vouches for its record")
        if found == len(wanted) or call < wanted[found]:
            raise Broken(0, 0, f"call {call}: its record stands here again, or out of order")
        how = _compare_record(line, said)
        changed += [call] if how == "older" else []
        erased += [call] if how == "erased" else []
        found += 1
    if found < len(wanted):
        call = wanted[found]
        last = calls.get(call)
        place = last.sequence if last else 0
        raise Broken(0, 0, f"call {call}: its record is missing, and entry {place} vouches for it")
    say(f"{found} records of calls, each as the call's last entry vouches for.")
    if changed:
        say(f"Of them as they were before they changed, during the export: {_some(changed)}.")
    if erased:
        say(f"NOT checked, since what their last entries said was erased: {_some(erased)}.")
    if calls.late:
        say(f"Not in it: records of calls with {calls.late} entries from during the export.")


def _compare_record(line: Said, said: Vouched) -> str:
    """How a call's line is vouched for: "last", "older", or not, since the entry was "erased"."""
    if set(line) == {"call", "salt", "record"} and len(line["salt"]) == SALT_LENGTH:
        digest = salted(line["salt"], line["record"])
        if digest == said.record:
            return "last"
        if digest in said.older:
            return "older"
        if not said.record and line["record"]["call"] == line["call"]:
            return "erased"
    raise Broken(
        0, 0, f"call {line['call']}: its record is not what entry {said.sequence} vouches for"
    )


def _some(calls: List[int]) -> str:
    shown = ", ".join(str(call) for call in calls[:MOST_NAMED])
    more = len(calls) - MOST_NAMED
    return f"{len(calls)} (calls {shown}{f' and {more} more' if more > 0 else ''})"


def _seals(path: Path, name: str, team: str, keys: list[str], signed: Signed) -> Iterator[Seal]:
    for said in _lines(path):
        key, signature = str(said.pop("key", "")), str(said.pop("signature", ""))
        sequence = said.get("sequence")
        if not isinstance(sequence, int) or said.get("team") != team:
            raise Broken(0, 0, f"{name} in {path.name} is none of this chain: {said}")
        flaw = "is signed by a key that is not the one expected" if keys and key not in keys else ""
        yield Seal(sequence, str(said.get("hash")), name, flaw or signed(said, key, signature))


def _signatures(public: dict[str, str], say: Callable[[str], None]) -> Signed:
    """What is wrong with a signature, or nothing."""

    def known(said: Said, key: str, signature: str) -> str:
        return "" if key in public else "is signed by a key that is not in the export"

    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        say("Signatures are NOT checked: the package cryptography is not installed.")
        return known

    def checked(said: Said, key: str, signature: str) -> str:
        if key not in public:
            return known(said, key, signature)
        verifier = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public[key]))
        try:
            verifier.verify(bytes.fromhex(signature), canonical(said))
        except (InvalidSignature, ValueError):
            return "was altered: its signature does not fit"
        return ""

    say("Signatures are checked.")
    return checked


def _lines(path: Path) -> Iterator[Said]:
    with path.open(encoding="utf-8", errors="surrogatepass") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line, object_pairs_hook=_once)
            except ValueError:
                raise Broken(0, 0, f"line {number} of {path.name} can't be read") from None


def _once(pairs: List[Tuple[str, Any]]) -> Said:
    """Who reads a name that is there twice might see the other value."""
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
