SELECT 0, COUNT(*)
FROM (SELECT "persons_face"."id" AS "pk"
FROM "persons_face"
WHERE (NOT "persons_face"."trashed" AND "persons_face"."space_id" = %s AND "persons_face"."review" = %s)
ORDER BY 1 DESC LIMIT 1000) q0
UNION ALL SELECT 1, COUNT(*)
FROM (SELECT "persons_face"."id" AS "pk"
FROM "persons_face"
WHERE (NOT "persons_face"."trashed" AND "persons_face"."space_id" = %s AND "persons_face"."review" = %s)
ORDER BY 1 DESC LIMIT 1000) q1
UNION ALL SELECT 2, COUNT(*)
FROM (SELECT "persons_face"."id" AS "pk"
FROM "persons_face"
WHERE (NOT "persons_face"."trashed" AND "persons_face"."space_id" = %s AND "persons_face"."review" = %s)
ORDER BY 1 DESC LIMIT 1000) q2
