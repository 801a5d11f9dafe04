SELECT 0, q0.*
FROM (SELECT "persons_face"."review_rank" AS "review_rank", "persons_face"."id" AS "pk"
FROM "persons_face"
WHERE (NOT "persons_face"."trashed" AND "persons_face"."space_id" = %s AND "persons_face"."review" = %s AND ("persons_face"."review_rank", "persons_face"."id") < (%s, %s))
ORDER BY 1 DESC, 2 DESC LIMIT 10) q0
UNION ALL SELECT 1, q1.*
FROM (SELECT "persons_face"."review_rank" AS "review_rank", "persons_face"."id" AS "pk"
FROM "persons_face"
WHERE (NOT "persons_face"."trashed" AND "persons_face"."space_id" = %s AND "persons_face"."review" = %s AND ("persons_face"."review_rank", "persons_face"."id") < (%s, %s))
ORDER BY 1 DESC, 2 DESC LIMIT 10) q1
