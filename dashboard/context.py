"""The template context of the frame around every page: `shell`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from django.core.cache import cache
from django.http import HttpRequest
from django.urls import reverse

from persons.access import RIGHTS, Right, galleries_seen_by, memberships_of
from persons.faces.review_queue import FULL_SECONDS
from persons.models import Face, Membership, Role, Team

SECTIONS = {
    "g": "galleries",
    "groups": "review",
    "trash": "galleries",
    "photos": "galleries",
    "faces": "galleries",
    "erasures": "privacy",
    "": "overview",
}
MOST_COUNTED = 999


@dataclass(frozen=True, slots=True)
class NavItem:
    """A navigation entry. `tab` adds it to the bottom tabs of narrow screens; `gap` adds space
    above.

    `hint` explains the number beside it.
    """

    section: str
    label: str
    icon: str
    url: str
    tab: bool = False
    gap: bool = False
    hint: str = ""


class Shell:
    """The page frame's data, loaded lazily: one query for a whole page.

    `team` is None outside a team, and for a user who isn't a member.
    """

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def _memberships(self) -> list[Membership]:
        user = getattr(self._request, "user", None)
        return [] if user is None else memberships_of(user)

    @cached_property
    def _membership(self) -> Membership | None:
        match = self._request.resolver_match
        slug = match.kwargs.get("team") if match else None
        return next((one for one in self._memberships if one.team.slug == slug), None)

    @property
    def teams(self) -> list[Team]:
        return [one.team for one in self._memberships]

    @property
    def team(self) -> Team | None:
        return self._membership.team if self._membership else None

    @property
    def role_label(self) -> str:
        return str(Role(self._membership.role).label) if self._membership else ""

    def _may(self, right: Right) -> bool:
        return bool(self._membership) and right in RIGHTS[self._membership.role]  # type: ignore[union-attr]

    @property
    def can_see(self) -> bool:
        """May see galleries, photos and people; an auditor can't."""
        return self._may(Right.GALLERIES)

    @property
    def can_edit(self) -> bool:
        """May upload, name and decide."""
        return self._may(Right.EDIT)

    @property
    def can_manage(self) -> bool:
        """May manage members and spaces."""
        return self._may(Right.MANAGE)

    @property
    def section(self) -> str:
        """The navigation entry that this page belongs to."""
        parts = self._request.path.split("/")
        part = parts[3] if len(parts) > 3 and parts[1] == "t" else ""
        return "people" if "people" in parts[3:] else SECTIONS.get(part, part)

    @cached_property
    def waiting(self) -> int:
        """Number of faces waiting for review, counted up to a display limit."""
        if self.team is None or not self.can_see:
            return 0
        full = f"waiting-full-{self.team.pk}-{self._request.user.pk}"
        if cache.get(full):
            return MOST_COUNTED + 1
        # Trashed faces don't wait, so an index alone answers.
        faces = Face.everything.waiting().filter(space__team=self.team).order_by()
        if not self.can_manage:
            seen = galleries_seen_by(self._request.user, self.team)
            faces = faces.filter(gallery__in=seen)
        count = faces[: MOST_COUNTED + 1].count()
        if count > MOST_COUNTED:
            cache.set(full, True, FULL_SECONDS)
        return count

    @property
    def waiting_text(self) -> str:
        return f"{MOST_COUNTED}+" if self.waiting > MOST_COUNTED else str(self.waiting)

    @cached_property
    def nav(self) -> list[NavItem]:
        if self.team is None:
            return []

        def to(name: str) -> str:
            return reverse(name, args=[self.team.slug])  # type: ignore[union-attr]

        items = [NavItem("overview", "Overview", "overview", to("overview"), tab=True)]
        if self.can_see:
            items += [
                NavItem("galleries", "Galleries", "galleries", to("galleries"), tab=True),
                NavItem("people", "People", "people", to("people"), tab=True),
                NavItem(
                    "review",
                    "Review",
                    "review",
                    to("review"),
                    tab=True,
                    hint="faces wait for somebody",
                ),
            ]
        elif galleries_seen_by(self._request.user, self.team).exists():
            # An auditor with shared galleries.
            items.append(NavItem("galleries", "Galleries", "galleries", to("galleries"), tab=True))
        few = not self.can_see
        items += [
            NavItem("spaces", "Spaces", "spaces", to("spaces"), tab=few, gap=True),
            NavItem("history", "History", "history", to("history"), tab=few),
            NavItem("audit", "Audit log", "audit", to("audit"), tab=few),
            NavItem("privacy", "Privacy", "lock", to("privacy")),
            NavItem("keys", "API keys", "key", to("api_keys"), gap=True),
            NavItem("usage", "Usage", "usage", to("usage")),
            NavItem("connection", "Connection", "connection", to("connection")),
            NavItem("members", "Members", "members", to("members"), gap=True),
        ]
        return items


def team(request: HttpRequest) -> dict[str, Shell]:
    return {"shell": Shell(request)}
