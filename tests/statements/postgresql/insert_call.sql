WITH new_call AS (INSERT INTO "persons_call" AS old ("team_id", "space_id", "method", "source", "actor_id", "actor_text", "key_id", "address", "request_id", "backend", "model", "meta", "question", "image_count", "saved_count", "cost", "space_version", "started_at", "duration_ms", "outcome", "status", "error", "answer", "threshold", "confirm_threshold", "enrolled_people", "enrolled_pictures", "reason", "salt", "digest", "erased_at")
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
RETURNING id) INSERT INTO "persons_recognition" AS old ("call_id", "position", "name", "photo_id", "person_id", "sha256", "image", "width", "height", "own_width", "own_height", "status", "error", "result", "face_count", "gallery_id", "request_id", "erased_at")
VALUES ((SELECT id
FROM new_call), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s), ((SELECT id
FROM new_call), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
RETURNING id, call_id
