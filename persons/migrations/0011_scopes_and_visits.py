from django.db import migrations, models
from django.db.models import F


def keep_what_was_used(apps, schema_editor):
    """A key goes on writing where both the owner of a space, by its policy, and the key's own calls
    show that this is wanted. All other keys recognise and change nothing."""
    keys = apps.get_model("persons", "ApiKey").objects.filter(revoked_at=None)
    calls = apps.get_model("persons", "Call").objects.filter(method="recognize", status=200)
    for key in keys.order_by("pk"):
        if key.methods and "recognize" not in key.methods:
            continue
        theirs = calls.filter(key=key)
        if theirs.filter(space__create_new=True, meta__create_new=True).exists():
            key.scopes.append("create")
        if theirs.filter(space__update_embedding=True, meta__update_embedding=True).exists():
            key.scopes.append("learn")
        if key.scopes:
            key.save(update_fields=["scopes"])


def tell_of_no_old_visits(apps, schema_editor):
    """What was counted until now is not told again."""
    apps.get_model("persons", "ShareLink").objects.update(told_count=F("view_count"))


class Migration(migrations.Migration):
    dependencies = [
        ("persons", "0010_galleries_of_records"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="scopes",
            field=models.JSONField(blank=True, default=list),
        ),
        migrations.AddField(
            model_name="sharelink",
            name="told_count",
            field=models.PositiveIntegerField(
                default=0, help_text="Visits that the audit has told of."
            ),
        ),
        migrations.AddField(
            model_name="sharelink",
            name="told_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.RunPython(keep_what_was_used, migrations.RunPython.noop),
        migrations.RunPython(tell_of_no_old_visits, migrations.RunPython.noop),
    ]
