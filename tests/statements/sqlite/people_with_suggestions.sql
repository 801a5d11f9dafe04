SELECT who, COUNT(*) AS n
FROM (SELECT q0.who
FROM (SELECT "persons_face"."person_id" AS "who"
FROM "persons_face"
WHERE (NOT "persons_face"."trashed" AND "persons_face"."space_id" = %s AND "persons_face"."review" = %s)
ORDER BY "persons_face"."id" DESC LIMIT 5000) q0
UNION ALL SELECT q1.who
FROM (SELECT "persons_face"."person_id" AS "who"
FROM "persons_face"
WHERE (NOT "persons_face"."trashed" AND "persons_face"."space_id" = %s AND "persons_face"."review" = %s)
ORDER BY "persons_face"."id" DESC LIMIT 5000) q1) every
GROUP BY who
ORDER BY n DESC, who LIMIT %s
