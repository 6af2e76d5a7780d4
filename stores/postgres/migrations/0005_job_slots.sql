-- Jobs lie in a ring of 32 slots by the day that their ids tell, so that a whole day can be given back with one truncate.
--
-- Inheritance, not declarative partitions: each slot keeps its own primary key (tenant, id), statements name the one
-- table that a job can be in, and none can be missing. The parent's own rows are those whose ids tell no day.
-- `stores/postgres/places.py` knows which table that is.

do $$
declare
    slot text;
begin
    for number in 0..31 loop
        slot := 'jobs_' || lpad(number::text, 2, '0');
        -- As the parent's: dead rows are swept up before a fifth of the table is dead.
        execute format(
            'create table %1$s (primary key (tenant, id)) inherits (jobs)'
            ' with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)', slot);
        -- Statistics for a table that is still empty, as 0004 tells. They stay whenever it is truncated.
        execute format(
            'insert into %1$s (created_at, expires_at, rows, tenant, id, model, version, lane, status, answer)'
            ' select time, time, 1, ''default'', ''job-'' || number, ''model'', ''1'', ''live'', ''queued'', ''json'''
            ' from generate_series(1, 200) as number,'
            ' lateral (select now() + number * interval ''1 second'') as made (time)', slot);
        execute format('analyze %1$s', slot);
        execute format('truncate %1$s', slot);
        execute format('create index %1$s_open on %1$s (expires_at) where completed_at is null', slot);
        execute format('create index %1$s_newest on %1$s (tenant, created_at, id)', slot);
        execute format(
            'create index %1$s_rare on %1$s (tenant, created_at, id)'
            ' where status in (''running'', ''failed'', ''canceled'')', slot);
        -- A few pages that tell, for each megabyte of the table, the latest end in it: whether all of it is due.
        execute format('create index %1$s_ended on %1$s using brin (completed_at)', slot);
    end loop;
end
$$;

-- From which time on, by their ids, jobs lie in the slots: null for none, as long as roles of an older version, which
-- know the parent alone, may write. One row.
create table job_ring (began timestamptz);

insert into job_ring values (null);

-- Until when an ended job is kept; null where that is the default's to say. Before a job's end: until when it will be
-- kept if it ends at its deadline. Behind all else: from here on nobody gets to the jobs until this is through.
alter table jobs add column keep_until timestamptz;

-- What is due at a time of its own.
do $$
begin
    for number in 0..31 loop
        execute format(
            'create index %1$s_kept on %1$s (keep_until) where keep_until is not null',
            'jobs_' || lpad(number::text, 2, '0'));
    end loop;
end
$$;
