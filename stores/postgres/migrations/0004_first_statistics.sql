-- Statistics for a table that is still empty, as if many jobs of one tenant stood in it. Until autovacuum has analyzed
-- it, a minute after it began to fill, the planner would take created_at for one of 200 values, and look for an id by
-- skipping through `jobs_newest`: that reads the whole index for each job.
--
-- Jobs may be written meanwhile, and truncate takes those too that it does not see: it is empty once nobody else writes.

do $$
begin
    if exists (select from jobs) then
        return;
    end if;
    lock table jobs;
    if not exists (select from jobs) then
        insert into jobs (created_at, expires_at, rows, tenant, id, model, version, lane, status, answer)
        select time, time, 1, 'default', 'job-' || number, 'model', '1', 'live', 'queued', 'json'
        from generate_series(1, 1000) as number, lateral (select now() + number * interval '1 second') as made (time);
        analyze jobs;
        truncate jobs;
    end if;
end
$$;
