"""A column for who a merged person is; `0017_canonical_2_filled` fills it, `_3_required` demands it.

Three migrations, so that a large table is locked as a whole only for moments.
"""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("persons", "0016_photo_taken_offset"),
    ]

    operations = [
        migrations.AddField(
            model_name="person",
            name="canonical",
            field=models.ForeignKey(
                editable=False,
                help_text="Where `merged_into` leads in the end; who was merged into nobody "
                "themselves.",
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="family",
                to="persons.person",
            ),
        ),
    ]
