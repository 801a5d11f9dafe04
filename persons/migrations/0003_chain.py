import django.db.models.deletion
from django.db import migrations, models
from django.utils import timezone

from persons.chain import triggers
from persons.chain.entries import mark

BATCH = 2000


def mark_entries(apps, schema_editor):
    """Entries from before the chain get salt, digest and stamp; the sealer then places them.

    Who stopped at the migration before has the triggers already; they come back after this one.
    """
    triggers.remove(schema_editor.connection)
    rows = apps.get_model("persons", "AuditEntry").objects.select_related("team").order_by("pk")
    update = "UPDATE persons_auditentry SET salt = %s, digest = %s, stamp = %s WHERE id = %s"
    last = 0
    while found := list(rows.filter(pk__gt=last, digest="")[:BATCH]):
        for entry in found:
            mark(entry, entry.team.slug if entry.team_id else "")
        with schema_editor.connection.cursor() as cursor:
            cursor.executemany(
                update, [(entry.salt, entry.digest, entry.stamp, entry.pk) for entry in found]
            )
        last = found[-1].pk


def begin_chains(apps, schema_editor):
    """Each team's chain says up to where its calls are from before it: those have no digest."""
    models = {name: apps.get_model("persons", name) for name in ("AuditEntry", "Call", "Team")}
    for team in models["Team"].objects.order_by("pk"):
        last = models["Call"].objects.filter(team=team).order_by("-pk").values_list("pk", flat=True)
        entry = models["AuditEntry"](
            team=team,
            at=timezone.now(),
            actor_text="Rollcall",
            source="command",
            action="audit.begin",
            target_type="team",
            target_id=str(team.pk),
            target_text=team.name,
            after={"calls_before": last.first() or 0},
        )
        mark(entry, team.slug).save()


class Migration(migrations.Migration):
    dependencies = [
        ("persons", "0002_history_audit_and_rights"),
    ]

    operations = [
        migrations.RunPython(mark_entries, migrations.RunPython.noop),
        migrations.AddField(
            model_name="auditchain",
            name="asked_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When a verification that is not done yet was asked for.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="auditchain",
            name="copy_problem",
            field=models.TextField(blank=True, help_text="Why seals are not copied outside."),
        ),
        migrations.AddField(
            model_name="auditchain",
            name="key",
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.AddField(
            model_name="auditchain",
            name="sealing_problem",
            field=models.TextField(blank=True, help_text="Why an entry is not sealed."),
        ),
        migrations.AddField(
            model_name="auditchain",
            name="signature",
            field=models.CharField(blank=True, max_length=128),
        ),
        migrations.AddField(
            model_name="auditchain",
            name="signed_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="auditchain",
            name="signed_sequence",
            field=models.PositiveBigIntegerField(default=0, help_text="The last seal's."),
        ),
        migrations.AddField(
            model_name="auditchain",
            name="verifying_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When a verification that is under way last gave a sign.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="auditchain",
            name="verifying_sequence",
            field=models.PositiveBigIntegerField(default=0, help_text="How far it has come."),
        ),
        migrations.AlterField(
            model_name="auditentry",
            name="team",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="audit_entries",
                to="persons.team",
            ),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["team", "target_type", "-id"], name="audit_by_kind"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(
                condition=models.Q(("action__startswith", "call."), _negated=True),
                fields=["team", "-id"],
                name="audit_but_calls",
            ),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["team", "at"], name="audit_moments"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(
                condition=models.Q(("request_id", ""), _negated=True),
                fields=["team", "request_id", "-id"],
                name="audit_by_request",
            ),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(
                condition=models.Q(("address__isnull", False)),
                fields=["team", "address", "-id"],
                name="audit_by_address",
            ),
        ),
        migrations.RunPython(begin_chains, migrations.RunPython.noop),
    ]
