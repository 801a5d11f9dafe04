"""The review: faces one after the other, or many of one person at once."""

from dashboard.pages.review import many, queue

urlpatterns = [*queue.urlpatterns, *many.urlpatterns]
