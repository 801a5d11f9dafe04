from __future__ import annotations


class Refused(Exception):
    """What was asked can't be done; the text tells a user why and what to do instead."""
