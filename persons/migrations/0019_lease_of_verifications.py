"""The verification of a chain is leased like all other work."""

from django.db import migrations, models
from django.db.models import F, Q
from django.utils import timezone

IDLE, QUEUED, RUNNING, FAILED = "idle", "queued", "running", "failed"


def queue_requested(apps, schema_editor):
    """Requested verifications wait again; one that is under way begins again."""
    chains = apps.get_model("persons", "AuditChain").objects
    chains.exclude(asked_at=None).update(verification=QUEUED, after=F("asked_at"))


def request_queued(apps, schema_editor):
    chains = apps.get_model("persons", "AuditChain").objects
    chains.filter(Q(verification=QUEUED) | Q(verification=RUNNING)).update(asked_at=F("after"))
    chains.update(claimed_at=None)


class Migration(migrations.Migration):
    dependencies = [
        ("persons", "0018_one_lease"),
    ]

    operations = [
        migrations.RenameField("auditchain", "verifying_at", "claimed_at"),
        migrations.AlterField(
            model_name="auditchain",
            name="claimed_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="auditchain",
            name="claim",
            field=models.CharField(blank=True, max_length=32),
        ),
        migrations.AddField(
            model_name="auditchain",
            name="attempts",
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="auditchain",
            name="after",
            field=models.DateTimeField(
                default=timezone.now, help_text="Not gone on with before this."
            ),
        ),
        migrations.AddField(
            model_name="auditchain",
            name="verification",
            field=models.CharField(
                choices=[
                    (IDLE, "Not requested"),
                    (QUEUED, "Waiting"),
                    (RUNNING, "Running"),
                    (FAILED, "Failed"),
                ],
                default=IDLE,
                max_length=7,
            ),
        ),
        migrations.AddField(
            model_name="auditchain",
            name="verification_error",
            field=models.TextField(blank=True, help_text="Why the last verification was cut off."),
        ),
        migrations.RunPython(queue_requested, request_queued),
        migrations.RemoveField("auditchain", "asked_at"),
    ]
