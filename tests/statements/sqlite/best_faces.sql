SELECT %s AS who, *
FROM (SELECT 0 AS newest, f.id, f.gallery_id, f.review, f.missing, f.quality
FROM "persons_enrolment" e
JOIN "persons_face" f ON f.id = e.face_id
WHERE e.person_id = %s AND f.person_id = %s AND NOT f.trashed AND e.state IN ('queued', 'waiting', 'done')
ORDER BY e.id DESC LIMIT 4)
UNION ALL SELECT %s AS who, *
FROM (SELECT 1 AS newest, f.id, f.gallery_id, f.review, f.missing, f.quality
FROM "persons_face" f
WHERE f.person_id = %s AND NOT f.trashed
ORDER BY f.id DESC LIMIT 16)
UNION ALL SELECT %s AS who, *
FROM (SELECT 0 AS newest, f.id, f.gallery_id, f.review, f.missing, f.quality
FROM "persons_enrolment" e
JOIN "persons_face" f ON f.id = e.face_id
WHERE e.person_id = %s AND f.person_id = %s AND NOT f.trashed AND e.state IN ('queued', 'waiting', 'done')
ORDER BY e.id DESC LIMIT 4)
UNION ALL SELECT %s AS who, *
FROM (SELECT 1 AS newest, f.id, f.gallery_id, f.review, f.missing, f.quality
FROM "persons_face" f
WHERE f.person_id = %s AND NOT f.trashed
ORDER BY f.id DESC LIMIT 16)
