from django.apps import AppConfig
from django.db.models.signals import post_migrate


class PersonsConfig(AppConfig):
    name = "persons"

    def ready(self) -> None:
        from django.conf import settings

        from persons import checks, decoding  # noqa: F401  (registers the system checks)
        from persons.audit import redactions
        from persons.chain import triggers

        decoding.configure(
            folder=settings.DATA_DIR / "decoding",
            at_once=settings.DECODERS,
            memory=settings.DECODER_BYTES,
            seconds=float(settings.DECODER_SECONDS),
        )

        post_migrate.connect(triggers.installed, sender=self)
        post_migrate.connect(redactions.upgraded, sender=self)
