from django.apps import AppConfig


class PersonsConfig(AppConfig):
    name = "persons"

    def ready(self) -> None:
        from persons import checks  # noqa: F401  (registers the system checks)
