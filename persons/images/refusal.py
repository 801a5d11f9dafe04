"""Why a file can't come in, as a code for programs and a sentence for the person who sent it."""

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


class ImageRefused(Exception):
    """This file is not taken, and trying it again won't help. `str(e)` may be shown as it is."""

    def __init__(self, code: Refusal, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code

    def __reduce__(self) -> tuple[type[ImageRefused], tuple[Refusal, str]]:
        # The default passes `args` alone, which would lose the code between processes.
        return type(self), (self.code, str(self))
