-- What a step costs when the weights are computed from trained numbers: every choice of dense's option `weight`, as a ratio
-- to the step of the same net with projected weights.
--
--   lipwb tests/bench/parametrise.lua [--set weights=bjorck,cayley] [--set widths=256,1024] [--set batch=256]
--     [--set rounds=5] [--set seconds=0.3] [--set clock=processor] [--threads 1]
--
-- Nets 784-N-N-10 with MaxMin, budget 1, SGD with momentum. The path of norms is 2 where the choice fits it, else one that
-- it does, in all layers or (frobenius) in the last alone; projected weights on the same path take turns with it. us: median
-- microseconds of a step, of the visits; ~: a disturbed row.
local lip = require "lip"
local bench = require "lip.bench"

local args = lip.args {
  weights = { { "all" }, "choices to measure" },
  widths = { { 256, 1024 }, "of the hidden layers" },
  batch = { 256, "rows of a step", min = 1, whole = true },
  rounds = { 5, "visits of a cell; the median counts", min = 1, whole = true },
  seconds = { 0.3, "of a visit", min = 0 },
  clock = { "wall", "what counts: with processor, of one thread, neighbours disturb less", choices = { "wall", "processor" } },
}

local now = args.clock == "wall" and lip.time or os.clock

local function choices()
  for _, layer in ipairs(lip.layers()) do
    for _, option in ipairs(layer.name == "dense" and layer.options or {}) do
      if option.name == "weight" then return option.choices end
    end
  end
end

-- The net, or nil where the weight does not fit.
local function build(width, weight, way)
  local hidden = way.all and weight or nil
  local ok, net = pcall(lip.net, { input = 784, norm = way.norm, budget = 1, init = "orthogonal",
    lip.dense { out = width, weight = hidden }, lip.maxmin(), lip.dense { out = width, weight = hidden }, lip.maxmin(),
    lip.dense { out = 10, weight = weight } })
  return ok and net or nil
end

local ways = { { norm = 2, all = true }, { norm = "2->2->2->inf" }, { norm = "inf", all = true } }

local function way_of(weight)
  for _, way in ipairs(ways) do
    if build(4, weight, way) then return way end
  end
  error("no net for weight = " .. weight)
end

-- Median microseconds of the steps of a visit.
local function visitor(net)
  local rng, y = lip.rng(1), {}
  local x = lip.zeros(args.batch, 784):uniform_(rng, 0, 1)
  for i = 1, args.batch do y[i] = rng:below(10) end
  local labels = lip.tensor(y)
  local opt, loss = lip.optim.sgd { lr = 0.01, momentum = 0.9 }, lip.loss.cross_entropy()
  return function()
    local times, finish = {}, now() + args.seconds
    repeat
      local start = now()
      assert(net:step(x, labels, opt, loss))
      times[#times + 1] = now() - start
    until #times >= 3 and now() >= finish
    return bench.median(times) * 1e6
  end
end

local result = { rows = {} }
print(("%d threads, batch %d"):format(lip.threads(), args.batch))
print(("%-18s %-14s %-14s %11s %12s"):format("net", "weight", "norm", "us", "of projected"))
for _, width in ipairs(args.widths) do
  for _, weight in ipairs(args.weights[1] == "all" and choices() or args.weights) do
    if weight ~= "projected" then
      local way = way_of(weight)
      local us, calm = bench.take_turns({ visitor(build(width, "projected", way)), visitor(build(width, weight, way)) },
        args.rounds)
      local row = { width = width, weight = weight, norm = way.norm, us = us[2], projected = us[1], ratio = us[2] / us[1],
        calm = calm }
      print(("784-%d-%d-10 %s %-14s %-14s %11.0f %12.2f%s"):format(width, width, (" "):rep(9 - 2 * #tostring(width)), weight,
        way.norm, us[2], row.ratio, calm and "" or "  ~"))
      result.rows[#result.rows + 1] = row
    end
  end
end
return result
