SELECT c."id", c."upstream", c."phase", c."failures", c."opened", c."until", c."generation", c."revision"
FROM "persons_cloudcircuit" c
WHERE c.upstream IN (%s, %s)
