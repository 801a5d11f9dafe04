SELECT c.enrolled_people, c.enrolled_pictures, r."id", r."call_id", r."position", r."name", r."photo_id", r."person_id", r."sha256", r."image", r."width", r."height", r."own_width", r."own_height", r."status", r."error", r."result", r."face_count", r."gallery_id", r."request_id", r."erased_at"
FROM "persons_recognition" r
JOIN "persons_call" c ON c.id = r.call_id
WHERE r.status = 0 AND r.sha256 <> '' AND r.sha256 IN (%s, %s) AND c.question = %s AND c.space_id = %s AND c.started_at >= %s
ORDER BY r.id
