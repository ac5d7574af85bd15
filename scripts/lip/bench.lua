--- How long a training step takes on this machine: `lipwb bench`.
-- A step is net:step: forward, cross entropy, backward, Adam, projection. Every number is a median: of the steps of one
-- visit, then of the visits; contestants of one row take turns, so that a neighbour on the machine hits them alike.
local core = require "lip.core"

local bench = {}

--- The networks: the input, then widths of dense layers and { channels, kernel, stride, padding } of convolutions.
bench.sizes = {
  M = { 784, 256, 256, 10 }, S = { 784, 64, 32, 16, 10 }, L = { 784, 1024, 1024, 1024, 10 },
  C = { { 1, 28, 28 }, { 32, 3, 1, 1 }, { 32, 4, 2, 1 }, { 64, 3, 1, 1 }, { 64, 4, 2, 1 }, 512, 10 },
}
bench.nets = { "M", "S", "L" }
bench.conv_nets = { "C" }
bench.activations = { "relu", "maxmin" }
bench.batches = { 32, 128, 512 }
bench.conv_batches = { 32, 128 }

-- The projections whose cost is told; the first is what the others are held against.
bench.projections = {
  { "none", { norm = "inf", project_every = 0 } },
  { "inf, rows scaled", { norm = "inf", projection = "rowwise" } },
  { "inf, rows Euclidean", { norm = "inf", projection = "euclidean" } },
  { "1, columns scaled", { norm = "1", projection = "rowwise" } },
  { "1, columns Euclidean", { norm = "1", projection = "euclidean" } },
  { "2, whole matrix scaled", { norm = "2", projection = "radial" } },
}

-- Three in four visits lie within this factor of the best, or the row was disturbed and is visited as often again.
local CALM = 1.1

function bench.median(t)
  local sorted = table.move(t, 1, #t, 1, {})
  table.sort(sorted)
  local middle = (#sorted + 1) // 2
  return #sorted % 2 == 1 and sorted[middle] or (sorted[middle] + sorted[middle + 1]) / 2
end

--- One of the networks; rows scaled onto their share of budget 1 in the norm inf unless `options` say otherwise.
function bench.build(name, activation, options)
  local size, planes = bench.sizes[name], false
  local spec = { input = size[1], norm = "inf", budget = 1, projection = "rowwise", init = "he" }
  for key, value in pairs(options or {}) do spec[key] = value end
  for i = 2, #size do
    local conv = type(size[i]) == "table" and size[i]
    if planes and not conv then spec[#spec + 1] = core.flatten {} end
    planes = conv
    spec[#spec + 1] = conv and core.conv2d { channels = conv[1], kernel = conv[2], stride = conv[3], padding = conv[4] }
      or core.dense { out = size[i] }
    if i < #size then spec[#spec + 1] = core[activation] {} end
  end
  return core.net(spec)
end

--- Floating-point operations of the products no step can avoid (the first layer needs no input gradient).
function bench.flops(name, batch)
  local size, sum = bench.sizes[name], 0
  local shape = size[1] -- of what a layer reads: a width, or channels, height and width
  for i = 2, #size do
    local layer, products = size[i]
    if type(layer) == "table" then
      local function places(n) return (n + 2 * layer[4] - layer[2]) // layer[3] + 1 end
      local out = { layer[1], places(shape[2]), places(shape[3]) }
      products, shape = out[1] * out[2] * out[3] * shape[1] * layer[2] ^ 2, out
    else
      local width = type(shape) == "table" and shape[1] * shape[2] * shape[3] or shape
      products, shape = width * layer, layer
    end
    sum = sum + products * (i == 2 and 2 or 3)
  end
  return 2 * batch * sum
end

--- A function that does one step on random data.
function bench.stepper(name, activation, batch, options)
  local net, rng = bench.build(name, activation, options), core.rng(1)
  local input, y = bench.sizes[name][1], {}
  local x = core.zeros(batch, table.unpack(type(input) == "table" and input or { input })):uniform_(rng, 0, 1)
  for i = 1, batch do y[i] = rng:below(10) end
  y = core.tensor(y)
  local optim, loss = core.optim.adam { lr = 1e-3 }, core.loss.cross_entropy()
  return function() assert(net:step(x, y, optim, loss)) end
end

--- Median microseconds of one step during about `seconds`, after three steps that are not counted.
function bench.time_step(name, activation, batch, threads, seconds, options)
  local before = core.threads()
  core.threads(threads)
  local step, times = bench.stepper(name, activation, batch, options), {}
  core.threads(before)
  for _ = 1, 3 do step() end
  local finish = core.time() + seconds
  repeat
    local start = core.time()
    step()
    local now = core.time()
    times[#times + 1] = now - start
  until now >= finish and #times >= 3
  return bench.median(times) * 1e6
end

--- The best of products of n x n matrices on one thread, flop/s. Goes on until fifty in a row brought nothing, so that
-- a short disturbance does not lower it; `seconds` bound it.
function bench.product_speed(n, seconds)
  local rng, best, since = core.rng(2), math.huge, 0
  local a, b = core.zeros(n, n):normal_(rng), core.zeros(n, n):normal_(rng)
  local finish = core.time() + seconds
  repeat
    local start = core.time()
    a:matmul(b)
    local now = core.time()
    since = now - start < 0.998 * best and 0 or since + 1
    best = math.min(best, now - start)
  until since >= 50 or now >= finish
  return 2 * n ^ 3 / best
end

--- Medians of contestants that take turns: functions that return microseconds. Also whether the visits agreed.
function bench.take_turns(contestants, rounds)
  local all, visits, calm = {}, 0
  for i = 1, #contestants do all[i] = {} end
  repeat
    for _ = 1, rounds do
      for i, measure in ipairs(contestants) do table.insert(all[i], measure()) end
    end
    visits, calm = visits + rounds, true
    for i = 1, #contestants do
      table.sort(all[i])
      calm = calm and all[i][(visits * 3 + 3) // 4] <= CALM * all[i][1]
    end
  until calm or visits >= 2 * rounds
  local medians = {}
  for i = 1, #contestants do medians[i] = bench.median(all[i]) end
  return medians, calm
end

--- Prints the table of one number of threads and returns its rows.
---@param plan table cells ({ net, activation, batch } each), rounds, seconds (of one visit), threads, speed (flop/s of
--- one thread), others: a list of { label = "...", measure = function(net, activation, batch, seconds) } to compare with
function bench.steps(plan)
  local others, rows = plan.others or {}, {}
  local head = ("%-4s %-7s %5s %11s %8s"):format("net", "act", "batch", "lipwb us", "of limit")
  for _, other in ipairs(others) do head = head .. ("  %12s us %6s"):format(other.label, "ratio") end
  print(head)
  for _, cell in ipairs(plan.cells) do
    local name, activation, batch = table.unpack(cell)
    local contestants = {
      function() return bench.time_step(name, activation, batch, plan.threads, plan.seconds) end,
    }
    for i, other in ipairs(others) do
      contestants[i + 1] = function() return other.measure(name, activation, batch, plan.seconds) end
    end
    local us, calm = bench.take_turns(contestants, plan.rounds)
    local row = { net = name, activation = activation, batch = batch, threads = plan.threads, us = us[1],
      of_limit = bench.flops(name, batch) / (us[1] * 1e-6) / (plan.speed * plan.threads), calm = calm }
    local line = ("%-4s %-7s %5d %11.1f %8.2f"):format(name, activation, batch, row.us, row.of_limit)
    for i, other in ipairs(others) do
      row[other.label] = us[i + 1]
      line = line .. ("  %15.1f %6.2f"):format(us[i + 1], us[i + 1] / us[1])
    end
    print(line .. (calm and "" or "  ~"))
    rows[#rows + 1] = row
  end
  return rows
end

--- Prints what the projections cost beside none, for one network and batch, and returns the rows.
function bench.projection_costs(plan)
  print(("%-24s %11s %8s"):format("projection", "lipwb us", "of none"))
  local contestants, rows = {}, {}
  for i, projection in ipairs(bench.projections) do
    contestants[i] = function()
      return bench.time_step(plan.net, "relu", plan.batch, plan.threads, plan.seconds, projection[2])
    end
  end
  local us, calm = bench.take_turns(contestants, plan.rounds)
  for i, projection in ipairs(bench.projections) do
    print(("%-24s %11.1f %8.3f%s"):format(projection[1], us[i], us[i] / us[1], calm and "" or "  ~"))
    rows[i] = { projection = projection[1], threads = plan.threads, us = us[i], of_none = us[i] / us[1], calm = calm }
  end
  return rows
end

--- What stands above the tables; returns the limit in flop/s. `given`: use this many Gflop/s and measure nothing.
function bench.start(quick, given)
  local info = core.info()
  print(("lipwb %s, %s, %s, %s"):format(core.version, info.blas, info.compiler, info.cpu))
  local load = io.open "/proc/loadavg"
  if load then
    print("load of the machine at the start: " .. load:read "n")
    load:close()
  end
  if given > 0 then
    print(("limit, one thread: %.1f Gflop/s, as given"):format(given))
    return given * 1e9
  end
  -- The small product fits between two interruptions of a busy machine, the large one amortises more.
  local speed, size = 0, 0
  for _, n in ipairs(quick and { 384 } or { 512, 1536 }) do
    local found = bench.product_speed(n, quick and 0.1 or 2)
    if found > speed then speed, size = found, n end
  end
  print(("limit, one thread: %.1f Gflop/s, the best of many products of %d x %d matrices")
    :format(speed / 1e9, size, size))
  return speed
end

bench.nets_legend = "M, S, L: dense nets on 784 numbers; C: four convolutions and a dense layer on 1x28x28"
bench.legend = "us: median microseconds of one step; of limit: the step's share of the limit times threads; "
  .. "~: a disturbed row"

--- The settings that `lipwb bench` and the comparison in tests/bench have in common.
bench.settings = {
  quick = { false, "the smallest nets and batch only" },
  rounds = { 3, "visits of a cell; the median counts", min = 1, whole = true },
  limit = { 0, "Gflop/s of one thread to hold the steps against; 0: measure", min = 0 },
}

local function add_cells(cells, nets, activations, batches)
  for _, name in ipairs(nets) do
    for _, activation in ipairs(activations) do
      for _, batch in ipairs(batches) do cells[#cells + 1] = { name, activation, batch } end
    end
  end
end

--- What the settings ask for: fields of bench.steps (the cells of dense nets) and bench.projection_costs.
function bench.plan(args, threads, speed)
  local plan = { cells = {}, rounds = args.quick and 1 or args.rounds, seconds = args.quick and 0.01 or 0.1,
    threads = threads, speed = speed, net = args.quick and "S" or "M", batch = args.quick and 32 or 128 }
  add_cells(plan.cells, args.quick and { "S" } or bench.nets, bench.activations, args.quick and { 32 } or bench.batches)
  return plan
end

--- The subcommand: tables for one thread and for all that --threads allows. Returns the result row for --json.
function bench.main()
  local args = require "lip.args"(bench.settings)
  local speed, most = bench.start(args.quick, args.limit), core.threads()
  local result = { limit = speed, cpu = core.info().cpu, blas = core.info().blas, rows = {} }
  local function keep(rows) table.move(rows, 1, #rows, #result.rows + 1, result.rows) end
  for _, threads in ipairs(most > 1 and { 1, most } or { 1 }) do
    local plan = bench.plan(args, threads, speed)
    add_cells(plan.cells, bench.conv_nets, { "relu" }, args.quick and { 32 } or bench.conv_batches)
    print(("\n%d thread%s"):format(threads, threads == 1 and "" or "s"))
    keep(bench.steps(plan))
    print(("\n%d thread%s, %s relu batch %d"):format(threads, threads == 1 and "" or "s", plan.net, plan.batch))
    keep(bench.projection_costs(plan))
  end
  print("\n" .. bench.nets_legend .. "\n" .. bench.legend)
  return result
end

return bench
