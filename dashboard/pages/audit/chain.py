"""The state of the audit chain (sealed, copied, verified), and a self-verifying export."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_POST

from dashboard.middleware import PageRequest
from dashboard.pages.galleries.selection import zip_response
from dashboard.pages.privacy.reasons import asking, demand
from dashboard.pages.shared import actor_of, fragment, go_back, is_fragment, signed_in
from persons.access import Right, rights_of, team_for
from persons.actions.auditing import export_audit, verify_audit
from persons.chain import seals, signing
from persons.models import AuditChain, AuditEntry, AuditSeal, Team, User


def panel_of(user: User, team: Team) -> dict[str, Any]:
    """Template context with the state of the team's chain."""
    chain = AuditChain.objects.filter(team=team).first() or AuditChain(team=team)
    sealed = AuditSeal.objects.filter(team=team)
    copied = seals.are_copied()
    return {
        "chain": chain,
        "waiting_count": AuditEntry.objects.filter(team=team, sequence=None).count(),
        "last_seal": sealed.order_by("-sequence", "-pk").first(),
        "fingerprint": signing.fingerprint(),
        "are_copied": copied,
        "uncopied_count": sealed.filter(copied_at=None).count() if copied else 0,
        "is_verifying": chain.is_being_verified,
        "has_problem": bool(chain.problem or chain.sealing_problem),
        "may_audit": Right.AUDIT in rights_of(user, team),
    }


@signed_in
@require_GET
def chain(request: PageRequest, team: str) -> HttpResponse:
    """The panel alone, which polls while a verification is running."""
    found = team_for(request.user, team)
    if not is_fragment(request):
        return redirect("audit", team)
    return fragment(request, "audit/_chain.html", {"team": found, **panel_of(request.user, found)})


@signed_in
@require_POST
def verify(request: PageRequest, team: str) -> HttpResponse:
    found = team_for(request.user, team, right=Right.AUDIT)
    verify_audit(actor=actor_of(request), team=found)
    if is_fragment(request):
        return fragment(
            request, "audit/_chain.html", {"team": found, **panel_of(request.user, found)}
        )
    return go_back(request, reverse("audit", args=[team]))


@signed_in
@require_GET
@asking
def export(request: PageRequest, team: str) -> HttpResponseBase:
    found = team_for(request.user, team, right=Right.AUDIT)
    reason = demand(request, found, "export", "audit")
    made = export_audit(actor=actor_of(request), team=found, reason=reason)
    return zip_response(made.chunks(), name=made.name)


urlpatterns = [
    path("audit/chain/", chain, name="audit_chain"),
    path("audit/verify/", verify, name="audit_verify"),
    path("audit/export/", export, name="audit_export"),
]
