SELECT person_id
FROM "persons_person"
WHERE space_id = %s AND person_id IN (%s, %s)
