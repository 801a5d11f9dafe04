"""Signing in and out, where one lands, and one's own account."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.views import LoginView, LogoutView
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods

from dashboard.middleware import PageRequest, client_address
from dashboard.pages.shared import actor_of, signed_in
from persons.access import teams_for
from persons.actions.accounts import change_password, failed_to_sign_in, signed_out
from persons.actions.accounts import signed_in as signed_in_as
from persons.models import Membership, User

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
        if is_paused(self._key()):
            form = AuthenticationForm(request, initial={"username": request.POST.get("username")})
            return self.render_to_response(
                self.get_context_data(form=form, paused=True), status=429
            )
        return super().post(request, *args, **kwargs)

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        count_try(self._key())
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


def is_paused(key: str) -> bool:
    """Whether passwords were guessed too often, by this name and address."""
    return int(cache.get(key, 0)) >= TRIES


def count_try(key: str) -> None:
    cache.add(key, 0, TRIES_SECONDS)
    with suppress(ValueError):  # It ran out this very moment.
        cache.incr(key)


# --- One's own account ---


@sensitive_post_parameters()
@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def own_account(request: PageRequest) -> HttpResponse:
    """One's teams, and a new password, which signs out everywhere else."""
    user = request.user
    asked = request.method == "POST"
    form = PasswordChangeForm(user, request.POST if asked else None)
    key = f"password:{user.pk}"
    paused = asked and is_paused(key)
    if asked and not paused:
        if form.is_valid():
            cache.delete(key)
            changed = change_password(
                actor=actor_of(request), user=user, password=form.cleaned_data["new_password1"]
            )
            update_session_auth_hash(request, changed)
            messages.success(
                request, "Your password is changed. You are signed out everywhere but here."
            )
            return redirect("account")
        if "old_password" in form.errors:
            count_try(key)
    memberships = Membership.objects.filter(user=user).select_related("team").order_by("team__name")
    context = {"form": form, "paused": paused, "memberships": memberships}
    status = 429 if paused else 422 if asked else 200
    return render(request, "registration/account.html", context, status=status)
