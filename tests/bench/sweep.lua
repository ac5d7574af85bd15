-- What a sweep costs: the time of a trial that does nothing, and how much two jobs gain over one.
--
--   lipwb tests/bench/sweep.lua [--set trials=72] [--set repeats=3] [--set units=40]
--
-- Overhead: wall-clock time of a sweep of empty trials, for each trial. Ratio: 72 trials (3 norms x 8 budgets x 3 seeds)
-- that each train a small net on one thread, -j 2 against -j 1, alternating; the median of the ratios. Idle: the share of
-- the time of both places of -j 2 in which no worker ran, by the journals (the last trial of one place included).
local lip = require "lip"
local args = lip.args {
  trials = { 72, "empty trials", min = 1, whole = true }, repeats = { 3, "of everything", min = 1, whole = true },
  units = { 64, "width of the nets" }, epochs = { 6, "of each trial" },
}
local store = require "lip.sweep.store"

local folder = assert(lip.file.temporary())
local program = lip.process.self().program

local function write(name, text) assert(lip.file.write(folder .. "/" .. name, text)) end

local function timed(file, jobs, name)
  local start = lip.time()
  local result = assert(lip.process.run { program, "sweep", file, "-j", tostring(jobs), "--threads", "1", "--store",
    folder .. "/" .. name, cwd = folder })
  assert(result.exit == 0, result.output .. (result.errors or ""))
  return lip.time() - start
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

write("empty.lua", ([[return require "lip".sweep { run = function() return {} end,
  random = { x = require "lip".uniform(0, 1) }, n = %d }]]):format(args.trials))
write("train.lua", ([[
local lip = require "lip"
local args = lip.args { norm = "2", budget = 1.0, seed = 1 }
local data = lip.data.digits { n = 2000, seed = 3 }
local net = lip.net { input = 784, norm = args.norm, budget = args.budget, seed = args.seed, lip.dense { out = %d },
  lip.relu {}, lip.dense { out = 10 } }
local report, message, code = lip.train(net, data, { epochs = %d, batch = 64, seed = args.seed })
if not report then return nil, message, code end
return { loss = report.loss }]]):format(args.units, args.epochs))
write("grid.lua", [[
local lip = require "lip"
return lip.sweep { script = "train.lua",
  grid = { norm = { 1, 2, "inf" }, budget = lip.logspace(0.5, 64, 8), seed = { 1, 2, 3 } } }]])

-- Seconds in which workers of a finished sweep ran.
local function busy(name)
  local s <close> = assert(store.open(folder .. "/" .. name, { readonly = true }))
  local sum = 0
  for _, r in ipairs(assert(s:trials {})) do sum = sum + r.finished - r.started end
  return sum
end

local empty, ratio, one, two, idle = {}, {}, {}, {}, {}
for i = 1, args.repeats do
  empty[i] = timed("empty.lua", 1, "empty" .. i) / args.trials
  one[i] = timed("grid.lua", 1, "one" .. i)
  two[i] = timed("grid.lua", 2, "two" .. i)
  ratio[i] = two[i] / one[i]
  idle[i] = 1 - busy("two" .. i) / (2 * two[i])
end
assert(lip.file.remove_tree(folder))
local row = { overhead = median(empty), one = median(one), two = median(two), ratio = median(ratio), idle = median(idle) }
print(("overhead %.1f ms a trial; 72 trials: -j 1 %.2f s, -j 2 %.2f s, ratio %.3f, idle %.1f %%"):format(
  1000 * row.overhead, row.one, row.two, row.ratio, 100 * row.idle))
return row
