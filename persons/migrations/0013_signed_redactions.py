from django.db import migrations, models


class Migration(migrations.Migration):
    """Entries that are there already are of version 1; new ones are of version 2. What was blanked
    among the old ones `persons.audit.redactions` vouches for, once, after the migrations."""

    dependencies = [
        ("persons", "0012_fit_and_names"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.AddField(
                    model_name="auditentry",
                    name="version",
                    field=models.PositiveSmallIntegerField(default=1, editable=False),
                ),
            ],
            state_operations=[
                migrations.AddField(
                    model_name="auditentry",
                    name="version",
                    field=models.PositiveSmallIntegerField(default=2, editable=False),
                ),
            ],
        ),
    ]
