-- How a route chose the job's version: null where none did. `schemas/jobs.py` tells what each is.
alter table jobs
    add column route_revision integer,
    add column cohort smallint,
    add column rescue_to text,
    add column moved_from text;
