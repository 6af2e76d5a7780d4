-- needs: 0005
-- From now on jobs lie in the slots: at once where there is no job and nobody is connected; else in an hour, when every
-- role has heard of it (`stores/postgres/places.py`). A role that connects in this moment reads it afterwards.
update job_ring set began = case when exists (select from jobs) or exists (
    select from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
        and application_name like 'penstock%' and application_name not like '%/migrate'
) then now() + interval '1 hour' else '-infinity'::timestamptz end;

-- The first release does not ask whether anything was taken away: one of its roles that is started by mistake would write
-- jobs where nobody looks for them, and end them a second time. Inserting into a slot does not come by here.
create function refuse_older_roles() returns trigger language plpgsql as $$
declare
    made_ms constant bigint := ('x' || lpad(substr(new.id, 5, 12), 16, '0'))::bit(64)::bigint;
begin
    if exists (select from job_ring where began <= now() and extract(epoch from began) * 1000 <= made_ms) then
        raise exception 'job % was written by a role of an older version, which this database serves no more: end it', new.id;
    end if;
    return new;
end
$$;

create trigger refuse_older_roles before insert on jobs for each row
when (new.id ~ '^job_[0-9a-f]{32}$') execute function refuse_older_roles();
