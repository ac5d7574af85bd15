--- Scores of a scheduler's rungs where no database is at hand: on the nodes of a cluster, trials read each other's
-- journals in the shared folder. A trial writes its own score down first and then reads, so of two that come to a rung
-- at the same time at least one sees the other; a score that a network file system shows late is one less to compare
-- with, as if that trial had come later.
local lip = require "lip"

local rungs = {}

--- How the message begins of a trial that does not report what the scheduler compares.
rungs.unshown = "the scheduler looks at"

-- [path] = { offset =, sweep =, scores = { [rung] = value } }: only what was appended since the last look is read. A
-- trial that two sweeps share has one journal: a score belongs to the sweep it names, or else that of the start before
-- it, and counts under the rule it was written under (sweep/rule.lua).
local seen = {}

local function number(v)
  if v == "inf" then return math.huge end
  if v == "-inf" then return -math.huge end
  if v == "nan" then return 0 / 0 end
  return tonumber(v)
end

local function read(path, below, sweep, rule)
  local known = seen[path] or { offset = 0, scores = {} }
  local there = lip.file.stat(path, below)
  if not there then return known end
  seen[path] = known
  if there.size < known.offset or known.rule ~= rule then known.offset, known.sweep, known.scores = 0, nil, {} end
  known.rule = rule
  local text = lip.file.read(path, known.offset, below) or ""
  local whole = text:match "^.*\n" -- a line that is being written is left for later
  if not whole then return known end
  known.offset = known.offset + #whole
  for line in whole:gmatch "[^\n]+" do
    local event = (line:find('"rung"', 1, true) or line:find('"start"', 1, true)) and lip.from_json(line)
    local kind = type(event) == "table" and event.event
    if kind == "start" then
      known.sweep = event.sweep
    elseif kind == "rung" and (event.sweep or known.sweep) == sweep and math.tointeger(event.rung)
      and (event.rule == nil or rule == nil or event.rule == rule) then
      known.scores[math.tointeger(event.rung)] = number(event.value)
    end
  end
  return known
end

-- The keys of a sweep's trials, from the list beside its description: the last line of a key counts.
local function keys_of(root, below, sweep)
  local keys, at = {}, {}
  local text = lip.file.read(root .. "/sweeps/" .. sweep .. ".trials.jsonl", 0, below)
  for line in (text or ""):gmatch "[^\n]+" do
    local key = line:match '"key"%s*:%s*"(%x+)"'
    if key and not at[key] then
      keys[#keys + 1] = key
      at[key] = #keys
    end
    if key then keys[at[key]] = not line:find '"left"%s*:%s*true' and key end
  end
  return keys
end

--- All scores at a rung in a sweep, as far as they can be seen.
---@param folder string of one of its trials
---@param sweep string its name
---@param rung integer
---@param rule? string under which they are compared; nil: any
---@return number[]
function rungs.scores(folder, sweep, rung, rule)
  local trials = folder:match "^(.*)/[^/]+/?$" or "."
  local root, scores = trials:match "^(.*)/[^/]+$" or ".", {}
  local below = { below = root }
  for _, key in ipairs(keys_of(root, below, sweep)) do
    local path = ("%s/%s/journal.jsonl"):format(trials, key)
    if key then scores[#scores + 1] = read(path, below, sweep, rule).scores[rung] end
  end
  return scores
end

return rungs
