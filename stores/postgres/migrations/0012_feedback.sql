-- What callers told of answers, with what the job's version is judged by. `reward` is null where a label was told of
-- which nobody knows whether it is the job's; `cohort` for a job that says nothing of a route's share.
create table feedback (
    told_at timestamptz not null,
    ended_at timestamptz not null,
    reward double precision,
    route_revision integer,
    cohort smallint,
    tenant text collate "C" not null,
    job text collate "C" not null,
    model text collate "C" not null,
    version text collate "C" not null,
    lane text not null,
    variant text,
    label text,
    predicted text,
    primary key (tenant, job)
);

-- Outcomes of a version by when its jobs ended, from the index alone.
create index feedback_by_version on feedback (model, version, ended_at) include (lane, cohort, reward);
-- What is kept no longer.
create index feedback_by_age on feedback (told_at);

-- Sums of what workers counted of a version and lane, ten minutes each. `size` tells an older sum from a newer.
create table version_counts (
    began_at timestamptz,
    size bigint not null,
    model text collate "C",
    version text collate "C",
    lane text,
    sums json not null,
    primary key (model, version, lane, began_at)
);

-- What is kept no longer.
create index version_counts_by_age on version_counts (began_at);
