"""Signing in and out, the landing page, and the user's own account."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods

from dashboard import devices
from dashboard.middleware import PageRequest, client_address
from dashboard.pages.shared import actor_of, signed_in
from persons.access import teams_for, throttling
from persons.actions.accounts import change_password, failed_to_sign_in, signed_out
from persons.actions.accounts import signed_in as signed_in_as
from persons.models import Membership, User

MOST_NAME = 150


@signed_in
@require_GET
def home(request: PageRequest) -> HttpResponse:
    teams = list(teams_for(request.user))
    if len(teams) == 1:
        return redirect("overview", teams[0].slug)
    return render(request, "team/overview/teams.html", {"teams": teams})


class SignIn(LoginView):
    """Failed sign-ins are throttled by name and address, by name, and by address
    (`persons.access.throttling`).

    A browser that has signed in before has its own count for that name, so that guessing strangers
    can't lock its user out.
    """

    template_name = "account/login.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        self._claims = self._all_claims()
        self._tries = throttling.take(*self._claims)
        if self._tries is None:
            form = AuthenticationForm(request, initial={"username": request.POST.get("username")})
            return self.render_to_response(
                self.get_context_data(form=form, paused=True), status=429
            )
        return super().post(request, *args, **kwargs)

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        name = self.request.POST.get("username", "")[:MOST_NAME]
        failed_to_sign_in(actor=actor_of(self.request, text="Somebody"), name=name)
        return self.render_to_response(self.get_context_data(form=form), status=422)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        assert self._tries is not None
        self._tries.give_back()
        throttling.forget(self._claims[0])
        response = super().form_valid(form)
        user = form.get_user()
        assert isinstance(user, User)
        signed_in_as(actor=actor_of(self.request), user=user)
        devices.remember(self.request, response, user.username)
        return response

    def _all_claims(self) -> tuple[throttling.Claim, ...]:
        name = self.request.POST.get("username", "").strip().casefold()[:MOST_NAME]
        if device := devices.known(self.request, name):
            return (throttling.claim(throttling.SIGN_IN, "device", device, name),)
        address = throttling.network_of(client_address(self.request))
        return (
            throttling.claim(throttling.SIGN_IN, address, name),
            throttling.claim(throttling.SIGN_IN_ACCOUNT, name),
            throttling.claim(throttling.SIGN_IN_ADDRESS, address),
        )


class SignOut(LogoutView):
    """Sign out, by POST only. The response asks the browser to drop cached photos."""

    http_method_names = ["post", "options"]

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if isinstance(request.user, User):
            signed_out(actor=actor_of(request), user=request.user)
        response = super().post(request, *args, **kwargs)
        response["Clear-Site-Data"] = '"cache"'
        return response


# --- One's own account ---


@sensitive_post_parameters()
@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def own_account(request: PageRequest) -> HttpResponse:
    """The user's teams, and a password change, which signs out all other sessions."""
    user = request.user
    asked = request.method == "POST"
    form = PasswordChangeForm(user, request.POST if asked else None)
    claim = throttling.claim(throttling.PASSWORD_CHANGE, user.pk)
    tries = throttling.take(claim) if asked else None
    paused = asked and tries is None
    if tries is not None:
        if form.is_valid():
            throttling.forget(claim)
            changed = change_password(
                actor=actor_of(request), user=user, password=form.cleaned_data["new_password1"]
            )
            update_session_auth_hash(request, changed)
            messages.success(
                request, "Your password is changed. You are signed out everywhere but here."
            )
            return redirect("account")
        if "old_password" not in form.errors:
            tries.give_back()
    memberships = Membership.objects.filter(user=user).select_related("team").order_by("team__name")
    context = {"form": form, "paused": paused, "memberships": memberships}
    status = 429 if paused else 422 if asked else 200
    return render(request, "account/account.html", context, status=status)
