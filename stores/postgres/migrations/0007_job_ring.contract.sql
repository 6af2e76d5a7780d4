-- needs: 0005
-- From now on jobs lie in the slots: at once where there is no job and nobody is connected; else in an hour, when every
-- role has heard of it (`stores/postgres/places.py`). A role that connects in this moment reads it afterwards.
-- In whole seconds, which every reader takes for the same number.
update job_ring set began = case when exists (select from jobs) or exists (
    select from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
        and application_name like 'penstock%' and application_name not like '%/migrate'
) then date_trunc('second', now() + interval '1 hour') else '-infinity'::timestamptz end;

-- Whoever has not heard of it, and would write a job to where nobody looks for it any more, is told so: a role of an
-- older version that comes back, or one whose ids are ahead by more than an hour. Ids that are ahead stand there
-- already, perhaps: producers make some by clocks of their own. Their jobs are taken along.
do $$
declare
    first_id text;
    holder text;
    job jobs;
begin
    select 'job_' || lpad(to_hex(case when began = '-infinity' then 0 else extract(epoch from began) * 1000 end::bigint), 12, '0')
        into first_id from job_ring;
    execute format(
        'alter table jobs add constraint jobs_without_a_slot'
        ' check (id < %L or id >= ''job_g'' or id !~ ''^job_[0-9a-f]{32}$'') no inherit not valid', first_id);
    -- Tenant by tenant, along the primary key, however many jobs there are.
    select min(tenant) into holder from only jobs;
    while holder is not null loop
        for job in
            delete from only jobs
            where tenant = holder and id >= first_id and id < 'job_g' and id ~ '^job_[0-9a-f]{32}$'
            returning *
        loop
            execute format(
                'insert into jobs_%s select ($1).*',
                lpad((('x' || substr(job.id, 5, 12))::bit(48)::bigint / 86400000 % 32)::text, 2, '0')) using job;
        end loop;
        select min(tenant) into holder from only jobs where tenant > holder;
    end loop;
end
$$;
