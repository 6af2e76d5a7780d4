-- Jobs with their results, and idempotency keys.
--
-- Text compares by bytes ("C"), as Python compares it: ids made in order stand in order, in lists and in locks.
-- Times come first and text last, so that no column needs padding.

create table jobs (
    created_at          timestamptz not null,
    expires_at          timestamptz not null,
    started_at          timestamptz,
    completed_at        timestamptz,
    rows                integer     not null,
    result_json_length  integer,
    tenant              text        not null collate "C",
    id                  text        not null collate "C",
    model               text        not null,
    version             text        not null,
    lane                text        not null,
    status              text        not null,
    answer              text        not null,
    variant             text,
    batch_id            text,
    -- json, not jsonb: it is handed back as it came, and never searched.
    metadata            json        not null default '{}',
    error               json,
    result_content_type text,
    result              bytea,
    primary key (tenant, id),
    constraint jobs_ended check ((completed_at is null) = (status in ('queued', 'running')))
);

-- Tensors hardly compress, and trying costs more than writing them.
alter table jobs alter column result set storage external;

-- Every job leaves at least one dead row behind: sweep them up before a fifth of a large table is dead.
alter table jobs set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- Whose deadline has passed?
create index jobs_open on jobs (expires_at) where completed_at is null;

-- Lists of jobs in the states that few are in; all others are found soon enough along the primary key.
create index jobs_rare on jobs (tenant, id) where status in ('running', 'failed', 'canceled');

create table idempotency_keys (
    created_at   timestamptz not null,
    locked_until timestamptz,  -- null once the first request has been answered
    tenant       text        not null collate "C",
    key          text        not null collate "C",
    job_id       text        not null collate "C",  -- stays when the job is withdrawn
    fingerprint  bytea       not null,
    primary key (tenant, key)
);

create index idempotency_keys_age on idempotency_keys (created_at);
