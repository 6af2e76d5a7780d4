-- Where the events of a job are sent to, if anywhere, and which: null for its end.
alter table jobs
    add column webhook text,
    add column webhook_events text[];

-- What tenants registered. `secrets`: sealed, the newest first.
create table webhook_endpoints (
    created_at timestamptz not null,
    updated_at timestamptz not null,
    ordered boolean not null,
    id text collate "C" primary key,
    tenant text collate "C" not null,
    name text not null,
    url text,  -- null where events are pulled
    event_types text[] not null,
    payload text not null,
    limits json not null,
    secrets json not null
);

create index webhook_endpoints_of_tenant on webhook_endpoints (tenant, created_at, id);

-- What signs a job's own webhook.
create table webhook_secrets (
    tenant text collate "C" primary key,
    secrets json not null
);

-- How what we send to fares: an endpoint, or an origin that jobs name. A row a target, changed at each claim: small,
-- and with room beside it in its page.
create table webhook_targets (
    next_due_at timestamptz not null default 'infinity',  -- of what waits here and is not leased
    since timestamptz not null default now(),
    failing_since timestamptz,
    succeeded_at timestamptz,
    probe_at timestamptz,
    filled_at timestamptz,  -- when `tokens` was true
    tokens real,
    probe_after_s real not null default 30,
    failures integer not null default 0,
    changes integer not null default 0,  -- of its health that were told: the revision of such an event
    pulled boolean not null default false,
    circuit text not null default 'active',
    id text collate "C" primary key,
    tenant text collate "C" not null,
    reason text
) with (fillfactor = 70);

create index webhook_targets_due on webhook_targets (next_due_at) where not pulled and circuit <> 'disabled';

-- One event for one target. Ids sort by their time.
create table webhook_deliveries (
    created_at timestamptz not null,
    due_at timestamptz not null,  -- of what is leased: when the lease ends
    leased_until timestamptz,
    ended_at timestamptz,
    revision integer not null,
    attempts integer not null default 0,
    tried integer not null default 0,
    last_status integer,
    id text collate "C" primary key default
        'msg_' || lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
        || substr(replace(gen_random_uuid()::text, '-', ''), 13),
    tenant text collate "C" not null,
    target text collate "C" not null,
    subject text collate "C" not null,
    event_type text not null,
    state text not null default 'pending',
    lease text,
    url text,  -- of a job's own webhook
    last_error text,
    facts json not null,
    constraint webhook_deliveries_ended check ((ended_at is null) = (state = 'pending'))
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- What is due at a target, oldest first; how much is in flight; what waits.
create index webhook_deliveries_due on webhook_deliveries (target, due_at, id) where state = 'pending';
-- Tests that somebody asked for, which are sent whatever the circuit: no other event is about its own target.
create index webhook_deliveries_tests on webhook_deliveries (due_at) where state = 'pending' and subject = target;
-- Lists, the newest first: of a tenant, of one target, of one job; and the few that were not delivered.
create index webhook_deliveries_of_tenant on webhook_deliveries (tenant, id);
create index webhook_deliveries_not_delivered on webhook_deliveries (tenant, id) where state in ('failed', 'dropped');
create index webhook_deliveries_of_target on webhook_deliveries (tenant, target, id);
create index webhook_deliveries_of_subject on webhook_deliveries (tenant, subject, id);
-- What is kept no longer.
create index webhook_deliveries_age on webhook_deliveries (ended_at) where ended_at is not null;

-- One request each, in a ring of days: `slot` is the day, counted from 1970, modulo 32. A day is given back whole.
create table webhook_attempts (
    at timestamptz not null,
    slot smallint not null,
    number integer not null,
    latency_ms integer not null,
    status integer,
    probe boolean not null,
    delivery text collate "C" not null,
    error text,
    head text
) partition by list (slot);

do $$
begin
    for number in 0..31 loop
        execute format(
            'create table webhook_attempts_%1$s partition of webhook_attempts for values in (%2$s)',
            lpad(number::text, 2, '0'), number);
    end loop;
end
$$;

create index webhook_attempts_of_delivery on webhook_attempts (delivery, at);

-- Writes deliveries, one for each element of the arrays, has their targets due by then, and tells those who wait. How
-- many they are. Targets are locked in the order of their ids, and after all else that the statement locks.
create function write_webhook_deliveries(
    tenants text[], targets text[], pulled boolean[], event_types text[], subjects text[], revisions integer[],
    urls text[], facts json[], due_at timestamptz
) returns integer language plpgsql as $$
begin
    insert into webhook_deliveries (tenant, target, event_type, subject, revision, url, facts, created_at, due_at)
    select g.*, $9, $9 from unnest($1, $2, $4, $5, $6, $7, $8) as g;
    insert into webhook_targets as t (id, tenant, pulled, since, next_due_at)
    select distinct on (g.id) g.id, g.tenant, g.pulled, $9, $9
    from unnest($2, $1, $3) as asked (id, tenant, pulled)
    cross join lateral (select asked.id collate "C", asked.tenant, asked.pulled) as g (id, tenant, pulled)
    order by g.id
    on conflict (id) do update set next_due_at = excluded.next_due_at where t.next_due_at > excluded.next_due_at;
    perform pg_notify('penstock_webhooks', '');
    return cardinality($1);
end
$$;

-- A time as JSON has it, in one zone, whatever the session's is.
create function rfc_3339(moment timestamptz) returns text language sql stable
    return to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

-- Writes what is to be delivered of jobs that ended, or that run from now on: rows of theirs, as JSON, with the error and
-- the metadata as texts, since a NUL that JSON names cannot be read within other JSON. For whom: the job's own webhook, of
-- which `schemas/webhook_targets.py` reckons the same target, and the endpoints of its tenant that subscribe. The facts are
-- those of `schemas/webhook_facts.py`.
create function tell_of_jobs(rows json, due_at timestamptz) returns integer language plpgsql as $$
begin
    return (
        with told as materialized (
            select j.*, 'job.' || j.status as event_type, case when j.completed_at is null then 2 else 3 end as revision,
                json_build_object(
                    'status', j.status, 'done', j.completed_at is not null, 'model', j.model,
                    'model_version', j.version, 'variant', j.variant, 'batch_id', j.batch_id,
                    'created_at', rfc_3339(j.created_at), 'started_at', rfc_3339(j.started_at),
                    'completed_at', rfc_3339(j.completed_at), 'expires_at', rfc_3339(j.expires_at),
                    'error', j.error::json,
                    'metadata', case when length(j.metadata) <= 2000 then j.metadata::json else '{}' end
                ) as facts
            from json_to_recordset($1) as j (
                tenant text, id text, model text, version text, status text, variant text, batch_id text,
                created_at timestamptz, expires_at timestamptz, started_at timestamptz, completed_at timestamptz,
                error text, metadata text, webhook text, webhook_events text[]
            )
        ), deliveries as (
            select j.*, j.webhook as url, false as pulled, 'origin_' || left(encode(sha256(convert_to(
                j.tenant || E'\n' || split_part(j.webhook, '/', 1) || '//' || split_part(j.webhook, '/', 3), 'UTF8'
            )), 'hex'), 40) as target
            from told j
            where j.webhook is not null and coalesce(j.event_type = any (j.webhook_events), j.completed_at is not null)
            union all
            select j.*, null, e.url is null, e.id
            from told j join webhook_endpoints e on e.tenant = j.tenant and j.event_type = any (e.event_types)
        )
        select write_webhook_deliveries(
            array_agg(d.tenant), array_agg(d.target), array_agg(d.pulled), array_agg(d.event_type), array_agg(d.id),
            array_agg(d.revision), array_agg(d.url), array_agg(d.facts), $2
        ) from deliveries d having count(*) > 0
    );
end
$$;
