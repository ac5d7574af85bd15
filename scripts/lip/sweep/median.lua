--- The median stopping rule: lip.median{ min =, every =, trials =, resource = } -> a scheduler.
--
-- Golovin et al. 2017 ("Google Vizier", section 3.2.2): a trial ends at a step when its best value up to there is
-- strictly below the median of the running averages of the others up to the same step. The rule knows no model and no
-- brackets; it only wants some steps to begin with (`min`) and some trials to compare with (`trials`).
--
-- A rung is a step that is looked at. What is written down there is score(values), the running average; decide compares
-- with it the best of the trial's own values, or its own score when the values are not given (a stricter rule).
-- Scores are to be maximised: what is minimised is handed over with its sign turned. A trial whose score is NaN ends.
local check_options = require("lip.options").check
local shown = require "lip.shown"

---@class lip.median.scheduler
local methods = {}

--- The rung (from 0) that stands at this step, or nil.
function methods:rung_of(step)
  local past = step - self.min
  if past < 0 or past % self.every ~= 0 or (self.max and step >= self.max) then return nil end
  return past // self.every
end

--- What is written down at a rung for a trial with these values at the steps so far: their mean.
function methods.score(_, values)
  local sum = 0
  for _, v in ipairs(values) do sum = sum + v end
  return sum / #values
end

-- The middle of a list of numbers, NaN last of all; the mean of the middle two when there is no single one.
local function median_of(list)
  local sorted = {}
  for i, v in ipairs(list) do sorted[i] = v ~= v and -math.huge or v end
  table.sort(sorted)
  local low, high = sorted[(#sorted + 1) // 2], sorted[#sorted // 2 + 1]
  return low == high and low or (low + high) / 2
end

--- Whether a trial goes on; `scores` are those of all that came to its rung, its `own` among them, `values` its values
--- at all steps so far.
function methods:decide(scores, own, values)
  if own ~= own then return false end
  local others, left_out = {}, false
  for _, score in ipairs(scores) do
    if score == own and not left_out then
      left_out = true
    else
      others[#others + 1] = score
    end
  end
  if #others < self.trials then return true end
  local best = own
  for _, v in ipairs(values or {}) do best = math.max(best, v) end
  return best >= median_of(others)
end

local function whole(o, name, default)
  local v = o[name] == nil and default or o[name]
  local n = math.tointeger(v)
  if not n or n < 1 then
    error(("median: option '%s' expects a whole number >= 1, got %s"):format(name, shown(v)), 3)
  end
  return n
end

--- A scheduler. Its fields say all about it: lip.median(fields) makes the same one again.
local function median(options)
  local o = check_options(options, "lip.median")
  local self = { kind = "median", min = whole(o, "min", 1), every = whole(o, "every", 1),
    trials = whole(o, "trials", 5), max = o.max ~= nil and whole(o, "max") or nil, resource = o.resource or "epoch" }
  if type(self.resource) ~= "string" then error("median: option 'resource' expects a word, such as \"epoch\"", 2) end
  if o.kind ~= nil and o.kind ~= "median" then error("median: option 'kind' is \"median\"", 2) end
  return setmetatable(self, { __index = methods })
end

return median
