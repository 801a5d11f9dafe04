from django.db import migrations, models
from django.db.models import Q

UNSEEN = [
    "\u034f", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u180b", "\u180c", "\u180d", "\u180f",
    "\u200c", "\u200d", "\ufe0e", "\ufe0f", "\U000e0100", "\U000e0101",
]  # fmt: skip
BATCH = 500


def index_names(apps, schema_editor):
    """Who is called something with a letter in it that nobody sees is found without it, too."""
    from persons.models.names import key_of_name, later_starts

    Person = apps.get_model("persons", "Person")
    NameStart = apps.get_model("persons", "NameStart")
    having = Q()
    for letter in UNSEEN:
        having |= Q(label__contains=letter)
    pks = list(Person.objects.filter(having).order_by("pk").values_list("pk", flat=True))
    for at in range(0, len(pks), BATCH):
        some = list(Person.objects.filter(pk__in=pks[at : at + BATCH]))
        for person in some:
            person.name_key = key_of_name(person.label, person.person_id)
        Person.objects.bulk_update(some, ["name_key"])
        NameStart.objects.filter(person__in=[person.pk for person in some]).delete()
        NameStart.objects.bulk_create(
            NameStart(space_id=person.space_id, person_id=person.pk, key=start)
            for person in some
            for start in later_starts(person.name_key)
        )


class Migration(migrations.Migration):
    dependencies = [("persons", "0011_scopes_and_visits")]

    operations = [
        # Off for the keys that are there: their answers stay the cloud's to the byte.
        migrations.AddField("apikey", "fit", models.BooleanField(default=False)),
        migrations.AlterField(
            "apikey",
            "fit",
            models.BooleanField(
                default=True,
                help_text="A picture that the cloud would refuse for its size or format is sent as "
                "a copy, and the boxes of the answer are mapped back.",
            ),
        ),
        migrations.AddField(
            "recognition",
            "own_width",
            models.PositiveIntegerField(
                default=0,
                help_text="Of the client's picture, where what was sent is a fitted copy of it; "
                "else 0.",
            ),
        ),
        migrations.AddField("recognition", "own_height", models.PositiveIntegerField(default=0)),
        migrations.RunPython(index_names, migrations.RunPython.noop),
    ]
