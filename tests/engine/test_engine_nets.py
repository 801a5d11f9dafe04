"""Nets are shared by threads: few of them, and never one by two threads at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from persons.engine.nets import Nets


class Net:
    """Notices whoever else uses it meanwhile."""

    def __init__(self) -> None:
        self._mine = threading.Lock()

    def run(self) -> None:
        assert self._mine.acquire(blocking=False)
        # Another thread gets its turn here.
        threading.Event().wait(0.001)
        self._mine.release()


def made_by(count: list[Net]) -> Net:
    net = Net()
    count.append(net)
    return net


def test_sixteen_threads_share_two_nets_without_meeting() -> None:
    made: list[Net] = []
    nets = Nets(lambda: made_by(made), most=2)

    def use(_: int) -> None:
        with nets.lent() as net:
            net.run()

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(use, range(64)))
    assert 1 <= len(made) <= 2


def test_one_after_the_other_needs_one_net() -> None:
    made: list[Net] = []
    nets = Nets(lambda: made_by(made), most=8)
    for _ in range(5):
        with nets.lent() as net:
            net.run()
    assert len(made) == 1


def test_a_net_that_failed_is_not_used_again_and_its_place_is_free() -> None:
    made: list[Net] = []
    nets = Nets(lambda: made_by(made), most=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), nets.lent():
            raise ValueError("broken")
    assert len(made) == 3


def test_a_net_that_can_not_be_loaded_keeps_no_place() -> None:
    def load() -> Net:
        raise FileNotFoundError

    nets = Nets(load, most=1)
    for _ in range(3):
        with pytest.raises(FileNotFoundError), nets.lent():
            pass
