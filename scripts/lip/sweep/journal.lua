--- The journal of a trial: everything that happened, one JSON object a line, in FOLDER/journal.jsonl. Lines are only
-- ever appended, each with one write, so that a writer killed at any moment leaves at most one torn line, the last.
local lip = require "lip"

-- scripts of trials may change the tables of the library and of Lua
local to_json, tail, append = lip.to_json, lip.file.tail, lip.file.append
local type, next, pcall, length, match = type, next, pcall, utf8.len, string.match

local journal = {}

local NAME = "/journal.jsonl"

function journal.path(folder)
  return folder .. NAME
end

--- For lip.file: the store that the folder of a trial stands in (STORE/trials/KEY). Below it no link is followed: what
-- lies there may have come with it from anywhere.
function journal.below(folder)
  return { below = match(folder, "^(.+)/+[^/]+/+[^/]+/*$") or folder }
end
local below = journal.below

-- Output of programs may be anything; JSON is UTF-8.
local function clean(value)
  if type(value) == "string" then
    if length(value) and not value:find("\0", 1, true) then return value end
    return (value:gsub("[\0\x80-\xff]", "?"))
  elseif type(value) == "table" then
    local copy = {}
    for key, element in next, value do copy[key] = clean(element) end
    return copy
  end
  return value
end

--- A line as its text; what is not UTF-8 is written as question marks.
function journal.text(line)
  local ok, text = pcall(to_json, line)
  return ok and text or to_json(clean(line))
end

--- Appends a line (a table with a field `event`).
---@param folder string of the trial
---@param line table
---@param options? { sync: boolean } sync: wait until it is on the disk
---@return true|nil, string? message, string? code
function journal.append(folder, line, options)
  local path, where = folder .. NAME, below(folder)
  local text = journal.text(line) .. "\n"
  local last = tail(path, 1, where)
  if last and last ~= "" and last ~= "\n" then text = "\n" .. text end -- after a torn line
  where.sync = options and options.sync
  return append(path, text, where)
end

--- The lines from a byte offset on. A last line without its end is left for later; lines that are no JSON object are
-- counted and skipped. A file shorter than the offset is another file: it is read from its start.
---@param folder string of the trial
---@param offset? integer where the last reading ended; 0 or nil: the start
---@return table|nil lines, integer|string offset_or_message, integer|string skipped_or_code
function journal.read(folder, offset)
  offset = offset or 0
  local path, where = folder .. NAME, below(folder)
  local there, message, code = lip.file.stat(path, where)
  if not there and code ~= "not_found" then return nil, message, code end
  if not there or there.kind ~= "file" then return {}, 0, 0 end -- whatever a trial has put there
  if there.size < offset then offset = 0 end
  local text
  text, message, code = lip.file.read(path, offset, where)
  if not text and code == "not_found" then return {}, 0, 0 end -- gone this moment
  if not text then return nil, message, code end
  local lines, skipped, position = {}, 0, 1
  for line, next_position in text:gmatch "([^\n]*)\n()" do
    local value = line ~= "" and lip.from_json(line)
    if type(value) == "table" and type(value.event) == "string" then
      lines[#lines + 1] = value
    elseif line ~= "" then
      skipped = skipped + 1
    end
    position = next_position
  end
  return lines, offset + position - 1, skipped
end

-- ---- time spent ----

local clock = {}
clock.__index = clock

local function number(v)
  return type(v) == "number" and v or nil
end

-- Ends what has begun; without a word about its seconds by the times of its lines.
local function close(self, seconds, time)
  if self.begun then seconds = seconds or (time or self.last) - self.begun end
  if self.open then self.spent = self.spent + math.max(0, seconds or 0) end
  self.open, self.begun = false, nil
end

--- A line more. An attempt lasts from its start to its end, or, without an end, to its last line.
function clock:add(line)
  local time = number(line.time)
  if line.event == "start" then
    close(self)
    self.open, self.attempt, self.begun, self.last = true, line.attempt, time, time
  elseif line.event == "end" then
    -- not of an earlier attempt that was wrongly thought dead: its time passed beside this one's
    local other = line.attempt ~= nil and self.attempt ~= nil and line.attempt ~= self.attempt
    if not other then close(self, number(line.seconds), time) end
  elseif line.event ~= "queued" and line.event ~= "slurm" then
    self.last = time or self.last
  end
end

--- The time that the attempts of a trial took, by the first `upto` bytes of its journal: clock.spent, seconds.
---@param folder string of the trial
---@param upto integer
function journal.clock(folder, upto)
  local self = setmetatable({ spent = 0, open = true }, clock)
  local text = upto > 0 and lip.file.read(folder .. NAME, 0, below(folder)) or nil
  if not text or #text < upto then return self end
  local before -- only the last line before a start says when its attempt was last seen alive
  for line in text:sub(1, upto):gmatch "[^\n]+" do
    local decisive = line:find('"start"', 1, true) or line:find('"end"', 1, true)
    if decisive then
      for _, text in ipairs { before or "", line } do
        local value = lip.from_json(text)
        if type(value) == "table" then self:add(value) end
      end
      before = nil
    elseif line:find('"time"', 1, true) and not (line:find('"queued"', 1, true) or line:find('"slurm"', 1, true)) then
      before = line
    end
  end
  local value = before and lip.from_json(before)
  if type(value) == "table" then self:add(value) end
  return self
end

return journal
