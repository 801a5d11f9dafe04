INSERT INTO "persons_meter" AS old ("team_id", "key_id", "month", "calls", "images", "saved_images", "cost", "saved_cost")
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (team_id, key_id, month)
WHERE key_id IS NOT NULL DO UPDATE
SET calls = old.calls + excluded.calls, images = old.images + excluded.images, saved_images = old.saved_images + excluded.saved_images, cost = old.cost + excluded.cost, saved_cost = old.saved_cost + excluded.saved_cost;

UPDATE "persons_call"
SET "duration_ms" = %s, "answer" = %s, "outcome" = %s, "error" = %s, "status" = %s, "cost" = %s, "salt" = %s, "digest" = %s, "enrolled_people" = %s, "enrolled_pictures" = %s
WHERE id = %s
