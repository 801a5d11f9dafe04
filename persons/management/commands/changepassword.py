"""Django's `changepassword`, which also audits the change."""

from __future__ import annotations

import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword

from persons.actions.accounts import changed_password
from persons.audit import Actor
from persons.models import User


class Command(changepassword.Command):
    def handle(self, *args: Any, **options: Any) -> str | None:
        name = options["username"] or getpass.getuser()
        before = self._password_of(name)
        result = super().handle(*args, **options)
        user = User.objects.filter(username=name).first()
        if user is not None and user.password != before:
            changed_password(actor=Actor.command("changepassword"), user=user)
        return result

    def _password_of(self, name: str) -> str | None:
        return User.objects.filter(username=name).values_list("password", flat=True).first()
