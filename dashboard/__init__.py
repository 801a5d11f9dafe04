"""The site: settings, middleware, front server and pages."""

from dashboard.celery import app as celery_app

__all__ = ["celery_app"]
