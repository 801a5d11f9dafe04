"""Addresses of signing in, the account, and invitations."""

from __future__ import annotations

from django.urls import path

from dashboard import redaction  # noqa: F401  (registers the converter of secrets)
from dashboard.pages.account import account
from dashboard.pages.team import members

urlpatterns = [
    path("", account.home, name="home"),
    path("login/", account.SignIn.as_view(), name="login"),
    path("logout/", account.SignOut.as_view(), name="logout"),
    path("account/", account.own_account, name="account"),
    path("join/<secret:token>/", members.join, name="join"),
]
