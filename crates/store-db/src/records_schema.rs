//! The schema of our own database, as the steps that lead to it.

/// After so many steps there are records of builds,
pub(crate) const BUILDS: usize = 1;

/// after so many what past builds lead one to expect, and those that failed,
pub(crate) const PAST: usize = 2;

/// and after so many when paths were used.
pub(crate) const USES: usize = 3;

/// Step `n` leads from version `n` to `n + 1`; a new file is of version 0. Steps are added, never changed.
pub(crate) const STEPS: &[&str] = &["\
create table Isolations (
    id       integer primary key not null,
    format   integer not null, -- how to read the text
    isolated integer not null, -- whether nothing was lacking
    text     text not null,
    unique (text, format, isolated)
);

create table Builds (
    id         integer primary key autoincrement not null,
    drv        text not null,
    started    integer not null, -- milliseconds since 1970
    outcome    text not null, -- 'built'
    wallTime   integer not null, -- microseconds, like the next two
    userTime   integer not null,
    systemTime integer not null,
    peakMemory integer not null, -- bytes
    written    integer not null, -- bytes
    isolation  integer not null references Isolations(id)
);

create index IndexBuildsIsolation on Builds(isolation);

-- The first three after the path must be those of its row in ValidPaths, or the record is not of what is valid.
create table Outputs (
    path             text primary key not null,
    registration     integer not null, -- the id in ValidPaths, which is never given twice
    hash             text not null,
    registrationTime integer not null,
    narSize          integer not null,
    build            integer not null references Builds(id)
) without rowid;

create index IndexOutputsBuild on Outputs(build);

create trigger CollectBuild after delete on Outputs
  when not exists (select 1 from Outputs where build = old.build)
  begin
    delete from Builds where id = old.build;
  end;

create trigger CollectIsolation after delete on Builds
  when not exists (select 1 from Builds where isolation = old.isolation)
  begin
    delete from Isolations where id = old.isolation;
  end;
", "\
-- What is to be expected of builds, by the name of the derivation.
create table PastBuilds (
    id         integer primary key not null,
    name       text unique not null, -- of the derivation, without `.drv`
    stem       text not null, -- the name without its version
    builds     integer not null, -- how many there were
    last       integer not null, -- when the last one began, in milliseconds since 1970
    wallTime   integer not null, -- microseconds; of two, the later build counts for half
    peakMemory integer not null, -- bytes; grows at once, and shrinks by halves
    outputs    text not null -- JSON: the size of each output as an archive, by its name
);

create index IndexPastBuildsStem on PastBuilds(stem, last);
create index IndexPastBuildsLast on PastBuilds(last);

create table Failures (
    id       integer primary key autoincrement not null,
    drv      text not null,
    started  integer not null, -- milliseconds since 1970
    wallTime integer not null, -- microseconds
    kind     text not null, -- a word for programs
    why      text not null -- a sentence for people
);
", "\
-- When paths were last used, as far as that was noted.
create table Uses (
    path text primary key not null, -- its base name
    day  integer not null -- days since 1970
) without rowid;
"];
