from django.db import migrations, models
from django.utils import timezone


class Migration(migrations.Migration):
    dependencies = [
        ("persons", "0017_canonical_3_required"),
    ]

    operations = (
        [
            migrations.RemoveIndex(model_name="person", name="person_sync_waiting"),
            migrations.RenameField("person", "sync_attempts", "attempts"),
            migrations.RenameField("person", "sync_after", "after"),
            migrations.AddIndex(
                model_name="person",
                index=models.Index(
                    fields=["sync_state", "space", "after", "id"], name="person_sync_waiting"
                ),
            ),
            migrations.AddField(
                model_name="erasure",
                name="interruptions",
                field=models.PositiveSmallIntegerField(
                    default=0,
                    help_text="How often a worker died over it, or stumbled, since the last step.",
                ),
            ),
        ]
        + [
            migrations.AlterField(
                model_name=name,
                name="after",
                field=models.DateTimeField(
                    default=timezone.now, help_text="Not gone on with before this."
                ),
            )
            for name in ("person", "photo")
        ]
        + [
            migrations.AddField(
                model_name=name,
                name="after",
                field=models.DateTimeField(
                    default=timezone.now, help_text="Not gone on with before this."
                ),
            )
            for name in ("grouping", "retentionrun")
        ]
    )
