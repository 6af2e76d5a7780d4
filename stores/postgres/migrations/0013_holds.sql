-- What operators hold, refuse and end: each hold that stands.
create table holds (
    id text collate "C" primary key,
    created_at timestamptz not null,
    document json not null
);

-- Who did what, and why: only ever added to. `subject` is what it was done to, `matched` how many jobs that met then.
create table audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null,
    by text not null,
    verb text not null,
    subject text not null,
    note text not null default '',
    document json not null,
    matched bigint not null
);

-- What is kept no longer.
create index audit_log_age on audit_log (at);
