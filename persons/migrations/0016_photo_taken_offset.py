from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("persons", "0015_work_by_kind"),
    ]

    operations = [
        migrations.AddField(
            model_name="photo",
            name="taken_offset",
            field=models.SmallIntegerField(
                blank=True,
                help_text="Minutes that clocks there were ahead of UTC, if known.",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="photo",
            name="shown_at",
            field=models.DateTimeField(
                help_text="What a clock here showed when one there showed the time that it was "
                "taken at; where nobody knows, when it was uploaded."
            ),
        ),
    ]
