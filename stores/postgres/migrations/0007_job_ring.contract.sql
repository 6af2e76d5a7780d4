-- needs: 0005
-- From now on jobs lie in the slots: at once where there is no job and nobody is connected; else in an hour, when every
-- role has heard of it (`stores/postgres/places.py`). A role that connects in this moment reads it afterwards.
update job_ring set began = case when exists (select from jobs) or exists (
    select from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
        and application_name like 'penstock%' and application_name not like '%/migrate'
) then now() + interval '1 hour' else '-infinity'::timestamptz end;
