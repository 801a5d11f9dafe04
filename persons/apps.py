from django.apps import AppConfig
from django.db.models.signals import post_migrate


class PersonsConfig(AppConfig):
    name = "persons"

    def ready(self) -> None:
        from persons import checks  # noqa: F401  (registers the system checks)
        from persons.chain import triggers

        post_migrate.connect(triggers.installed, sender=self)
