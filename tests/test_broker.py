"""The broker that is a folder: messages come whole, once, and in order."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection
from kombu.simple import SimpleQueue

from dashboard.broker import Transport


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
    with connection.SimpleQueue("bells") as queue:
        for number in range(20):
            queue.put({"number": number})
        assert [take(queue) for _ in range(20)] == [{"number": n} for n in range(20)]
    assert list(messages.iterdir()) == []


def test_a_message_that_was_cut_off_is_left_out(connection: Connection, messages: Path) -> None:
    (messages / "0_cut.bells.msg").write_text('{"body": "abc')
    (messages / "0_empty.bells.msg").write_text("")
    (messages / "0_binary.bells.msg").write_bytes(b"\xff\xfe\0")
    with connection.SimpleQueue("bells") as queue:
        queue.put("whole")
        assert take(queue) == "whole"
    assert list(messages.iterdir()) == []


def test_a_message_that_is_still_being_written_is_not_taken(
    connection: Connection, messages: Path
) -> None:
    (messages / ".0_half.bells.msg.draft").write_text('{"bo')
    with connection.SimpleQueue("bells") as queue, pytest.raises(queue.Empty):
        queue.get(block=False)


def test_each_message_is_taken_once_while_many_write_and_read(messages: Path) -> None:
    taken: Counter[int] = Counter()

    def write(start: int) -> None:
        with connect(messages) as connection, connection.SimpleQueue("bells") as queue:
            for number in range(start, start + 50):
                queue.put(number)

    def read() -> None:
        with connect(messages) as connection, connection.SimpleQueue("bells") as queue:
            while len(taken) < 200:
                try:
                    number = take(queue, timeout=0.2)
                except queue.Empty:
                    continue
                taken[number] += 1

    with connect(messages) as connection:  # so that nobody reads before the queue is declared
        connection.SimpleQueue("bells").close()
    threads = [threading.Thread(target=write, args=(start,)) for start in range(0, 200, 50)]
    threads += [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert taken == Counter(range(200))


def take(queue: SimpleQueue, timeout: float = 5) -> Any:
    message = queue.get(timeout=timeout)
    message.ack()
    return message.payload
