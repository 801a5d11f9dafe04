"""Addresses of the review and the groups, below /t/<team>/."""

from __future__ import annotations

from dashboard.pages.review import bulk_review, groupings, groups, queue

urlpatterns = [
    *queue.urlpatterns,
    *bulk_review.urlpatterns,
    *groups.urlpatterns,
    *groupings.urlpatterns,
]
