INSERT INTO "persons_keyday" AS old (key_id, day, images)
VALUES (%s, %s, %s)
ON CONFLICT (key_id, day) DO UPDATE
SET images = old.images + excluded.images
WHERE old.images + excluded.images <= %s
RETURNING images
