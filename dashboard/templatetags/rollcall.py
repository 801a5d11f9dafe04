"""Tags and filters for all templates: icons, times, percentages, picture addresses and sizes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.template.defaultfilters import date
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from dashboard.static_files import imports_of
from persons.images.copies import RENDITIONS
from persons.models import Face, Photo, Space

register = template.Library()

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """An icon of `parts/icons.html`. Hidden from screen readers, so it needs a text beside it."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="#i-{}"/></svg>',
        css,
        name,
    )


@register.simple_tag
def module(name: str) -> SafeString:
    """A script, which is an ES module, as "js/people/people.js".

    There is no bundler, so browsers are told at once of everything that it imports. They would else
    learn of each module from the one before.
    """
    preloads = format_html_join(
        "", '<link rel="modulepreload" href="{}">', ((static(one),) for one in imports_of(name))
    )
    return format_html('{}<script type="module" src="{}"></script>', preloads, static(name))


@register.simple_tag
def when(moment: datetime | None) -> SafeString:
    """A relative time such as "3 minutes ago", with the exact time on hover."""
    if moment is None:
        return SafeString("")
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(timespec="seconds"),
        f"{date(local, 'j M Y, H:i:s')} {local.tzname()}",
        naturaltime(moment),
    )


@register.filter
def percent(value: float | None) -> str:
    """0.874 as "87%". Rounded down: 0.996 is not 100%."""
    return "" if value is None else f"{int(value * 100)}%"


@register.filter
def get(mapping: dict[Any, Any], key: Any) -> Any:
    return mapping.get(key)


@register.simple_tag
def crop_src(team_slug: str, face: Face) -> str:
    """The address of a face's crop. It changes with the box, so browsers may cache the picture."""
    address = reverse("media_face", args=[team_slug, face.pk])
    return f"{address}?box={face.left}.{face.top}.{face.right}.{face.bottom}"


@register.filter
def shape(photo: Photo) -> str:
    """The tile's CSS class for its aspect ratio in tenths, from "r5" to "r40"."""
    ratio = photo.width / max(photo.height, 1)
    return f"r{min(max(round(ratio * 10), 5), 40)}"


@register.filter
def tile_width(photo: Photo) -> int:
    """A tile's approximate width on a wide screen, by which the browser picks a rendition."""
    return round(260 * photo.width / max(photo.height, 1))


@register.filter
def thumb_width(photo: Photo) -> int:
    return _width(photo, RENDITIONS["thumb"])


@register.filter
def medium_width(photo: Photo) -> int:
    return _width(photo, RENDITIONS["medium"])


@register.filter
def large_width(photo: Photo) -> int:
    return _width(photo, RENDITIONS["large"])


def _width(photo: Photo, longest: int) -> int:
    """The width of a rendition whose longest side is at most `longest`. Never scales up."""
    scale = min(1.0, longest / max(photo.width, photo.height, 1))
    return max(1, round(photo.width * scale))


@register.filter
def names_of(photo: Photo) -> list[str]:
    """The names of the people on a photo, once each; one that is only suggested as "Anna?".

    Uses the prefetched faces.
    """
    faces = [face for face in photo.faces.all() if face.person and not face.missing]
    sure = {face.person_id for face in faces if not face.is_suggested}
    names = (
        face.person.name if face.person_id in sure else f"{face.person.name}?"
        for face in faces
        if face.person
    )
    return list(dict.fromkeys(names))


@register.filter
def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, as in the keys of `dashboard.pages.galleries.sheets`."""
    return (moment - EPOCH) // timedelta(microseconds=1)


@register.filter
def minus(number: int, other: int) -> int:
    return number - other


@register.filter
def below(height: float, base: int) -> float:
    """The y coordinate, from the top, of a bar of this height whose foot is at `base`."""
    return round(base - height, 2)


@register.filter
def megabytes(size: int) -> int:
    return size // 1_000_000


@register.filter
def text_size(photo: Photo) -> int:
    """Font size of names on the photo, in the photo's pixels, for pages without scripts."""
    return max(photo.width, photo.height) // 45 or 1


@register.filter
def attributes_of(face: Face, space: Space) -> list[str]:
    """Sex, age and emotion, as far as Vision sent them; empty where the space doesn't show them."""
    if not space.show_attributes:
        return []
    known = face.attributes
    age = known.get("age")
    words = [known.get("sex"), f"about {age:.0f}" if isinstance(age, int | float) else None]
    return [str(word) for word in [*words, known.get("emotion")] if word]


@register.simple_tag
def querystring_of(place: Any, **changes: str) -> str:
    """The query string of a `dashboard.pages.review.place.Place` with some values changed."""
    return str(place.query(**changes))
