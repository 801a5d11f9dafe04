"""The rows of a big installation: a model, its columns as SQL, and the drafts they are made of.

`filling.py` makes them in this order; columns that are not named get the model's default.
"""

from __future__ import annotations

from django.db import models

from persons.models import (
    AuditEntry,
    Call,
    Change,
    ChangedFace,
    Enrolment,
    Face,
    Gallery,
    GalleryMember,
    Grouping,
    Likeness,
    Person,
    Photo,
    Recognition,
    Rejection,
    Run,
)

FIRST_NAMES = "Anna Boris Vera Galina Dmitri Елена Zhanna Igor Klara Leonid Мария Nikita Olga"
LAST_NAMES = "Petrova Orlov Kim Ćosić Müller Иванова Smirnov Zaitsev OHara Nguyen Ito García"

LABEL = f"""
    CASE WHEN n > s.people OR n > 1 AND mod(n, 7) = 3 THEN '' ELSE
        split_part('{FIRST_NAMES}', ' ', 1 + mod(n, 13)) || ' ' ||
        split_part('{LAST_NAMES}', ' ', 1 + mod(n / 13, 12)) ||
        CASE WHEN n < 156 THEN '' ELSE ' ' || n / 156 END END
"""
RANK = """
    CASE WHEN review = 'unknown' THEN round((least(1, similarity / threshold) / 2)::numeric, 6)
         WHEN review = 'double' THEN 0.9
         WHEN review = 'weak' THEN round((1 - (similarity - threshold)
            / (confirm_threshold - threshold) / 2)::numeric, 6) ELSE 0 END
"""
IMAGE = """
    '{"status": 0, "name": "file' || d.position || '", "persons": ' || CASE WHEN d.look > 0
    THEN coalesce(r.result, '[]') ELSE '[{"tag": "person' || 1 + mod(d.id, 100) ||
    '", "coord": [10,10,90,110], "confidence": 0.9, "similarity": 0.7}]' END || '}'
"""
NOTHING = """'{"decision": "", "person": null, "by": null, "at": null, "rejected": []}'::jsonb"""


def sha(text: str) -> str:
    return f"encode(sha256(({text})::bytea), 'hex')"


FILLED: list[tuple[type[models.Model], dict[str, str], str]] = [
    (
        Gallery,
        {
            "id": "g.id",
            "team_id": "g.team",
            "space_id": "g.space",
            "slug": "CASE g.id WHEN 1 THEN 'archive' ELSE 'event-' || g.id END",
            "name": "CASE g.id WHEN 1 THEN 'Archive' ELSE 'Event ' || g.id END",
            "created_by_id": "1",
            "created_at": "%(until)s - interval '1 day' * (2300 - mod(g.id, 2300))",
            "is_open": "g.id = 1 OR pg_temp.chance(g.id, 50) > 0.1",
        },
        "draft_gallery g",
    ),
    (
        GalleryMember,
        {
            "id": "row_number() OVER ()",
            "gallery_id": "g.id",
            "user_id": "n",
            "role": "'viewer'",
        },
        "persons_gallery g CROSS JOIN generate_series(2, 4) n WHERE NOT g.is_open",
    ),
    (
        Grouping,
        {
            "id": "space",
            "space_id": "space",
            "state": "'done'",
            "total": "groups * 20",
            "done": "groups * 20",
        },
        "draft_space",
    ),
    (
        Run,
        {
            "id": "n",
            "space_id": "s.space",
            "person_id": "CASE WHEN mod(n, 5) > 0 THEN s.first + mod(n, s.people) END",
            "requested_by_id": "1",
            "reason": "'Somebody was enrolled'",
            "photo_count": "CASE WHEN n > %(runs)s THEN 40 ELSE 10 + mod(n, 500) END",
            "created_at": "%(until)s - interval '1 hour' * (%(runs)s - n)",
            "finished_at": "CASE WHEN n <= %(runs)s"
            " THEN %(until)s - interval '1 hour' * (%(runs)s - n) + interval '5 minutes' END",
        },
        """
        generate_series(1, %(runs)s + 2) n
        JOIN (SELECT *, row_number() OVER (ORDER BY first) AS turn FROM draft_space) s
            ON s.turn = CASE WHEN n > %(runs)s THEN 1 ELSE 1 + mod(n, 14) END
        """,
    ),
    (
        Person,
        {
            "id": "s.first + n - 1",
            "space_id": "s.space",
            "person_id": "n",
            "label": LABEL,
            "created_by_id": "1",
            "created_at": "%(until)s - interval '1 hour' * (s.people + s.groups - n)",
            "hidden": "mod(n, 97) = 5",
            "face_count": "coalesce(c.faces, 0)",
            "merged_into_id": "CASE WHEN mod(n - 1, 50) = 7 AND n > 101 AND n <= s.people"
            " THEN s.first + n - 2 END",
            # Nobody is merged into somebody merged: 50 numbers lie between those who are.
            "canonical_id": "CASE WHEN mod(n - 1, 50) = 7 AND n > 101 AND n <= s.people"
            " THEN s.first + n - 2 ELSE s.first + n - 1 END",
            "grouping_id": "CASE WHEN n > s.people THEN s.space END",
            "sync_state": "CASE WHEN s.first = 1 AND n BETWEEN 50 AND 54 THEN 'queued'"
            " ELSE 'idle' END",
        },
        """
        draft_space s CROSS JOIN LATERAL generate_series(1, s.people + s.groups) n
        LEFT JOIN (
            SELECT person, count(*) AS faces FROM draft_said WHERE NOT trashed GROUP BY person
        ) c ON c.person = s.first + n - 1
        """,
    ),
    (
        Photo,
        {
            "id": "p.id",
            "gallery_id": "gallery",
            "sha256": sha("'photo ' || p.id"),
            "original": "'originals/' || team || '/' || " + sha("'photo ' || p.id"),
            "file_name": "'IMG_' || lpad(p.id::text, 7, '0') || '.jpg'",
            "size": "2000000 + p.id",
            "format": "'JPEG'",
            "width": "CASE WHEN mod(p.id, 3) > 0 THEN 4000 ELSE 3000 END",
            "height": "CASE WHEN mod(p.id, 3) > 0 THEN 3000 ELSE 4000 END",
            "taken_at": "CASE WHEN pg_temp.chance(p.id, 51) > 0.08 THEN taken_at END",
            "uploaded_by_id": "1 + mod(p.id / 120, 8)",
            "uploaded_at": "uploaded_at",
            "shown_at": "CASE WHEN pg_temp.chance(p.id, 51) > 0.08 THEN taken_at"
            " ELSE uploaded_at END",
            "trashed_at": "CASE WHEN trashed"
            " THEN %(until)s - interval '29 days' * pg_temp.chance(p.id, 52) END",
            "trashed_by_id": "CASE WHEN trashed THEN 1 END",
            "face_count": "coalesce(r.faces, 0)",
            "unknown_count": "coalesce(r.unknown, 0)",
            "sent_width": "1280",
            "sent_height": "960",
            "sent_size": "300000",
            "sent_sha256": sha("'sent ' || p.id"),
            "prepared_at": "uploaded_at + interval '5 seconds'",
            "state": "CASE WHEN space = (SELECT space FROM draft_space WHERE first = 1)"
            " AND p.id > %(photos)s - 60 THEN 'queued'"
            " WHEN pg_temp.chance(p.id, 53) < 0.003 THEN 'failed' ELSE 'done' END",
            "error": "CASE WHEN pg_temp.chance(p.id, 53) < 0.003 THEN 'image is broken' ELSE ''"
            " END",
            "after": "uploaded_at",
            "recognised_at": "uploaded_at + interval '1 minute'",
            "run_id": "CASE WHEN space = (SELECT space FROM draft_space WHERE first = 1)"
            " AND p.id > %(photos)s - 60 THEN %(runs)s + 1 END",
        },
        "draft_photo p LEFT JOIN draft_result r ON r.photo = p.id",
    ),
    (
        Face,
        {
            "id": "d.id",
            "photo_id": "d.photo",
            "space_id": "space",
            "gallery_id": "gallery",
            "trashed": "trashed",
            "left": "x",
            "top": "y",
            "right": "x + side",
            "bottom": "y + side",
            "found_person_id": "found",
            "tag": "CASE WHEN found IS NOT NULL OR kind = 'unknown' AND similarity > 0"
            " THEN 'person' || who - first + 1 ELSE 'undefined' END",
            "similarity": "similarity",
            "confidence": "0.98",
            "quality": "0.2 + 0.8 * pg_temp.chance(d.id, 54)",
            "attributes": """'{"frontality": 0.8, "visibility": 0.95}'""",
            "recognition_id": "r.id",
            "missing": "missing",
            "grouped_person_id": "CASE kind WHEN 'grouped' THEN who END",
            "decision": "decision",
            "decided_person_id": "CASE decision WHEN 'named' THEN who END",
            "decided_by_id": "CASE WHEN decision <> '' OR kind = 'rejected' THEN decided_by END",
            "decided_at": "CASE WHEN decision <> '' OR kind = 'rejected' THEN decided_at END",
            "drawn_by_id": "CASE kind WHEN 'drawn' THEN decided_by END",
            "is_drawn": "kind = 'drawn'",
            "person_id": "person",
            "review": "review",
            "review_rank": RANK,
            "created_at": "d.uploaded_at",
        },
        "draft_said d LEFT JOIN draft_recognition r ON r.photo = d.photo AND r.look = 4",
    ),
    (
        Rejection,
        {
            "id": "row_number() OVER (ORDER BY id)",
            "face_id": "id",
            "person_id": "CASE kind WHEN 'rejected' THEN who ELSE who + 3 END",
            "created_by_id": "decided_by",
            "created_at": "decided_at",
        },
        """
        draft_said WHERE kind = 'rejected'
            OR kind = 'sure' AND pg_temp.chance(id, 55) < 0.005 AND who + 3 < first + people
        """,
    ),
    (
        Enrolment,
        {
            "id": "row_number() OVER ()",
            "person_id": "e.person",
            "face_id": "e.face",
            "sha256": sha("'enrolled ' || e.person || ' ' || coalesce(e.face, 0)"),
            "image": "'enrolments/' || e.person || '-' || coalesce(e.face, 0)",
            "state": "CASE WHEN mod(e.person, 211) = 9 THEN 'failed' ELSE 'done' END",
            "created_by_id": "1",
            "created_at": "e.at",
            "done_at": "e.at + interval '1 minute'",
        },
        # Of those who are seen most, not every face is enrolled.
        """
        (
            SELECT who AS person, id AS face, decided_at AS at FROM draft_said
            WHERE decision = 'named' AND NOT trashed AND NOT is_merged
                AND (who - first >= 20 OR pg_temp.chance(id, 56) < 0.05)
            UNION ALL
            SELECT id, NULL, created_at FROM persons_person
            WHERE label <> '' AND merged_into_id IS NULL AND mod(id, 2) = 0
        ) e
        """,
    ),
    (
        Call,
        {
            "id": "c.id",
            "team_id": "team",
            "space_id": "space",
            "method": "'recognize'",
            "source": "CASE look WHEN 0 THEN 'client' ELSE 'worker' END",
            "actor_id": "CASE WHEN look > 0 THEN 1 END",
            "key_id": "CASE look WHEN 0 THEN 1 + mod(chunk, 5) END",
            "address": "CASE look WHEN 0 THEN '192.0.2.7'::inet END",
            "backend": "'embedded'",
            "model": "'yunet+sface'",
            "meta": """'{"space": "0"}'""",
            "question": "CASE look WHEN 0 THEN " + sha("'question'") + " ELSE '' END",
            "image_count": "images",
            "started_at": "at",
            "duration_ms": "40 + floor(900 * u)",
            "outcome": "CASE WHEN u < 0.01 THEN 'temporary' ELSE 'done' END",
            "status": "CASE WHEN u < 0.01 THEN 503 ELSE 200 END",
            "error": "CASE WHEN u < 0.01 THEN 'upstream is overloaded' ELSE '' END",
            "answer": 'CASE WHEN u >= 0.01 THEN \'{"status": 200, "body": {"objects": [\''
            " || o.objects || ']}, \"htmlencoded\": false, \"last_modified\": 0}' ELSE '' END",
        },
        f"""
        draft_call c LEFT JOIN (
            SELECT d.call, string_agg({IMAGE}, ',' ORDER BY d.position) AS objects
            FROM draft_recognition d LEFT JOIN draft_result r USING (photo) GROUP BY d.call
        ) o ON o.call = c.id
        """,
    ),
    (
        Recognition,
        {
            "id": "d.id",
            "call_id": "d.call",
            "position": "d.position",
            "name": "'file' || d.position",
            "photo_id": "d.photo",
            "sha256": sha("'sent ' || coalesce(d.photo, -d.id)"),
            "width": "1280",
            "height": "960",
            "status": "CASE WHEN u < 0.01 THEN 2 ELSE 0 END",
            "result": f"CASE WHEN u < 0.01 THEN '{{}}' ELSE ({IMAGE})::jsonb END",
            "face_count": "CASE WHEN d.look = 0 THEN 1 ELSE coalesce(r.faces, 0) END",
        },
        """
        draft_recognition d JOIN draft_call c ON c.id = d.call
        LEFT JOIN draft_result r ON r.photo = d.photo
        """,
    ),
    (
        Change,
        {
            "id": "c.change",
            "team_id": "team",
            "space_id": "space",
            "kind": "kind",
            "person_id": "who",
            "face_count": "1",
            "actor_id": "decided_by",
            "created_at": "decided_at",
        },
        "draft_change c",
    ),
    (
        Change,
        {
            "id": "(SELECT count(*) FROM draft_change) + row_number() OVER (ORDER BY p.id)",
            "team_id": "s.team_id",
            "space_id": "s.id",
            "kind": "'merge'",
            "person_id": "p.id",
            "other_id": "p.merged_into_id",
            "actor_id": "1",
        },
        """
        persons_person p JOIN persons_space s ON s.id = p.space_id
        WHERE p.merged_into_id IS NOT NULL
        """,
    ),
    (
        ChangedFace,
        {
            "id": "change",
            "change_id": "change",
            "face_id": "id",
            "before": NOTHING,
            "after": "jsonb_build_object('decision', decision, 'person', CASE WHEN"
            " kind = 'name' THEN who END, 'by', decided_by, 'at', decided_at, 'rejected',"
            " CASE kind WHEN 'reject' THEN jsonb_build_array(who) ELSE '[]' END)",
        },
        "draft_change",
    ),
    (
        Likeness,
        {
            "id": "n",
            "space_id": "s.space",
            # Half of them among those who have the most faces, half among those who have a few.
            "one_id": "s.first + mod(n, 2) * (s.people / 2) + mod(n, s.people / 2 - 20)",
            "other_id": "s.first + mod(n, 2) * (s.people / 2) + mod(n, s.people / 2 - 20)"
            " + 1 + n / (s.people / 2 - 20)",
            "similarity": "0.4 + 0.3 * pg_temp.chance(n, 57)",
            "decision": "CASE WHEN mod(n, 10) = 0 THEN 'differ' ELSE '' END",
        },
        "draft_space s CROSS JOIN generate_series(1, %(likenesses)s) n WHERE s.first = 1",
    ),
    (
        AuditEntry,
        {
            "id": "row_number() OVER (ORDER BY a.at, a.target_id)",
            "team_id": "a.team",
            "at": "a.at",
            "actor_id": "a.actor",
            "actor_text": "'Olga Owner'",
            "source": "'page'",
            "address": "'192.0.2.9'::inet",
            "action": "a.action",
            "target_type": "a.kind",
            "target_id": "a.target_id::text",
            "target_text": "a.kind || ' ' || a.target_id",
            "after": "a.after",
        },
        """
        (
            SELECT team, uploaded_at AS at, 1 + mod(id / 120, 8) AS actor,
                'photo.upload' AS action, 'photo' AS kind, id AS target_id,
                jsonb_build_object('gallery', gallery) AS after
            FROM draft_photo
            UNION ALL
            SELECT team, decided_at, decided_by, 'face.' || kind, 'face', id, '{"label": "Anna"}'
            FROM draft_change
            UNION ALL
            SELECT s.team, p.created_at, 1, 'person.create', 'person', p.id,
                jsonb_build_object('label', p.label)
            FROM persons_person p JOIN draft_space s ON s.space = p.space_id
        ) a
        """,
    ),
]
