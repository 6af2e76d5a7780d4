-- Who holds an idempotency key: the id that this request's job would have had under a new key. A retry that takes the
-- key over takes it under an id of its own, so whoever held it before can take back nothing any more.

alter table idempotency_keys add column holder text collate "C";
