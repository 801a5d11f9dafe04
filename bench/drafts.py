"""Who is there, and what chance says of each photo and face, before rows are made of it.

Chance is a hash of a row's number: `chance(id, salt)` is from 0 up to 1, and the same every time.
What several tables need to know stands in temporary tables: `rows.py` makes the rows of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db import connection
from django.utils import timezone

from persons.models import ApiKey, Invitation, Membership, Meter, Role, Space, Team, User
from persons.models.keys import SHOWN
from persons.vision.limits import SPACES

SMALL_TEAMS = 11
OWNER = "owner"
BIG_TEAM = "newsroom"

SHARES = {(0, 0): 0.55, (0, 1): 0.18, (0, 2): 0.05}
"""Of people, by number of team and space; the small teams' spaces 0 share the rest."""


# --- Who is there: few rows, by the ORM ---


def make_teams(members: int, keys: int, people: int) -> None:
    """Teams, members, API keys, and how many people each space is to have (table draft_space)."""
    teams = [Team(name="Newsroom", slug=BIG_TEAM)]
    teams += [Team(name=f"Team {n}", slug=f"team-{n}") for n in range(1, SMALL_TEAMS + 1)]
    Team.objects.bulk_create(teams)
    Space.objects.bulk_create(
        Space(team=team, number=number, **({"confirm_threshold": 0.6} if number == 1 else {}))
        for team in teams
        for number in SPACES
    )
    users = [User(username=OWNER, password="!", first_name="Olga", last_name="Owner")]
    users += [
        User(username=f"member{n}", password="!", first_name=f"Member {n}")
        for n in range(1, members + 5 * SMALL_TEAMS)
    ]
    User.objects.bulk_create(users)
    roles = [Role.EDITOR, Role.EDITOR, Role.VIEWER, Role.AUDITOR]
    Membership.objects.bulk_create(
        [Membership(team=team, user=users[0], role=Role.OWNER) for team in teams]
        + [
            Membership(
                team=teams[0] if n <= members else teams[1 + n % SMALL_TEAMS],
                user=users[n],
                role=roles[n % 4],
            )
            for n in range(1, len(users))
        ]
    )
    _make_keys(teams, users[0], keys)
    _share_out(teams, people)


def _make_keys(teams: list[Team], owner: User, count: int) -> None:
    now = timezone.now()
    keys = [
        ApiKey(
            team=teams[0] if n % 10 else teams[1 + n // 10 % SMALL_TEAMS],
            name=f"Door {n}",
            prefix=f"rck_{n:08d}"[:SHOWN],
            key_hash=f"{n:064x}",
            methods=["recognize"],
            created_by=owner,
            revoked_at=now if n % 3 == 0 else None,
        )
        for n in range(1, count + 1)
    ]
    ApiKey.objects.bulk_create(keys)
    months = {(now - timedelta(days=30 * back)).date().replace(day=1) for back in range(14)}
    Meter.objects.bulk_create(
        Meter(team=key.team, key=key, month=month, calls=900, images=1000, saved_images=80)
        for key in keys
        for month in months
    )
    Meter.objects.bulk_create(
        Meter(team=team, month=month, calls=4000, images=90_000, saved_images=9000)
        for team in teams
        for month in months
    )
    Invitation.objects.bulk_create(
        Invitation(
            team=teams[0],
            email=f"guest{n}@example.org",
            role=Role.VIEWER,
            token_hash=f"{n:064x}",
            created_by=owner,
            expires_at=now + timedelta(days=10),
        )
        for n in range(max(3, count // 4))
    )


@dataclass(slots=True)
class _Draft:
    space: int
    team: int
    first: int
    people: int
    group: int
    groups: int


def _share_out(teams: list[Team], people: int) -> None:
    rest = (1 - sum(SHARES.values())) / SMALL_TEAMS
    shares = SHARES | {(n, 0): rest for n in range(1, SMALL_TEAMS + 1)}
    drafts, following = [], 1
    for (team, number), share in shares.items():
        space = Space.objects.get(team=teams[team], number=number)
        count = max(12, round(people * share))
        groups = max(3, count // 50)
        drafts.append(_Draft(space.pk, teams[team].pk, following, count, following + count, groups))
        following += count + groups
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE draft_space"
            " (space int, team int, first int, people int, first_group int, groups int)"
        )
        cursor.executemany(
            "INSERT INTO draft_space VALUES (%s, %s, %s, %s, %s, %s)",
            [(d.space, d.team, d.first, d.people, d.group, d.groups) for d in drafts],
        )


# --- Drafts: what several tables need to know ---

DRAFTS = [
    (
        "helpers",
        """
        CREATE FUNCTION pg_temp.chance(n bigint, salt int) RETURNS float8 IMMUTABLE LANGUAGE sql AS
        'SELECT (hashint8extended(n, salt + %(seed)s) & 2147483647) / 2147483648::float8';
        -- A rank from 1 to n by Zipf and Mandelbrot, for a chance u.
        CREATE FUNCTION pg_temp.rank(u float8, n int) RETURNS int IMMUTABLE LANGUAGE sql AS
        'SELECT 1 + greatest(0, least(n - 1, floor((n + 8) * power(8 / (n + 8)::float8, 1 - u)) - 8
        ))::int';
        """,
    ),
    (
        "draft_gallery",
        """
        CREATE TEMP TABLE draft_gallery AS
        SELECT n AS id, s.space, s.team FROM generate_series(1, %(galleries)s) n
        CROSS JOIN LATERAL (
            SELECT * FROM draft_space ORDER BY space
            OFFSET CASE WHEN n = 1 OR pg_temp.chance(n, 1) < 0.4 THEN 0
                        WHEN n = 2 OR pg_temp.chance(n, 1) < 0.6 THEN 1
                        WHEN n = 3 OR pg_temp.chance(n, 1) < 0.65 THEN 2
                        ELSE 3 + mod(n, 11) END LIMIT 1
        ) s;
        CREATE INDEX ON draft_gallery (id);
        """,
    ),
    (
        # Photos come in bursts of 120, ever more of them over the years.
        "draft_photo",
        """
        CREATE TEMP TABLE draft_photo AS
        SELECT p.*, g.space, g.team,
            CASE WHEN u < 0.15 THEN 0 WHEN u < 0.40 THEN 1 WHEN u < 0.55 THEN 2
                 WHEN u < 0.80 THEN 3 + floor(pg_temp.chance(p.id, 12) * 6)
                 WHEN u < 0.95 THEN 9 + floor(pg_temp.chance(p.id, 12) * 6)
                 ELSE 15 + floor(pg_temp.chance(p.id, 12) * 27) END::int AS faces,
            uploaded_at - interval '1 day' * floor(900 * power(pg_temp.chance(p.id / 120, 13), 3))
                - interval '3 hours' + interval '1 second' * (mod(p.id, 120) / 3) AS taken_at
        FROM (
            SELECT id, pg_temp.chance(id, 10) AS u, pg_temp.chance(id, 11) < 0.02 AS trashed,
                CASE WHEN pg_temp.chance(id, 14) < 0.5 THEN 1 ELSE
                    1 + pg_temp.rank(pg_temp.chance(id, 15), %(galleries)s - 1) END AS gallery,
                %(until)s - interval '2300 days' * (1 - power((id / 120 * 120)::float8
                    / %(photos)s, 0.6)) + interval '4 seconds' * mod(id, 120)
                    - interval '1 hour' * floor(12 * pg_temp.chance(id / 120, 16)) AS uploaded_at
            FROM generate_series(1, %(photos)s) id
        ) p JOIN draft_gallery g ON g.id = p.gallery;
        CREATE INDEX ON draft_photo (id);
        ANALYZE draft_photo, draft_gallery, draft_space;
        """,
    ),
    (
        # `kind` is what became of a face; `who` is the person that was named, found or grouped, as
        # they were then, and `root` whom they stand for today.
        "draft_face",
        """
        CREATE TEMP TABLE draft_face AS
        WITH numbered AS MATERIALIZED (
            SELECT p.id AS photo, p.gallery, p.space, p.team, p.trashed, p.uploaded_at, number,
                p.id * 64 + number AS face, pg_temp.chance(p.id * 64 + number, 21) AS u
            FROM draft_photo p CROSS JOIN LATERAL generate_series(1, p.faces) number
        ), sorted AS MATERIALIZED (
            SELECT f.*, u > 0.119 AND u < 0.120 OR u > 0.219 AND u < 0.220 AS missing,
                CASE WHEN u < 0.110 THEN 'unknown' WHEN u < 0.120 THEN 'ignored'
                     WHEN u < 0.140 THEN 'grouped' WHEN u < 0.170 THEN 'weak'
                     WHEN u < 0.220 THEN 'named' WHEN u < 0.222 THEN 'drawn'
                     WHEN u < 0.227 THEN 'rejected' ELSE 'sure' END AS kind
            FROM numbered f
        ), known AS MATERIALIZED (
            SELECT f.*, s.first, s.people, p.threshold, p.confirm_threshold,
                CASE WHEN kind = 'grouped'
                        THEN first_group + floor(groups * pg_temp.chance(face, 24))::int
                     WHEN s.first = 1 AND pg_temp.chance(face, 25) < %(star_faces)s
                        / (%(photos)s * 2.35) THEN 1
                     ELSE first + pg_temp.rank(pg_temp.chance(face, 26), people) - 1 END AS who
            FROM sorted f JOIN draft_space s USING (space) JOIN persons_space p ON p.id = f.space
        )
        SELECT row_number() OVER (ORDER BY photo, number) AS id, f.*,
            CASE WHEN is_merged THEN who - 1 ELSE who END AS root
        FROM (
            SELECT f.*, mod(who - first, 50) = 7 AND who - first > 100
                    AND who < first + people AS is_merged,
                CASE WHEN kind = 'unknown' AND pg_temp.chance(face, 22) < 0.5
                        THEN 0.05 + floor(340 * pg_temp.chance(face, 23)) / 1000
                     WHEN kind IN ('unknown', 'grouped', 'ignored') THEN 0
                     WHEN kind = 'weak' THEN threshold + floor(1000
                        * (confirm_threshold - threshold) * pg_temp.chance(face, 23)) / 1000
                     ELSE 0.61 + floor(380 * pg_temp.chance(face, 23)) / 1000 END AS similarity
            FROM known f
        ) f;
        """,
    ),
    (
        # The second face of one person on one photo is a mistake nearly always: most of them become
        # unknown, some stay to be reviewed.
        "twice on a photo",
        """
        CREATE TEMP TABLE twice AS
        SELECT id, pg_temp.chance(id, 30) < 0.1 AS stays FROM (
            SELECT id, kind, row_number() OVER (PARTITION BY photo, root ORDER BY
                kind NOT IN ('named', 'drawn'), similarity DESC, id) AS turn
            FROM draft_face
            WHERE kind IN ('weak', 'named', 'drawn', 'sure', 'grouped') AND NOT missing
        ) f WHERE turn > 1 AND kind IN ('weak', 'sure', 'grouped');
        UPDATE draft_face f SET kind = 'unknown', similarity = 0
            FROM twice t WHERE t.id = f.id AND NOT t.stays;
        DELETE FROM twice WHERE NOT stays;
        CREATE INDEX ON twice (id);
        """,
    ),
    (
        "draft_said",
        """
        CREATE TEMP TABLE draft_said AS
        SELECT f.*,
            CASE WHEN kind IN ('unknown', 'ignored', 'rejected') THEN NULL ELSE root END AS person,
            CASE WHEN kind = 'ignored' THEN 'ignored'
                 WHEN kind IN ('named', 'drawn') THEN 'named' ELSE '' END AS decision,
            CASE WHEN kind IN ('weak', 'sure', 'rejected')
                    OR kind = 'named' AND mod(id, 3) > 0 THEN who END AS found,
            CASE WHEN trashed OR missing OR kind IN ('ignored', 'named', 'drawn') THEN ''
                 WHEN kind IN ('unknown', 'rejected') THEN 'unknown'
                 WHEN id IN (SELECT id FROM twice) THEN 'double'
                 WHEN kind IN ('grouped', 'weak') THEN kind
                 WHEN similarity < confirm_threshold THEN 'weak' ELSE '' END AS review,
            uploaded_at + interval '1 hour' * (1 + floor(500 * pg_temp.chance(id, 31)))
                AS decided_at,
            1 + floor(8 * pg_temp.chance(id, 32))::int AS decided_by,
            10 + 40 * number AS x, 10 + floor(400 * pg_temp.chance(id, 33))::int AS y,
            30 + floor(170 * pg_temp.chance(id, 34))::int AS side
        FROM draft_face f;
        CREATE INDEX ON draft_said (photo);
        ANALYZE draft_said;
        CREATE TEMP TABLE draft_result AS
        SELECT photo, count(*) FILTER (WHERE NOT missing) AS faces,
            count(*) FILTER (WHERE kind IN ('unknown', 'rejected') AND NOT missing) AS unknown,
            '[' || string_agg(format(
                '{"tag": "%%s", "coord": [%%s,%%s,%%s,%%s], "confidence": 0.98,'
                ' "awesomeness": 0.61, "similarity": %%s}',
                CASE WHEN found IS NULL THEN 'undefined' ELSE 'person' || found - first + 1 END,
                x, y, x + side, y + side, similarity
            ), ',' ORDER BY number) FILTER (WHERE NOT missing AND kind <> 'drawn') || ']' AS result
        FROM draft_said GROUP BY photo;
        CREATE INDEX ON draft_result (photo);
        ANALYZE draft_result;
        """,
    ),
    (
        # Each photo was looked at four times: when it came, four photos a call, and with three runs
        # over its whole space, sixty a call. Clients asked about two pictures a call.
        "draft_call",
        """
        CREATE TEMP TABLE draft_look AS
        SELECT p.id AS photo, p.space, p.team, p.uploaded_at, look,
            (row_number() OVER (PARTITION BY p.space, look ORDER BY p.id) - 1)
                / CASE look WHEN 1 THEN 4 ELSE 60 END AS chunk
        FROM draft_photo p CROSS JOIN generate_series(1, 4) look;
        CREATE TEMP TABLE draft_call AS
        SELECT row_number() OVER (ORDER BY at, space, look, chunk) AS id, c.*,
            pg_temp.chance(chunk * 8 + look, 40) AS u
        FROM (
            SELECT team, space, look, chunk, count(*)::int AS images, max(uploaded_at)
                + CASE look WHEN 1 THEN interval '1 minute' ELSE interval '9 days' * look END AS at
            FROM draft_look GROUP BY team, space, look, chunk
            UNION ALL
            SELECT team, space, 0, n, 1 + mod(n, 3),
                %(until)s - interval '2000 days' * (1 - n / %(client_calls)s::float8)
            FROM draft_space CROSS JOIN generate_series(1, %(client_calls)s) n WHERE first = 1
        ) c;
        CREATE TEMP TABLE draft_recognition AS
        SELECT row_number() OVER (ORDER BY call, photo) AS id, r.*,
            row_number() OVER (PARTITION BY call ORDER BY photo) - 1 AS position
        FROM (
            SELECT c.id AS call, c.look, l.photo FROM draft_call c
                JOIN draft_look l USING (space, look, chunk)
            UNION ALL
            SELECT c.id, c.look, NULL FROM draft_call c
                CROSS JOIN generate_series(1, c.images) WHERE c.look = 0
        ) r;
        CREATE INDEX ON draft_recognition (photo) WHERE look = 4;
        ANALYZE draft_call, draft_recognition;
        """,
    ),
    (
        "draft_change",
        """
        CREATE TEMP TABLE draft_change AS
        SELECT row_number() OVER (ORDER BY decided_at, id) AS change, id, decision, decided_at,
            decided_by, team, space, CASE kind WHEN 'ignored' THEN 'ignore'
                WHEN 'rejected' THEN 'reject' ELSE 'name' END AS kind,
            CASE WHEN kind <> 'ignored' THEN who END AS who
        FROM draft_said WHERE decision <> '' OR kind = 'rejected';
        ANALYZE draft_change;
        """,
    ),
]
