-- Files of tenants: uploaded ones are a blob, outputs of batches are the parts of these.
create table files (
    id text collate "C" primary key,
    tenant text collate "C" not null,
    purpose text not null,
    expires_at timestamptz,
    document json not null
);

create index files_by_tenant on files (tenant, id);
create index files_expired on files (expires_at) where expires_at is not null;

-- Batches (`document`), and how far the feeder has come with each: its next line begins at that byte.
create table batches (
    id text collate "C" primary key,
    tenant text collate "C" not null,
    input_file_id text collate "C" not null,
    ended_at timestamptz,
    document json not null,
    input_offset bigint not null default 0,
    line integer not null default 1,
    block integer not null default 0
);

create index batches_by_tenant on batches (tenant, id);
create index batches_open on batches (id) where ended_at is null;
create index batches_open_of on batches (tenant) where ended_at is null;
create index batches_reading on batches (input_file_id) where ended_at is null;
create index batches_ended on batches (ended_at) where ended_at is not null;

-- Blocks that are in the lane, or about to be, with their lines (MessagePack). What is over is deleted.
create table batch_blocks (
    batch text collate "C" references batches on delete cascade,
    number integer,
    job_id text not null,
    lines bytea not null,
    primary key (batch, number)
);

-- Pieces of the outputs, each a blob.
create table batch_parts (
    batch text collate "C" references batches on delete cascade,
    kind text,
    number integer,
    key text not null,
    bytes bigint not null,
    lines integer not null,
    primary key (batch, kind, number)
);

-- Which feeder feeds: one row at most.
create table batch_lead (
    is_only boolean primary key default true check (is_only),
    token text not null,
    leased_until timestamptz not null
);
