UPDATE "persons_face"
SET "person_id" = new.column1, "review" = new.column2, "review_rank" = new.column3, "space_id" = new.column4
FROM (VALUES (%s, %s, %s, %s, %s), (%s, %s, %s, %s, %s)) AS new
WHERE "persons_face".id = new.column5;

UPDATE "persons_photo"
SET "face_count" = %s, "unknown_count" = %s
WHERE id = %s
