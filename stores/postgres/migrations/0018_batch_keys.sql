-- Under which idempotency key a batch was created, and what makes another request the same.
alter table batches
    add column idempotency_key text collate "C",
    add column fingerprint bytea;

create unique index batches_by_key on batches (tenant, idempotency_key) where idempotency_key is not null;
