-- What was seen of a version while more of it waited than may be in its lane: so many rows, in so many seconds.
alter table promise_ledgers
    add column seen_rows double precision not null default 0,
    add column seen_s double precision not null default 0;
