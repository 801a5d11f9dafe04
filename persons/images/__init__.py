"""Everything done to pixels: check, orient, strip, shrink, crop, and copy for sending.

    file -> inspect() -> Inspected            at upload: is it accepted, and what is it
    file -> open_oriented() -> PIL image      in a worker, once per photo
    file -> full_size()                       the full-resolution view for pages
    image -> renditions()                     the sizes that pages show
    image -> sent_copy()                      the copy sent to Vision, and the box mapping back
    file -> camera_facts()                    camera metadata for the photo's page
    image -> crop_face(), enrolment_crop()    one face of the photo
    bytes -> stripped()                       an original without private metadata
    bytes -> fitted()                         a client's picture within a recogniser's limits

Pure functions on files, bytes and PIL images; nothing here depends on the database, storage or
Django. `image` is always the result of `open_oriented`: 8-bit RGB in sRGB, upright. Image outputs
hold no metadata (EXIF, GPS, ICC, XMP, comments); what `stripped` keeps is set by its caller.
"""

from .colour import open_oriented
from .copies import SentCopy, map_box, renditions, sent_copy
from .crops import crop_face, enrolment_crop
from .dates import taken_at_of
from .facts import CameraFacts, camera_facts
from .formats import ACCEPTED, FORMATS, LISTED, Format, foreign_format
from .inspecting import Inspected, inspect
from .keeping import Keep
from .names import clean_name
from .opening import MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE, pixel_size
from .refusal import ImageRefused, Refusal
from .stripping import Stripped, shared_whole, stripped, stripped_suffix
from .wire import Fitted, fitted
from .zooming import full_size

__all__ = [
    "ACCEPTED",
    "FORMATS",
    "LISTED",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "CameraFacts",
    "Fitted",
    "Format",
    "ImageRefused",
    "Inspected",
    "Keep",
    "Refusal",
    "SentCopy",
    "Stripped",
    "camera_facts",
    "clean_name",
    "crop_face",
    "enrolment_crop",
    "fitted",
    "foreign_format",
    "full_size",
    "inspect",
    "map_box",
    "open_oriented",
    "pixel_size",
    "renditions",
    "sent_copy",
    "shared_whole",
    "stripped",
    "stripped_suffix",
    "taken_at_of",
]
