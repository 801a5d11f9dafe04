"""This process's helpers: forked when they are needed, kept for the next picture, replaced."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from . import memory
from .errors import (
    BadAnswer,
    DecoderDied,
    DecoderTooLarge,
    DecodingBusy,
    DecodingFailed,
    HelperRefusal,
    NotInside,
)
from .helper import Helper, HelperGone
from .limits import Limits, limits
from .slots import slot
from .sources import PictureSource, as_source
from .template import HelperBroken, Template, TemplateGone

log = logging.getLogger(__name__)

_MOST_PARTS = 10_000

_DAMAGED = "truncated"
"""Refusal code after which the helper is replaced: the damaged picture may have corrupted its
memory."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A helper's answer. `data` is JSON that the caller has to validate; `parts` are its bytes."""

    data: Mapping[str, Any]
    parts: list[memory.Buffer] = field(default_factory=list, repr=False)


class Pool:
    """A pool of helpers. Safe to share between threads. Helpers end with the pool or its
    process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Helper] = []
        self._starting = threading.Lock()
        self._templates: dict[object, Template] = {}
        """By what helpers are started with, which is one thing in a process but for tests."""
        self._retired: list[Template] = []

    def ask(
        self,
        operation: str,
        what: PictureSource | bytes | memoryview | BinaryIO,
        params: Mapping[str, Any],
        patience: float | None,
    ) -> Reply:
        allowed = limits()
        patience = allowed.patience if patience is None else patience
        request = {"operation": operation, "params": dict(params)}
        with (
            as_source(what) as source,
            slot(allowed.folder, allowed.at_once, patience) as held,
        ):
            return self._ask(request, [source.fileno(), held], allowed)

    def _ask(self, request: dict[str, Any], files: list[int], allowed: Limits) -> Reply:
        """Ask a helper, and retry once in a fresh one if a reused helper fails.

        An earlier picture may have corrupted a reused helper or used up its memory, so its failure
        doesn't count against this one.
        """
        for is_last in (False, True):
            helper = self._take(allowed, fresh=is_last)
            is_fresh = helper.served == 0
            try:
                return self._ask_helper(helper, request, files, allowed)
            except HelperGone as error:
                log.warning("a helper was gone before its picture: %r", error.__cause__)
            except (DecoderDied, DecoderTooLarge) as error:
                log.warning("a helper died over a picture: %s", getattr(error, "during", "memory"))
                if is_last or is_fresh:
                    raise
        raise HelperBroken("helpers end before they begin")

    def _ask_helper(
        self, helper: Helper, request: dict[str, Any], files: list[int], allowed: Limits
    ) -> Reply:
        """Ask it, then keep or end it: whatever it failed over may have corrupted it."""
        try:
            answer, theirs = helper.ask(request, files)
            reply = _parsed(answer, theirs, allowed)
        except HelperRefusal as error:
            if error.code == _DAMAGED:
                helper.end()
            else:
                self._give_back(helper, allowed)
            raise
        except NotInside:
            self._give_back(helper, allowed)
            raise
        except HelperGone:
            helper.end()
            raise
        except DecodingFailed as error:
            helper.end()
            self._broke(helper)
            if not isinstance(error, DecoderDied | DecoderTooLarge):
                log.warning("a helper was ended: %r", error)
            raise
        except BaseException:
            helper.end()
            self._broke(helper)
            raise
        self._give_back(helper, allowed)
        return reply

    def _take(self, allowed: Limits, *, fresh: bool) -> Helper:
        gone: list[Helper] = []
        found = None
        with self._lock:
            kept = []
            while self._idle:
                one = self._idle.pop()
                if one.limits != allowed or one.template.has_broken or not one.is_alive():
                    gone.append(one)
                elif found is None and not fresh:
                    found = one
                else:
                    kept.append(one)
            self._idle = kept[::-1]
        for one in gone:
            one.end()
        return found or self._forked(allowed)

    def _forked(self, allowed: Limits) -> Helper:
        for _ in range(2):
            template = self._template_for(allowed)
            try:
                return Helper(template, allowed)
            except TemplateGone:
                self._retire(template)
        raise HelperBroken("helpers end before they begin")

    def _template_for(self, allowed: Limits) -> Template:
        """The template for these limits, started if need be; other threads wait meanwhile."""
        with self._starting:
            template = self._templates.get(allowed.of_helper)
            if template is None or not template.may_fork():
                if template:
                    self._retire(template)
                self._templates[allowed.of_helper] = template = Template(allowed)
            return template

    def _broke(self, helper: Helper) -> None:
        helper.template.has_broken = True
        self._retire(helper.template)

    def _retire(self, template: Template) -> None:
        """Its helpers may end their work; new ones are another's."""
        template.retire()
        with self._lock:
            if template not in self._retired:
                self._retired.append(template)
            # Asking lets those go that have ended.
            self._retired = [one for one in self._retired if not one.has_ended()]

    def _give_back(self, helper: Helper, allowed: Limits) -> None:
        if helper.served < allowed.pictures and not helper.template.has_broken:
            with self._lock:
                if len(self._idle) < allowed.at_once:
                    self._idle.append(helper)
                    return
        helper.end(patience=1)

    def close(self) -> None:
        """Helpers that are at work end with their template."""
        with self._lock:
            idle, self._idle = self._idle, []
            templates = self._all_templates()
        for helper in idle:
            helper.end(patience=0.5)
        for template in templates:
            template.end()

    def pids(self) -> list[int]:
        """Process ids of the idle helpers."""
        with self._lock:
            return [helper.pid for helper in self._idle]

    def forget(self) -> None:
        """Drop everything after a fork: helpers belong to the parent, and its lock may be held."""
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        idle, self._idle = self._idle, []
        for helper in idle:
            helper.forget()
        for template in self._all_templates():
            template.forget()

    def _all_templates(self) -> set[Template]:
        """Nobody uses them from now on."""
        found = {*self._retired, *self._templates.values()}
        self._retired, self._templates = [], {}
        return found


def _parsed(answer: dict[str, Any], files: list[int], allowed: Limits) -> Reply:
    """Return the reply, or raise the error that the helper reports. Raises BadAnswer for an
    invalid answer."""
    try:
        match answer:
            case {"done": dict(data), "sizes": list(sizes)}:
                return Reply(data, _parts(sizes, files, allowed))
            case {"refused": str(code), "text": str(text)} if len(code) < 50 and len(text) < 1000:
                raise HelperRefusal(code, text)
            case {"outside": str(text)}:
                raise NotInside(text[:200])
            case {"exhausted": True}:
                raise DecoderTooLarge
            case {"errno": int(number)} if 0 < number < 200:
                raise OSError(number, os.strerror(number))
            case {"broke": str(what)}:
                raise DecoderDied(what[:200])
            case _:
                raise BadAnswer("of no kind that is known")
    finally:
        for one in files:
            os.close(one)


def _parts(sizes: list[Any], files: list[int], allowed: Limits) -> list[memory.Buffer]:
    if len(sizes) > _MOST_PARTS or not all(type(one) is int and one >= 0 for one in sizes):
        raise BadAnswer("its sizes are none")
    whole = sum(sizes)
    if whole > allowed.answer or len(files) != bool(sizes):
        raise BadAnswer("it is too large, or not there")
    if not sizes:
        return []
    try:
        data = memoryview(memory.read(files[0], whole))
    except ValueError as error:
        raise BadAnswer(str(error)) from error
    parts: list[memory.Buffer] = []
    start = 0
    for size in sizes:
        parts.append(data[start : start + size])
        start += size
    return parts


_pool = Pool()
atexit.register(_pool.close)
os.register_at_fork(after_in_child=_pool.forget)


def ask(
    operation: str,
    what: PictureSource | bytes | memoryview | BinaryIO,
    *,
    patience: float | None = None,
    **params: Any,
) -> Reply:
    """Have a helper run one of its operations on a picture.

    Raises Refusal and NotInside as reported by the operation; DecodingFailed if the picture breaks
    the helper; DecodingBusy if no helper was free or none could be started; OSError if the file
    can't be read.
    """
    try:
        return _pool.ask(operation, what, params, patience)
    except (HelperBroken, BlockingIOError) as error:
        log.error("%s", error)
        raise DecodingBusy from error


def close() -> None:
    """End the idle helpers; the next picture starts new ones."""
    _pool.close()


def idle_helpers() -> list[int]:
    """Process ids of the idle helpers."""
    return _pool.pids()
