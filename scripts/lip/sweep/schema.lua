--- The tables of a store and how its database is opened.
local lip = require "lip"

local schema = {}

schema.version = 1
local APPLICATION = 0x4c495057 -- "LIPW" in the header of the file

local TABLES = [[
  CREATE TABLE sweeps(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL, created REAL NOT NULL);
  CREATE TABLE trials(
    id INTEGER PRIMARY KEY, sweep INTEGER NOT NULL REFERENCES sweeps(id), number INTEGER NOT NULL, key TEXT NOT NULL,
    config TEXT NOT NULL, seed INTEGER,
    state TEXT NOT NULL DEFAULT 'queued' CHECK(state IN ('queued', 'running', 'done', 'failed', 'pruned')),
    attempt INTEGER NOT NULL DEFAULT 0,
    pid INTEGER, pid_start INTEGER, host TEXT,
    owner INTEGER, owner_start INTEGER,
    beat REAL, started REAL, finished REAL, seconds REAL, exit INTEGER, signal INTEGER, message TEXT,
    row TEXT, value REAL, memory INTEGER, step INTEGER, total INTEGER, provenance TEXT,
    journal_read INTEGER NOT NULL DEFAULT 0, journal_sweep TEXT, journal_attempt INTEGER,
    UNIQUE(sweep, key), UNIQUE(sweep, number));
  CREATE INDEX trials_by_state ON trials(sweep, state, number);
  CREATE INDEX trials_by_key ON trials(key);
  CREATE TABLE metrics(
    trial INTEGER NOT NULL REFERENCES trials(id), name TEXT NOT NULL, step INTEGER NOT NULL, value REAL NOT NULL,
    PRIMARY KEY(trial, name, step)) WITHOUT ROWID;
  CREATE TABLE rungs(
    trial INTEGER NOT NULL REFERENCES trials(id), rung INTEGER NOT NULL, value REAL NOT NULL,
    PRIMARY KEY(trial, rung)) WITHOUT ROWID;
  CREATE TABLE files(
    trial INTEGER NOT NULL REFERENCES trials(id), kind TEXT NOT NULL, path TEXT NOT NULL,
    PRIMARY KEY(trial, kind, path)) WITHOUT ROWID;
  CREATE TABLE data(
    trial INTEGER NOT NULL REFERENCES trials(id), name TEXT NOT NULL, sha256 TEXT, samples INTEGER,
    PRIMARY KEY(trial, name)) WITHOUT ROWID;
]]

--- In the order in which they may be emptied.
schema.tables = { "metrics", "rungs", "files", "data", "trials", "sweeps" }

local function version_of(db)
  local row, message, code = db:row "PRAGMA user_version"
  if not row then return nil, message, code end
  return row.user_version
end

local function create(db)
  -- another process may have been faster
  local version, message, code = version_of(db)
  if version ~= 0 then return version, message, code end
  if db:row("SELECT count(*) AS n FROM sqlite_schema").n > 0 then
    return nil, db:path() .. ": a database of another program", "format"
  end
  local done, why, kind = db:exec(TABLES)
  if not done then return nil, why, kind end
  db:exec(("PRAGMA application_id = %d; PRAGMA user_version = %d"):format(APPLICATION, schema.version))
  return schema.version
end

-- SQLite keeps the statements as they were written. Others may have added views or tables of their own.
local function check_tables(db)
  local there = {}
  local rows, message, code = db:rows "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"
  if not rows then return nil, message, code end
  for _, row in ipairs(rows) do there[row.sql] = true end
  for statement in TABLES:gmatch "%s*(.-);" do
    if not there[statement] then
      return nil, ("%s: its table '%s' is missing or damaged (lipwb runs rebuild makes it again)"):format(db:path(),
        statement:match "^CREATE %u+ (%l[%l_]*)"), "corrupt"
    end
  end
  return true
end

local function prepare(db, readonly)
  local version, message, code = version_of(db)
  if version == 0 and not readonly then
    -- readers do not wait for the writer; kept in the file
    local mode, why, kind = db:row "PRAGMA journal_mode = WAL"
    if not mode then return nil, why, kind end
    version, message, code = db:transaction(create, db)
  end
  if not version then return nil, message, code end
  if version == 0 then return nil, db:path() .. ": an empty file, not a store", "format" end
  if version > schema.version then
    return nil, ("%s: written by a newer lipwb (format %d, this one knows %d)"):format(db:path(), version,
      schema.version), "version"
  end
  local whole, why, kind = check_tables(db)
  if not whole then return nil, why, kind end
  -- with WAL a power cut may undo the last transactions, but damages nothing; the journals hold them too
  db:exec "PRAGMA synchronous = NORMAL"
  return true
end

--- Opens the database of a store, making it when it is not there and may be made.
---@param path string
---@param options { create: boolean, readonly: boolean }
function schema.open(path, options)
  if not options.create and not options.readonly and not lip.file.exists(path) then
    return nil, path .. ": there is no such store", "not_found"
  end
  local db, message, code = lip.db.open(path, { readonly = options.readonly, timeout = 30 })
  if not db then return nil, message, code end
  local ok, why, kind = prepare(db, options.readonly)
  if ok then return db end
  db:close()
  return nil, why, kind
end

return schema
