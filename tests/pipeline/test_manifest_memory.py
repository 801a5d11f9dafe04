"""Reading a snapshot's manifest takes no more memory than its actual contents."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable

import pytest

from persons.pipeline.spaces import manifests
from persons.pipeline.spaces.manifest_entries import BadJSON, Document
from persons.pipeline.spaces.manifests import SnapshotError

HEAD = b'{"format":"rollcall-space","version":1,'


def peak_of(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.thorough
@pytest.mark.parametrize(
    "data",
    [
        HEAD + b'"people":[' + b"{}," * 1_000_000 + b"{}]}",
        HEAD + b'"people":[' + b"[" * 500_000,
        HEAD + b'"enrolments":[' + b"0," * 1_000_000 + b"0]}",
        HEAD + b'"space":[' + b"{}," * 1_000_000 + b"{}]}",
        HEAD + b'"people":[{"id":1,"notes":[' + b"{}," * 1_000_000,
        b'{"people":[' + b"{}," * 1_000_000,
        b"[" + b"{}," * 1_000_000,
        HEAD + b'"x":"' + b"y" * 3_000_000,
    ],
)
def test_a_file_that_is_made_to_be_large_in_memory_is_refused_early(data: bytes) -> None:
    def read() -> None:
        with pytest.raises(SnapshotError):
            manifests.parse(data)

    # As a whole these had up to 90 MB.
    assert peak_of(read) < 40_000_000


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_a_document_reads_the_same_in_pieces_of_any_size(step: int) -> None:
    told = {"a": 12, "список": [{"x": 'я\U0001f600\\" ]}'}, {}, {"y": [1.5, None, True]}], "b": ""}
    data = json.dumps(told, ensure_ascii=False, indent=1).encode()
    left = [data[at : at + step] for at in range(0, len(data), step)][::-1]
    document = Document(lambda size: left.pop() if left else b"")
    found = {
        name: list(document.entries()) if document.is_list() else document.value()
        for name in document.members()
    }
    assert found == told


@pytest.mark.parametrize(
    "text", ["", "{", '{"a"', '{"a":}', '{"a":1,}', '{"a":1}x', "{1:2}", '{"a":1 "b":2}', "\xff"]
)
def test_what_is_no_json_is_refused(text: str) -> None:
    left = [text.encode("latin-1")]
    document = Document(lambda size: left.pop() if left else b"")
    with pytest.raises(BadJSON):
        {name: document.value() for name in document.members()}
