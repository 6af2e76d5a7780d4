-- What comparing shadows' answers has found. Each worker's sums of an hour, as far as it has told them: `counted` is all
-- of it together, and tells an older sum from a newer.
create table shadow_hours (
    hour timestamptz,
    counted bigint not null,
    tenant text collate "C",
    model text collate "C",
    version text collate "C",
    shadow_of text collate "C",
    worker text collate "C",
    sums json not null,
    primary key (tenant, model, version, shadow_of, hour, worker)
);

-- What is kept no longer.
create index shadow_hours_by_age on shadow_hours (hour);

-- Jobs that a shadow answers otherwise, not all of them. The input stands with the job.
create table shadow_disagreements (
    at timestamptz not null,
    tenant text collate "C",
    model text collate "C" not null,
    version text collate "C",
    shadow_of text collate "C" not null,
    job text collate "C",
    document json not null,
    primary key (tenant, job, version)
);

-- The newest of a tenant's first.
create index shadow_disagreements_newest on shadow_disagreements (tenant, model, at desc, job desc);
-- What is kept no longer.
create index shadow_disagreements_by_age on shadow_disagreements (at);
