--- Asynchronous successive halving, stopping only: lip.asha{ min =, max =, eta =, resource = } -> a scheduler.
--
-- Rung k stands at min * eta^k steps, below max (Li et al. 2020, "A system for massively parallel hyperparameter
-- tuning", section 3). A trial that comes to a rung goes on when it is among the best 1/eta of those that have come
-- there so far, itself included, and among the best one while there are fewer than eta; else it ends. Nobody waits,
-- and nobody who ended is taken up again. The price of not waiting: who comes early is compared with few.
--
-- Scores are to be maximised: what is minimised is handed over with its sign turned. A trial whose score is NaN ends.
local check_options = require("lip.options").check
local shown = require "lip.shown"

---@class lip.asha.scheduler
local methods = {}

--- The rung (from 0) that stands at this step, or nil.
function methods:rung_of(step)
  for rung = 0, math.huge do
    local at = math.ceil(self.min * self.eta ^ rung - 1e-9)
    if at >= self.max or at > step then return nil end
    if at == step then return rung end
  end
end

--- Whether a trial with the score `own` goes on; `scores` are those of all that came to its rung, its own among them.
function methods:decide(scores, own)
  if own ~= own then return false end
  local better = 0
  for _, score in ipairs(scores) do
    if score > own then better = better + 1 end
  end
  return better < math.max(1, math.floor(#scores / self.eta + 1e-9))
end

local function whole(o, name, default)
  local v = o[name] == nil and default or o[name]
  local n = math.tointeger(v)
  if not n or n < 1 then
    error(("asha: option '%s' expects a whole number >= 1, got %s"):format(name, shown(v)), 3)
  end
  return n
end

--- A scheduler. Its fields say all about it: lip.asha(fields) makes the same one again.
local function asha(options)
  local o = check_options(options, "lip.asha")
  local self = { kind = "asha", min = whole(o, "min", 1), max = whole(o, "max"), eta = o.eta or 3,
    resource = o.resource or "epoch" }
  if type(self.eta) ~= "number" or not (self.eta > 1 and self.eta < math.huge) then
    error(("asha: option 'eta' expects a number above 1, got %s"):format(shown(o.eta)), 2)
  end
  if self.max < self.min then error(("asha: max (%d) is below min (%d)"):format(self.max, self.min), 2) end
  if type(self.resource) ~= "string" then error("asha: option 'resource' expects a word, such as \"epoch\"", 2) end
  if o.kind ~= nil and o.kind ~= "asha" then error("asha: option 'kind' is \"asha\"", 2) end
  return setmetatable(self, { __index = methods })
end

return asha
