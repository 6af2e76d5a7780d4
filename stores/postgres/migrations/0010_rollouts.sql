-- Rollouts: how each stands (`document`), and what its judge has counted so far (`evidence`). A change is conditional on
-- `sequence`, and is written together with the event that tells of it and the revision of the route that follows.
create table rollouts (
    id text collate "C" primary key,
    model text collate "C" not null,
    status text not null,
    sequence bigint not null,
    ended_at timestamptz,
    document json not null,
    evidence json
);

-- A model has one at a time.
create unique index rollouts_open on rollouts (model) where ended_at is null;
create index rollouts_by_model on rollouts (model, id);
-- What is kept no longer.
create index rollouts_ended on rollouts (ended_at) where ended_at is not null;

create table rollout_events (
    rollout text collate "C" references rollouts on delete cascade,
    sequence bigint,
    verb text not null,
    document json not null,
    evidence json,
    primary key (rollout, sequence)
);
