-- A row for each version of which anything was promised: whoever decides about the version's promises has it locked.
create table promise_ledgers (
    model text collate "C" not null,
    version text collate "C" not null,
    primary key (model, version)
);

-- What was promised to be done by its deadline, and has not ended: of a batch, or of a job.
create table promises (
    tenant text collate "C" not null,
    id text collate "C" not null,
    model text collate "C" not null,
    version text collate "C" not null,
    rows bigint not null,
    ended bigint not null,
    deadline timestamptz not null,
    created_at timestamptz not null,
    not_before timestamptz,
    daily text,
    primary key (tenant, id)
);

create index promises_by_version on promises (model, version, deadline);
create index promises_age on promises (created_at);
