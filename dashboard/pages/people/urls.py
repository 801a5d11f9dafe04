"""Addresses of people, below /t/<team>/."""

from __future__ import annotations

from dashboard.pages.people import (
    bulk_face_actions,
    enrolments,
    merging,
    names,
    people,
    person,
    person_changes,
    person_report,
    person_rights,
)

urlpatterns = [
    *people.urlpatterns,
    *person.urlpatterns,
    *person_changes.urlpatterns,
    *bulk_face_actions.urlpatterns,
    *person_report.urlpatterns,
    *person_rights.urlpatterns,
    *merging.urlpatterns,
    *enrolments.urlpatterns,
    *names.urlpatterns,
]
