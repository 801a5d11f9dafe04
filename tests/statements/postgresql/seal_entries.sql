UPDATE "persons_auditentry"
SET "sequence" = new.column1::bigint, "previous" = new.column2, "hash" = new.column3
FROM (VALUES (%s, %s, %s, %s), (%s, %s, %s, %s)) AS new
WHERE "persons_auditentry".id = new.column4
