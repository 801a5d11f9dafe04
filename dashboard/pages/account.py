"""Signing in and out, and where one lands."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from dashboard.middleware import PageRequest, client_address
from dashboard.pages.shared import actor_of, signed_in
from persons.access import teams_for
from persons.actions.accounts import failed_to_sign_in, signed_out
from persons.actions.accounts import signed_in as signed_in_as
from persons.models import User

TRIES = 10
TRIES_SECONDS = 300
MOST_NAME = 150


@signed_in
@require_GET
def home(request: PageRequest) -> HttpResponse:
    teams = list(teams_for(request.user))
    if len(teams) == 1:
        return redirect("overview", teams[0].slug)
    return render(request, "overview/teams.html", {"teams": teams})


class SignIn(LoginView):
    """Guessing is slowed: so many wrong passwords for one name from one address, then a pause."""

    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if cache.get(self._key(), 0) >= TRIES:
            form = AuthenticationForm(request, initial={"username": request.POST.get("username")})
            return self.render_to_response(
                self.get_context_data(form=form, paused=True), status=429
            )
        return super().post(request, *args, **kwargs)

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        key = self._key()
        cache.add(key, 0, TRIES_SECONDS)
        with suppress(ValueError):  # It ran out this very moment.
            cache.incr(key)
        name = self.request.POST.get("username", "")[:MOST_NAME]
        failed_to_sign_in(actor=actor_of(self.request, text="Somebody"), name=name)
        return self.render_to_response(self.get_context_data(form=form), status=422)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        cache.delete(self._key())
        response = super().form_valid(form)
        user = form.get_user()
        assert isinstance(user, User)
        signed_in_as(actor=actor_of(self.request), user=user)
        return response

    def _key(self) -> str:
        name = self.request.POST.get("username", "").strip().casefold()[:MOST_NAME]
        return f"sign-in:{client_address(self.request)}:{name.encode().hex()}"


class SignOut(LogoutView):
    """By POST alone. The browser is asked to drop the photos that it kept."""

    http_method_names = ["post", "options"]

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if isinstance(request.user, User):
            signed_out(actor=actor_of(request), user=request.user)
        response = super().post(request, *args, **kwargs)
        response["Clear-Site-Data"] = '"cache"'
        return response
