--- What a trial notes of itself without its script asking: data sets that are read, checkpoints and certificates that
-- are written. The engine's own functions are replaced by ones that call them and note a success; only a worker does
-- this.
local core = require "lip.core"

local notes = {}

local READERS = { "dataset_idx", "dataset_cifar", "dataset_csv", "dataset_npy", "dataset_digits" }

-- Calls f, and `note` with its arguments and results when the first result is true. An error names the line that
-- called, as the engine's own do.
local function after(name, f, note)
  return function(...)
    local results = table.pack(pcall(f, ...))
    if not results[1] then
      local message = results[2]
      if type(message) == "string" then message = message:gsub("'%?'", "'" .. name .. "'", 1) end
      error(message, type(message) == "string" and not message:find "^[^\n]-:%d+: " and 2 or 0)
    end
    if results[2] then note(table.pack(...), results[2]) end
    return table.unpack(results, 2, results.n)
  end
end

-- The parts of a set have one name: the second is told from the first by its size.
local function note_data(trial)
  local seen = {}
  return function(_, set)
    local info = set:info()
    local name, id = info.name, ("%s %d"):format(info.sha256, info.n)
    if (seen[name] or id) ~= id then name = ("%s (%d)"):format(name, info.n) end
    seen[name] = id
    trial.data(name, info.sha256, info.n)
  end
end

-- Paths are compared as absolute ones: a script may have built its name from lip.trial.folder or from where it stands.
local function note_file(trial, kind)
  return function(arguments)
    trial.wrote(kind, core.file.absolute(arguments[2]) or arguments[2])
  end
end

local function replace(t, name, note)
  rawset(t, name, after(name, t[name], note))
end

--- Replaces the functions, once, in the process of a trial.
---@param trial table lip.trial
function notes.install(trial)
  local read = note_data(trial)
  for _, name in ipairs(READERS) do replace(core, name, read) end
  local methods = debug.getregistry()["lip.net"].__index
  replace(methods, "save", note_file(trial, "checkpoint"))
  replace(methods, "certificate", note_file(trial, "certificate"))
end

return notes
