-- The routes of models: the newest revision of each, also of one that was deleted (document is null), so that revisions
-- grow for ever; and all revisions, for the history and the way back.

create table routes (
    model text collate "C" primary key,
    revision bigint not null,
    document json,
    updated_at timestamptz not null,
    updated_by text not null,
    note text not null default '',
    rollout text
);

create table route_revisions (
    model text collate "C",
    revision bigint,
    document json,
    updated_at timestamptz not null,
    updated_by text not null,
    note text not null default '',
    rollout text,
    primary key (model, revision)
);

-- What is kept no longer.
create index route_revisions_by_age on route_revisions (updated_at);
