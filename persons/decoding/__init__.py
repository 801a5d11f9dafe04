"""Opens untrusted pictures in helper processes: the client side, with the pool of helpers.

`ask` hands one picture to a helper and returns its answer, or raises an error that says what to do
next: `DecodingFailed` (this picture can never be opened), `DecodingBusy` (try again), or OSError.
The helper's own code is `persons.decoders`, which is started by name and never imported. Depends
on neither Django nor Pillow; `persons.pictures` and `persons.engine` use it.
"""

from .errors import DecoderDied, DecodingBusy, DecodingFailed, HelperRefusal
from .limits import Limits, configure
from .pool import Reply, ask
from .sources import PictureSource

__all__ = [
    "DecoderDied",
    "DecodingBusy",
    "DecodingFailed",
    "HelperRefusal",
    "Limits",
    "PictureSource",
    "Reply",
    "ask",
    "configure",
]
