-- Would training several nets of one architecture in one process, each batch read once for all of them, be faster
-- than a process for each net?
--
--   lipwb tests/bench/group.lua [--set nets=8] [--set rounds=3] [--set epochs=10] [--set samples=0]
--
-- First table: `nets` nets 784-N-N-10, batch 128, from start to end. "processes": one each, one thread, two at a time
-- (as a sweep with -j 2 runs them). "group": two processes with half of the nets each, which load the data once and
-- step all their nets with every batch. wall: seconds until all have ended; cpu: seconds of processor time of all of
-- them, which neighbours on the machine disturb less. load: processor time of a process that only loads the data.
-- The ways take turns; medians of the first table, the fastest of the second.
-- Second table: what the first layers of the nets could gain from products side by side, one thread, microseconds:
-- forward and weight gradient of `nets` layers 784 -> N one after the other ("apart"), and of one layer 784 -> nets N
-- ("together"); "steps": whole steps of the nets; "gain": what is saved, as a share of the steps.
local lip = require "lip"

local args = lip.args {
  nets = { 8, "nets in a group", min = 1, whole = true },
  rounds = { 3, "visits of each way; the median counts", min = 1, whole = true },
  epochs = { 10, "passes over the data", min = 0, whole = true },
  samples = { 0, "training samples; 0: all", min = 0, whole = true },
  role = { "all", "what this process does: all of it, or the part of a trial", choices = { "all", "trial" } },
  width = { 64, "of the hidden layers of a trial", min = 1, whole = true },
}

local BATCH = 128

local function build(width, seed)
  return lip.net { input = { 1, 28, 28 }, norm = "inf", budget = 8, seed = seed,
    lip.flatten {}, lip.dense { out = width }, lip.relu {}, lip.dense { out = width }, lip.relu {},
    lip.dense { out = 10 } }
end

-- The part of one process: args.nets nets, every batch read once.
local function trial()
  local train = assert(lip.data.main_dataset { quiet = true, limit = args.samples })
  local nets, loss = {}, lip.loss.cross_entropy()
  for i = 1, args.nets do nets[i] = { build(args.width, i), lip.optim.adam { lr = 1e-3 } } end
  local loader = train:batches { size = BATCH, seed = 1 }
  for _ = 1, args.epochs do
    for x, y in loader:epoch() do
      for _, n in ipairs(nets) do assert(n[1]:step(x, y, n[2], loss)) end
    end
  end
end

local program = lip.process.self().program

local function start(nets, width, epochs)
  local words = { program, arg[0], "--threads", "1", stdout = "/dev/null" }
  for name, value in pairs { role = "trial", nets = nets, width = width, epochs = epochs, samples = args.samples } do
    words[#words + 1] = "--set"
    words[#words + 1] = ("%s=%s"):format(name, value)
  end
  return assert(lip.process.spawn(words))
end

-- { wall, cpu } seconds until `processes` have trained `nets` nets each, two processes at a time.
local function run(processes, nets, width, epochs)
  local running, cpu, began, begun = {}, 0, lip.time(), 0
  repeat
    while #running < 2 and begun < processes do
      running[#running + 1], begun = start(nets, width, epochs), begun + 1
    end
    local ended = lip.process.wait_any(running, 3600)
    for i, process in ipairs(running) do
      if process == ended then table.remove(running, i) break end
    end
    local result = ended:wait()
    assert(result.exit == 0, "a process failed")
    cpu = cpu + result.seconds
  until #running == 0 and begun == processes
  return { lip.time() - began, cpu }
end

local function take_turns(ways)
  local all = {}
  for _ = 1, args.rounds do
    for i, way in ipairs(ways) do
      all[i] = all[i] or {}
      table.insert(all[i], way())
    end
  end
  return all
end

-- Microseconds of the fastest call of f in a quarter of a second: neighbours only ever add.
local function microseconds(f)
  local best = math.huge
  for _ = 1, 3 do f() end
  local finish = lip.time() + 0.25
  repeat
    local before = lip.time()
    f()
    best = math.min(best, lip.time() - before)
  until lip.time() >= finish
  return best * 1e6
end

-- Forward pass and weight gradient of a first layer that is alone.
local function layer(out)
  local rng = lip.rng(1)
  local net = lip.net { input = 784, norm = "inf", lip.dense { out = out } }
  local x, d = lip.rand(rng, BATCH, 784), lip.randn(rng, BATCH, out)
  return function()
    net:forward(x, true)
    net:backward(d)
  end
end

local function whole_step(width)
  local rng = lip.rng(1)
  local net, opt, loss = build(width, 1), lip.optim.adam {}, lip.loss.cross_entropy()
  local x, y = lip.rand(rng, BATCH, 1, 28, 28), lip.zeros(BATCH)
  return function() net:step(x, y, opt, loss) end
end

local function several(k, f)
  return function()
    for _ = 1, k do f() end
  end
end

if args.role == "trial" then return trial() end

local median = require "lip.bench".median

local function medians(visits)
  local wall, cpu = {}, {}
  for i, v in ipairs(visits) do wall[i], cpu[i] = v[1], v[2] end
  return median(wall), median(cpu)
end

local result = { rows = {} }
print(("%d nets, %s samples, %d epochs, load %.2f s"):format(args.nets, args.samples > 0 and args.samples or "all",
  args.epochs, run(1, 1, 8, 0)[2]))
print(("%6s %15s %15s %12s %12s %8s %8s"):format("width", "processes wall", "group wall", "cpu", "group cpu", "wall",
  "cpu"))
for _, width in ipairs { 32, 64, 256 } do
  local visits = take_turns {
    function() return run(args.nets, 1, width, args.epochs) end,
    function() return run(2, args.nets // 2, width, args.epochs) end,
  }
  local wall, cpu = medians(visits[1])
  local group_wall, group_cpu = medians(visits[2])
  print(("%6d %15.2f %15.2f %12.2f %12.2f %8.2f %8.2f"):format(width, wall, group_wall, cpu, group_cpu,
    group_wall / wall, group_cpu / cpu))
  result.rows[#result.rows + 1] = { width = width, wall = wall, group_wall = group_wall, cpu = cpu,
    group_cpu = group_cpu }
end
lip.threads(1)
print(("\n%6s %12s %12s %12s %12s"):format("width", "apart us", "together us", "steps us", "gain"))
for i, width in ipairs { 32, 64, 256 } do
  local apart, together, steps = several(args.nets, layer(width)), layer(args.nets * width),
    several(args.nets, whole_step(width))
  local us = take_turns {
    function() return microseconds(apart) end, function() return microseconds(together) end,
    function() return microseconds(steps) end,
  }
  for k = 1, 3 do us[k] = math.min(table.unpack(us[k])) end
  print(("%6d %12.0f %12.0f %12.0f %12.2f"):format(width, us[1], us[2], us[3], (us[1] - us[2]) / us[3]))
  local row = result.rows[i]
  row.apart, row.together, row.steps = us[1], us[2], us[3]
end
return result
