"""Counts of related rows as subqueries."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.functions import Coalesce


def count_of(rows: models.QuerySet[Any], by: str) -> Coalesce:
    """Number of `rows` that refer to the outer row by their column `by`, as a subquery."""
    counts = rows.order_by().values(by).annotate(n=models.Count("*")).values("n")
    return Coalesce(models.Subquery(counts), 0)
