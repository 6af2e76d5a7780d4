-- As each slot has it: what is due at a time of its own.
create index concurrently if not exists jobs_kept on jobs (keep_until) where keep_until is not null;
