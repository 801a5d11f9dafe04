SELECT p.who, x.*
FROM (SELECT unnest(%s::bigint[]) AS who) p
CROSS
JOIN LATERAL (SELECT 0 AS newest, f.id, f.gallery_id, f.review, f.missing, f.quality
FROM "persons_enrolment" e
JOIN "persons_face" f ON f.id = e.face_id
WHERE e.person_id = p.who AND f.person_id = p.who AND NOT f.trashed AND e.state IN ('queued', 'waiting', 'done')
ORDER BY e.id DESC LIMIT 4) x
UNION ALL SELECT p.who, x.*
FROM (SELECT unnest(%s::bigint[]) AS who) p
CROSS
JOIN LATERAL (SELECT 1 AS newest, f.id, f.gallery_id, f.review, f.missing, f.quality
FROM "persons_face" f
WHERE f.person_id = p.who AND NOT f.trashed
ORDER BY f.id DESC LIMIT 16) x
