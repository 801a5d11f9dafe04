"""The filesystem broker delivers each message whole, once, and in order."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection
from kombu.simple import SimpleQueue

from dashboard.broker import Transport, delete_obsolete_messages
from tests.support.processes import PATIENCE


@pytest.fixture
def messages(tmp_path: Path) -> Path:
    for name in ("messages", "control"):
        (tmp_path / name).mkdir()
    # What Kombu remembers of another folder's queues.
    Transport.global_state.clear()
    return tmp_path / "messages"


@pytest.fixture
def connection(messages: Path) -> Iterator[Connection]:
    with connect(messages) as connection:
        yield connection


def connect(messages: Path) -> Connection:
    return Connection(
        "filesystem://",
        transport="dashboard.broker:Transport",
        transport_options={
            "data_folder_in": str(messages),
            "data_folder_out": str(messages),
            "control_folder": str(messages.parent / "control"),
        },
    )


def test_messages_come_in_order_and_leave_nothing(connection: Connection, messages: Path) -> None:
    with connection.SimpleQueue("celery") as queue:
        for number in range(20):
            queue.put({"number": number})
        assert [take(queue) for _ in range(20)] == [{"number": n} for n in range(20)]
    assert files_in(messages) == []


def test_a_message_that_was_cut_off_is_left_out(connection: Connection, messages: Path) -> None:
    (messages / "celery").mkdir()
    (messages / "celery" / "0_cut.msg").write_text('{"body": "abc')
    (messages / "celery" / "0_empty.msg").write_text("")
    (messages / "celery" / "0_binary.msg").write_bytes(b"\xff\xfe\0")
    with connection.SimpleQueue("celery") as queue:
        queue.put("whole")
        assert take(queue) == "whole"
    assert files_in(messages) == []


def test_a_message_that_is_still_being_written_is_not_taken(
    connection: Connection, messages: Path
) -> None:
    (messages / "celery").mkdir()
    (messages / "celery" / ".0_half.draft").write_text('{"bo')
    with connection.SimpleQueue("celery") as queue, pytest.raises(queue.Empty):
        queue.get(block=False)


def test_each_message_is_taken_once_while_many_write_and_read(messages: Path) -> None:
    taken: Counter[int] = Counter()

    def write(start: int) -> None:
        with connect(messages) as connection, connection.SimpleQueue("celery") as queue:
            for number in range(start, start + 50):
                queue.put(number)

    def read() -> None:
        with connect(messages) as connection, connection.SimpleQueue("celery") as queue:
            while len(taken) < 200:
                try:
                    number = take(queue, timeout=0.2)
                except queue.Empty:
                    continue
                taken[number] += 1

    with connect(messages) as connection:  # so that nobody reads before the queue is declared
        connection.SimpleQueue("celery").close()
    threads = [threading.Thread(target=write, args=(start,)) for start in range(0, 200, 50)]
    threads += [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE)
    assert taken == Counter(range(200))


def files_in(messages: Path) -> list[str]:
    return sorted(path.name for path in messages.rglob("*") if path.is_file())


def test_a_message_that_says_what_another_says_is_dropped_while_that_one_waits(
    connection: Connection, messages: Path
) -> None:
    with connection.SimpleQueue("celery") as queue:
        for _ in range(3):
            for name in ("prepare", "sync"):
                queue.put(name, headers=said(name))
        assert len(files_in(messages)) == queue.qsize() == 2
        assert [take(queue), take(queue)] == ["prepare", "sync"], "each keeps its place"
        queue.put("sync", headers=said("sync"))
        assert take(queue) == "sync", "what was taken is enqueued again"
        for _ in range(3):
            queue.put("a question", headers={"task": "celery.ping", "argsrepr": "()"})
        assert queue.qsize() == 3, "other programs' messages are left as they are"
        assert queue.clear() == 3
    assert files_in(messages) == []


def said(name: str) -> dict[str, str]:
    return {"task": "persons.tasks.work", "argsrepr": f"({name!r},)", "kwargsrepr": "{}"}


def test_a_queue_costs_the_same_whatever_an_earlier_version_left(
    connection: Connection, messages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        (messages / f"{number}_{number}.celery.msg").write_text("{}")
    listed: list[str] = []
    original = os.scandir

    def scandir(path: Any) -> Any:
        listed.append(Path(path).name)
        return original(path)

    monkeypatch.setattr("dashboard.broker.os.scandir", scandir)
    with connection.SimpleQueue("celery") as queue:
        queue.put("new")
        assert take(queue) == "new"
    assert set(listed) == {"celery"}, "the folder of old messages is not looked into"
    assert delete_obsolete_messages(messages) == 300
    assert files_in(messages) == []


def take(queue: SimpleQueue, timeout: float = 5) -> Any:
    message = queue.get(timeout=timeout)
    message.ack()
    return message.payload
