"""Everything that is done to pixels: check, orient, strip, shrink, cut, and copy for sending.

    file -> inspect() -> Inspected            at upload: may it come in, and what is it
    file -> open_oriented() -> PIL image      in a worker, once per photo
    image -> renditions()                     what pages show
    image -> sent_copy()                      what Vision is shown, and the way back for its boxes
    file -> camera_facts()                    what the camera wrote into it, for its page
    image -> crop_face(), enrolment_crop()    one face of it
    bytes -> stripped()                       an original for strangers

Pure functions on files, bytes and PIL images; nothing here knows of the database, of storage or of
Django. `image` is always what `open_oriented` returned: 8-bit RGB in sRGB, the right way up.
Nothing that comes out of these holds any metadata: no EXIF, GPS, ICC, XMP or comment; what
`stripped` leaves is asked for.
"""

from .colour import open_oriented
from .copies import SentCopy, map_box, renditions, sent_copy
from .crops import crop_face, enrolment_crop
from .facts import CameraFacts, camera_facts
from .inspecting import Inspected, inspect
from .names import clean_name
from .opening import MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE, foreign_format, pixel_size
from .refusal import ImageRefused, Refusal
from .stripping import Keep, Stripped, stripped

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "CameraFacts",
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
    "foreign_format",
    "inspect",
    "map_box",
    "open_oriented",
    "pixel_size",
    "renditions",
    "sent_copy",
    "stripped",
]
