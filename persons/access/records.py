"""Which images of a call the history withholds because their gallery is closed to the reader."""

from __future__ import annotations

from django.db.models import Q

from persons.access import Asker, of_unknown_gallery, records_hidden_from
from persons.models import Call, Recognition


def images_closed_to(user: Asker, call: Call) -> frozenset[int]:
    """Pks of the call's recognitions whose photos are or were in galleries closed to `user`.

    If the photo was deleted, its gallery at the time counts. If that is unknown too, the image is
    withheld from everybody to whom any gallery is closed. Auditors see all images.
    """
    hidden = records_hidden_from(user, call.team)
    if not hidden:
        return frozenset()
    closed = Q(gallery__in=hidden) | Q(photo__gallery__in=hidden)
    closed |= of_unknown_gallery()
    asked = Recognition.objects.filter(closed, call=call)
    return frozenset(asked.values_list("pk", flat=True))
