--- lip.sweep{...}: what a sweep file returns. `lipwb sweep FILE` runs it.
--
--   return lip.sweep{
--     script = "experiments/mnist_linf.lua",        -- or run = function(config, trial) ... return row end
--     grid = { norm = {1, 2, "inf"}, budget = lip.logspace(0.5, 64, 8), seed = {1, 2, 3} },
--     maximise = "certified@0.1", scheduler = lip.asha{ min = 1, max = 30, eta = 3 },
--   }
--
-- It only describes: everything is checked here, on the caller's line, and nothing runs. The options stand in
-- lip.options.
local core = require "lip.core"
local options = require "lip.options"
local space = require "lip.sweep.space"
local shown = require "lip.shown"

local SEARCHES = { "grid", "list", "random", "sobol", "tpe" }
local SAMPLED = { random = true, sobol = true, tpe = true } -- those that need n

local function fail(format, ...)
  error("sweep: " .. format:format(...), 0)
end

local function whole(v, name, low, high)
  local n = math.tointeger(v)
  if type(v) ~= "number" or not n or n < low or n > high then
    fail("%s expects a whole number from %d to %d, got %s", name, low, high, shown(v))
  end
  return n
end

local function text(v, name)
  if v ~= nil and (type(v) ~= "string" or v == "" or not utf8.len(v)) then
    fail("%s expects a text, got %s", name, shown(v))
  end
  return v
end

-- The one way of trying that is given, as { kind=, ... } with plain fields only.
local function search_of(given)
  local kind
  for _, name in ipairs(SEARCHES) do
    if given[name] ~= nil then
      if kind then fail("%s and %s: one of them at a time", kind, name) end
      kind = name
    end
  end
  if not kind then fail("nothing to try: one of %s is needed", table.concat(SEARCHES, ", ")) end
  local search = { kind = kind }
  if kind == "grid" then
    search.space = space.check_grid(given.grid)
  elseif kind == "list" then
    if type(given.list) ~= "table" or #given.list == 0 then fail "list expects configurations: {{budget = 1}, ...}" end
    search.list = {}
    for i, config in ipairs(given.list) do search.list[i] = space.config(config, ("list[%d]"):format(i)) end
  else
    search.space = space.check(given[kind], kind)
    if given.n == nil then fail("%s needs n, the number of trials", kind) end
    search.n = whole(given.n, "n", 1, 1000000)
    search.seed = given.seed ~= nil and whole(given.seed, "seed", 0, math.maxinteger)
      or kind ~= "sobol" and 1 or nil
    if kind == "tpe" then
      search.ahead = whole(given.ahead == nil and 4 or given.ahead, "ahead", 1, 1000)
      search.startup = given.startup ~= nil and whole(given.startup, "startup", 1, 1000000)
        or math.min(10, math.max(3, search.n // 4)) -- a short search has results to go by, too
    end
  end
  if given.n ~= nil and not SAMPLED[kind] then fail("n belongs to random, sobol and tpe, not to %s", kind) end
  if given.seed ~= nil and not SAMPLED[kind] then
    fail("seed belongs to random, sobol and tpe; those of trials are settings: %s = { seed = {1, 2, 3}, ... }", kind)
  end
  for _, name in ipairs { "ahead", "startup" } do
    if given[name] ~= nil and kind ~= "tpe" then fail("%s belongs to tpe, not to %s", name, kind) end
  end
  return search
end

-- A scheduler's fields as trial files carry them.
local function check_scheduler(scheduler)
  if scheduler == nil then return end
  if type(scheduler) ~= "table" or type(scheduler.kind) ~= "string" then
    fail "scheduler expects one such as lip.asha{ min = 1, max = 30 } or lip.median{}"
  end
end

local function check(given)
  local sweep = { search = search_of(given) }
  if (given.script == nil) == (given.run == nil) then fail "either script, a file, or run, a function, is needed" end
  sweep.script = text(given.script, "script")
  if given.run ~= nil and type(given.run) ~= "function" then
    fail("run expects a function, got a %s", type(given.run))
  end
  sweep.run = given.run
  if given.maximise ~= nil and given.minimise ~= nil then fail "maximise and minimise: one of them at a time" end
  sweep.maximise, sweep.minimise = text(given.maximise, "maximise"), text(given.minimise, "minimise")
  check_scheduler(given.scheduler)
  sweep.scheduler = given.scheduler
  local aimless = not (sweep.maximise or sweep.minimise)
  if aimless and sweep.scheduler then fail "a scheduler needs maximise or minimise, a figure reported by the trials" end
  if aimless and sweep.search.kind == "tpe" then fail "tpe needs maximise or minimise, a figure of the row" end
  sweep.name = text(given.name, "name")
  if sweep.name and (not sweep.name:find "^[%w_][%w_.@+-]*$" or #sweep.name > 100) then
    fail("name: letters, digits and _ . @ + - only, as it names files; got '%s'", sweep.name)
  end
  sweep.set = space.config(given.set == nil and {} or given.set, "set")
  if given.set ~= nil and sweep.run then fail "set is for scripts; a function sees its settings by itself" end
  sweep.retries = whole(given.retries == nil and 0 or given.retries, "retries", 0, 1000)
  if given.figure ~= nil and type(given.figure) ~= "function" then
    fail("figure expects a function of the finished trials, got a %s", type(given.figure))
  end
  sweep.figure = given.figure
  return sweep
end

local meta = { __name = "lip.sweep" }

function meta.__tostring(self)
  return ("sweep of %s over a %s"):format(self.script or "a function", self.search.kind)
end

--- Describes a sweep.
---@param given lip.sweep_options
---@return table sweep for `lipwb sweep`
local function sweep(given)
  given = options.check(given, "lip.sweep")
  local ok, made = pcall(check, given)
  if not ok then
    -- `return lip.sweep{...}` leaves no line to name, and the caller is not the user's
    local lost = debug.getinfo(1, "t").istailcall
    error(lost and ("%s: %s"):format(core.settings.script or "lip", made) or made, lost and 0 or 2)
  end
  return setmetatable(made, meta)
end

return sweep
