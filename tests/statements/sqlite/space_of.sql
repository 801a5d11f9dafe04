SELECT s."id", s."team_id", s."number", s."name", s."update_embedding", s."create_new", s."show_attributes", s."searcher", s."threshold", s."confirm_threshold", s."require_consent", s."consents_until", s."consent_changes", s."version", s."drift", s."next_person_id"
FROM "persons_space" s
WHERE s.team_id = %s AND s.number = %s
