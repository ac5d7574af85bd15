--- What is seen of a running sweep. In a terminal the last lines are drawn anew: one for each worker with its progress,
-- one with the totals, one with the best so far; what is worth keeping scrolls above them. Elsewhere plain lines.
local lip = require "lip.core"
local field = require "lip.runs.field"
local plain = require "lip.runs.table".plain

local view = {}

local BAR = 16
local WORKERS = 16 -- shown: the lines must fit the terminal to be drawn anew
local PAUSE = 0.1 -- seconds between two drawings, at least

-- ---- text ----

--- A duration for people: 0.4 s, 12 s, 4:05, 3:04:05, 2 d 03 h.
function view.duration(seconds)
  if not seconds or seconds ~= seconds or seconds < 0 or seconds == math.huge then return "?" end
  if seconds < 10 then return ("%.1f s"):format(seconds) end
  local s = math.floor(seconds + 0.5)
  if s < 60 then return ("%d s"):format(s) end
  if s < 3600 then return ("%d:%02d"):format(s // 60, s % 60) end
  if s < 48 * 3600 then return ("%d:%02d:%02d"):format(s // 3600, s % 3600 // 60, s % 60) end
  return ("%d d %02d h"):format(s // 86400, s % 86400 // 3600)
end

local function value_text(v)
  if type(v) == "number" then return ("%.5g"):format(v) end
  if type(v) ~= "table" then return tostring(v) end
  local words = {}
  for i, x in ipairs(v) do words[i] = value_text(x) end
  return table.concat(words, ",")
end

--- A text on one line that moves no cursor, as `lipwb runs` shows it.
view.plain = plain

--- "budget=4 norm=inf seed=1"
function view.config(config)
  local names, words = {}, {}
  for name in pairs(config or {}) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do words[i] = name .. "=" .. value_text(config[name]) end
  return plain(table.concat(words, " "))
end

--- The first `columns` letters of a text, without what a terminal would take for a command.
function view.cut(text, columns)
  text = plain(text:gsub("%c", " "))
  local letters = utf8.len(text)
  if letters <= columns then return text end
  if columns < 4 then return text:sub(1, utf8.offset(text, columns + 1) - 1) end
  return text:sub(1, utf8.offset(text, columns - 2) - 1) .. "..."
end

local function bar(share)
  local full = math.floor(BAR * math.min(math.max(share, 0), 1) + 0.5)
  return "[" .. ("#"):rep(full) .. ("."):rep(BAR - full) .. "]"
end

local function worker_line(w)
  if not w.step or not w.total or w.total <= 0 then
    return ("%6d  %s%s  %s"):format(w.number, w.step and ("step %d  "):format(w.step) or "", view.duration(w.seconds),
      view.config(w.config))
  end
  local share = w.step / w.total
  local left = w.first and w.step > w.first and (w.since or 0) * (w.total - w.step) / (w.step - w.first) or nil
  return ("%6d  %s %d/%d  %s  %s"):format(w.number, bar(share), w.step, w.total,
    left and view.duration(left) .. " left" or view.duration(w.seconds), view.config(w.config))
end

--- "13 of 72 done, 2 failed, 1 pruned"
function view.totals(counts, total)
  local words = { ("%d of %d done"):format(counts.done or 0, total) }
  for _, state in ipairs { "failed", "pruned", "running" } do
    if (counts[state] or 0) > 0 then words[#words + 1] = ("%d %s"):format(counts[state], state) end
  end
  return table.concat(words, ", ")
end

function view.best(best, goal)
  return ("best: %s = %s  trial %d  %s"):format(plain(goal), value_text(field.shown(goal, best.value, 5)), best.number,
    view.config(best.config))
end

--- All lines that are drawn for a state, cut to the width.
---@param state table { counts=, total=, left=, best=, goal=, workers={...}, note= }
---@param columns integer
function view.lines(state, columns)
  local lines = {}
  for i = 1, math.min(#state.workers, WORKERS) do lines[i] = worker_line(state.workers[i]) end
  if #state.workers > WORKERS then lines[#lines + 1] = ("        and %d more"):format(#state.workers - WORKERS) end
  lines[#lines + 1] = view.totals(state.counts, state.total) ..
    (state.left and "  " .. view.duration(state.left) .. " left" or "") .. (state.note and "  " .. state.note or "")
  if state.best then lines[#lines + 1] = view.best(state.best, state.goal) end
  for i, text in ipairs(lines) do lines[i] = view.cut(text, columns) end
  return lines
end

-- ---- drawing ----

local methods = {}

-- Writing may fail when the terminal is gone; the sweep goes on.
local function write(self, text)
  self.out:write(text)
  self.out:flush()
end

local function wipe(self)
  if self.drawn == 0 then return "" end
  local text = ("\27[%dA\r\27[J"):format(self.drawn)
  self.drawn = 0
  return text
end

--- A line that stays.
function methods:say(format, ...)
  local text = select("#", ...) > 0 and format:format(...) or format
  write(self, wipe(self) .. lip.plain(text, true) .. "\n")
  self.last = -math.huge -- the block below comes back at once
end

--- Draws the state, unless it was drawn a moment ago. Nothing where there is no terminal.
function methods:draw(state)
  local columns = self.columns()
  local now = self.now()
  if not columns or now - self.last < PAUSE then return false end
  self.last = now
  local lines = view.lines(state, columns - 1)
  local before = wipe(self)
  self.drawn = #lines
  write(self, before .. table.concat(lines, "\n") .. "\n")
  return true
end

--- Takes the drawn block away.
function methods:close()
  if self.drawn > 0 then write(self, wipe(self)) end
end

function methods:live()
  return self.columns() ~= nil
end

--- A view.
---@param o { out: file*, columns: fun(): integer|nil, now: fun(): number }
function view.new(o)
  return setmetatable({ out = o.out, columns = o.columns, now = o.now, drawn = 0, last = -math.huge },
    { __index = methods })
end

return view
