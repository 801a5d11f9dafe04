"""Everybody has a canonical person, and the database refuses a row where only one of `merged_into`
and `canonical` was written."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("persons", "0017_canonical_2_filled"),
    ]

    operations = [
        migrations.AlterField(
            model_name="person",
            name="canonical",
            field=models.ForeignKey(
                editable=False,
                help_text="Where `merged_into` leads in the end; who was merged into nobody "
                "themselves.",
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="family",
                to="persons.person",
            ),
        ),
        migrations.AddConstraint(
            model_name="person",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("merged_into", None),
                    models.Q(("canonical", models.F("id")), ("canonical", 0), _connector="OR"),
                )
                | models.Q(
                    ("merged_into__isnull", False),
                    models.Q(("canonical", models.F("id")), _negated=True),
                ),
                name="merged_or_canonical",
            ),
        ),
    ]
