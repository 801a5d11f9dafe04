"""Why a file is refused: a code for programs and a sentence for the uploader."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    ANIMATED = "animated"
    TRUNCATED = "truncated"
    TOO_LARGE_BYTES = "too_large_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"
    UNREADABLE = "unreadable"
    """The decoder crashed, timed out or ran out of memory."""


class ImageRefused(Exception):
    """The file is refused, and retrying won't help. `str(e)` may be shown to users."""

    def __init__(self, code: Refusal, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code

    def __reduce__(self) -> tuple[type[ImageRefused], tuple[Refusal, str]]:
        # The default pickles `args` alone, which would lose the code between processes.
        return type(self), (self.code, str(self))
