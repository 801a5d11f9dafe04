SELECT k."id", k."team_id", k."name", k."prefix", k."key_hash", k."methods", k."spaces", k."scopes", k."daily_images", k."fit", k."created_by_id", k."created_at", k."expires_at", k."revoked_at", k."last_used_at", k."last_used_address", t."id", t."name", t."slug", t."created_at", t."keep_probes", t."monthly_budget", t."require_reasons", t."reason_choices", t."probe_days", t."unknown_days", t."history_days", t."trash_days"
FROM "persons_apikey" k
JOIN "persons_team" t ON t.id = k.team_id
WHERE k.key_hash = %s
