"""Errors of a request to a helper. Each says what to do next."""

from __future__ import annotations


class DecodingFailed(Exception):
    """Stop: opening this picture again fails the same way. The message may be shown to users."""


class DecoderDied(DecodingFailed):
    """The helper died while working on a picture; `during` says how, for the log."""

    def __init__(self, during: str = "") -> None:
        super().__init__(
            "This picture can't be opened: the program that opens pictures broke over it. "
            "Open it in a photo program, save it as a new JPEG and send that."
        )
        self.during = during


class DecoderTooSlow(DecodingFailed):
    def __init__(self) -> None:
        super().__init__(
            "This picture can't be opened: that would take too long. "
            "Open it in a photo program, save it as a new JPEG and send that."
        )


class DecoderTooLarge(DecodingFailed):
    def __init__(self) -> None:
        super().__init__(
            "This picture can't be opened: that would take too much memory. "
            "Save a smaller copy, or one as JPEG, and send that."
        )


class BadAnswer(DecodingFailed):
    """The helper's answer is invalid: hostile bytes may have taken it over."""

    def __init__(self, what: str = "") -> None:
        super().__init__(
            "This picture can't be opened: what came out of it makes no sense. "
            "Open it in a photo program, save it as a new JPEG and send that."
        )
        self.what = what


class HelperRefusal(Exception):
    """The helper refused the picture: a code for programs and a sentence for people."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class NotInside(ValueError):
    """The requested crop lies outside the picture."""


class DecodingBusy(Exception):
    """Retry later: the picture may be fine, but no helper was free in time."""

    retry_after = 5
    """Seconds to wait before a retry."""

    def __init__(self) -> None:
        super().__init__("Too many pictures are being opened at this moment. Try again soon.")
