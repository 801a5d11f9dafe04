WITH total AS (INSERT INTO "persons_monthtotal" AS old (month, images)
VALUES (%s, %s)
ON CONFLICT (month) DO UPDATE
SET images = old.images + excluded.images
RETURNING images),
price AS (SELECT GREATEST(LEAST(images, %s) - GREATEST(images - %s, %s), 0) * %s + GREATEST(images - GREATEST(images - %s, %s), 0) * %s AS cost
FROM total),
metered AS (INSERT INTO "persons_meter" AS old ("team_id", "key_id", "month", "calls", "images", "saved_images", "cost", "saved_cost")
VALUES (%s, %s, %s, %s, %s, %s, (SELECT cost
FROM price), %s)
ON CONFLICT (team_id, key_id, month)
WHERE key_id IS NOT NULL DO UPDATE
SET calls = old.calls + excluded.calls, images = old.images + excluded.images, saved_images = old.saved_images + excluded.saved_images, cost = old.cost + excluded.cost, saved_cost = old.saved_cost + excluded.saved_cost),
results AS (UPDATE "persons_recognition"
SET "status" = new.column1::smallint, "error" = new.column2, "result" = new.column3::jsonb, "face_count" = new.column4::smallint
FROM (VALUES (%s, %s, %s, %s, %s), (%s, %s, %s, %s, %s)) AS new
WHERE "persons_recognition".id = new.column5),
findings_0 AS (INSERT INTO "persons_finding" ("team_id", "call_id", "recognition_id", "gallery_id", "position", "told_id", "similarity", "confidence", "left", "top", "right", "bottom", "runner_up", "runner_up_similarity", "matched_sha256", "person_id")
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, (SELECT p.id
FROM "persons_person" p
WHERE p.space_id = %s AND p.person_id = %s))),
entry AS (INSERT INTO "persons_auditentry" AS old ("team_id", "at", "actor_id", "actor_text", "source", "address", "request_id", "action", "target_type", "target_id", "target_text", "before", "after", "reason", "version", "salt", "digest", "stamp", "erased_at", "sequence", "previous", "hash")
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)) UPDATE "persons_call"
SET "duration_ms" = %s, "answer" = %s, "outcome" = %s, "error" = %s, "status" = %s, "cost" = (SELECT cost
FROM price), "salt" = %s, "digest" = %s, "enrolled_people" = %s, "enrolled_pictures" = %s
WHERE id = %s
RETURNING cost
