-- Lists of jobs go by the time of creation: the ids of direct producers' jobs say nothing about it.

create index jobs_newest on jobs (tenant, created_at, id);

-- As before: for the states that few are in; all others are found soon enough along the index above.
drop index jobs_rare;
create index jobs_rare on jobs (tenant, created_at, id) where status in ('running', 'failed', 'canceled');
