-- How long the methods of net:bound take, and how far below the product of the norms they come.
--
--   lipwb tests/bench/bound.lua [--set epochs=1] [--set wide=512] [--set deep=8] [--set seconds=60] [--threads 2]
--
-- First table: untrained relu nets 100-width-...-width-10 over width and depth, the 45 pairs and the upper bound together.
-- Second: nets of few inputs and many layers, whose optimum is hard to come to: the upper bound alone.
-- Third: nets 784-128-128-10 and 784-100-100-100-100-10 trained for a moment, as bounds meet them in practice.
-- Fourth: net:certify{method="local"}, one size of balls: images per second of processor time, and
-- seconds for the first one and all that comes before it.
--
-- `--set tables=local` shows the fourth alone.
local lip = require "lip"

local args = lip.args{
  epochs = { 1, "passes over the data before the second table", min = 1 },
  wide = { 256, "largest width", min = 8 }, deep = { 6, "most hidden layers", min = 1 },
  seconds = { math.huge, "most for one method", min = 0.01 },
  tables = { "all", "which of them", choices = { "all", "bounds", "local" } },
  points = { 100, "images of the third table", min = 1 }, rounds = { 5, "runs of the third, the median counts", min = 1 },
  data = { "any", "any: MNIST, or loudly the next best", choices = { "any", "mnist", "fashion-mnist", "digits" } },
}

local methods = {}
for _, m in ipairs(lip.bound_methods()) do
  if m.name ~= "best" and m.name ~= "exact" and m.name ~= "product" then methods[#methods + 1] = m.name end
end

local function mean_pair(pairs_of)
  local sum, C = 0, #pairs_of
  for i = 1, C do
    for j = i + 1, C do sum = sum + pairs_of[i][j] end
  end
  return sum / (C * (C - 1) / 2)
end

local function head()
  local line = ("%-34s %10s"):format("net", "product")
  for _, m in ipairs(methods) do line = line .. (" | %-10s %7s %8s"):format(m, "pairs", "seconds") end
  print(line)
end

-- upper bound and mean pair over those of the product, and seconds
local function row(label, net)
  local product = net:bound{ method = "product", pairs = true }
  local line = ("%-34s %10.5g"):format(label, product.upper)
  for _, m in ipairs(methods) do
    local b = net:bound{ method = m, pairs = true, seconds = args.seconds }
    line = line .. (" | %10.4f %7.4f %8.3f"):format(b.upper / product.upper,
      mean_pair(b.pairs) / mean_pair(product.pairs), b.seconds)
  end
  print(line)
  io.flush()
end

local function spec(input, width, depth, act, options)
  local layers = { input = input, seed = 1, norm = 2, budget = math.huge }
  for name, value in pairs(options or {}) do layers[name] = value end
  layers[#layers + 1] = lip.flatten()
  for _ = 1, depth do
    layers[#layers + 1] = lip.dense{ out = width }
    layers[#layers + 1] = act()
  end
  layers[#layers + 1] = lip.dense{ out = 10 }
  return layers
end

local function untrained()
  print(("bounds over the product's, %d threads"):format(lip.threads()))
  head()
  local width = 32
  while width <= args.wide do
    row(("100-%dx2-10 relu"):format(width), lip.net(spec({ 100 }, width, 2, lip.relu, { init = "he" })))
    width = width * 2
  end
  local depth = 1
  while depth <= args.deep do
    row(("100-64x%d-10 relu"):format(depth), lip.net(spec({ 100 }, 64, depth, lip.relu, { init = "he" })))
    depth = depth * 2
  end
end

local function narrow()
  print()
  print(("%-34s %10s %10s %10s %8s"):format("net", "product", "recursion", "multiplier", "seconds"))
  for _, size in ipairs{ { 1, 30, 4, 2 }, { 5, 20, 6, 5 }, { 10, 50, 8, 3 }, { 4, 80, 5, 10 }, { 4, 80, 10, 1 } } do
    local input, wide, hidden, out = table.unpack(size)
    if wide <= args.wide then
      local layers = { input = input, norm = 2, budget = math.huge, init = "he", seed = 1 }
      for _ = 1, hidden do
        layers[#layers + 1] = lip.dense{ out = wide }
        layers[#layers + 1] = lip.relu()
      end
      layers[#layers + 1] = lip.dense{ out = out }
      local net = lip.net(layers)
      local b = net:bound{ method = "multiplier", seconds = args.seconds }
      print(("%-34s %10.5g %10.5g %10.5g %8.3f"):format(("%d-%dx%d-%d relu"):format(input, wide, hidden, out), net:bound().upper,
        net:bound{ method = "recursion" }.upper, b.upper, b.seconds))
      io.flush()
    end
  end
end

local function fit(net, train, temperature)
  lip.train(net, train, { epochs = args.epochs, batch = 128, seed = 1,
    loss = lip.loss.cross_entropy{ temperature = temperature }, opt = lip.optim.adam{ lr = 1e-3 } })
  net:project()
  return net
end

local function trained(train)
  local function add(label, width, depth, act, options)
    row(label, fit(lip.net(spec({ 1, 28, 28 }, width, depth, act, options)), train, options.budget == 1 and 0.1 or 1))
  end
  print()
  head()
  add("784-128x2-10 relu", 128, 2, lip.relu, { budget = math.huge })
  add("784-128x2-10 relu, sigma <= 2", 128, 2, lip.relu, { budget = 8, projection = "radial" })
  add("784-128x2-10 maxmin, sigma <= 1", 128, 2, lip.maxmin, { budget = 1, projection = "radial" })
  add("784-100x4-10 relu", 100, 4, lip.relu, { budget = math.huge })
  add("784-100x4-10 relu, sigma <= 1.6", 100, 4, lip.relu, { budget = 1.6 ^ 5, projection = "radial" })
  add("784-128x2-10 relu, rows l1 <= 3", 128, 2, lip.relu, { norm = "inf", budget = 27 })
end

local balls = { { "l_2 0.3", p = 2, eps = 0.3 }, { "l_2 0.3, box", p = 2, eps = 0.3, box = { 0, 1 } },
  { "l_inf 0.02", p = math.huge, eps = 0.02 } }

-- Median of processor time, which other programs disturb less, for the first `limit` images, and the share certified.
local function seconds_of(net, test, ball, limit)
  local all, share = {}
  for i = 1, args.rounds do
    local start = os.clock()
    local c = net:certify(test, { method = "local", global = "product", p = ball.p, eps = ball.eps, box = ball.box,
      limit = limit })
    all[i], share = os.clock() - start, c.certified[ball.eps]
  end
  table.sort(all)
  return all[(#all + 1) // 2], share
end

local function local_row(label, net, test)
  local line = ("%-34s"):format(label)
  for _, ball in ipairs(balls) do
    local first = seconds_of(net, test, ball, 1)
    local all, share = seconds_of(net, test, ball, args.points)
    line = line .. (" | %8.0f %5.2f %8.4f"):format((args.points - 1) / math.max(all - first, 1e-9), share, first)
  end
  print(line)
  io.flush()
end

local function verdicts(train, test)
  print(("\n%d images: images per second of processor time, share certified, seconds for one and all that comes before it")
    :format(args.points))
  local line = ("%-34s"):format("net")
  for _, ball in ipairs(balls) do line = line .. (" | %-23s"):format(ball[1]) end
  print(line)
  local conv = lip.net{ input = { 1, 28, 28 }, seed = 1, norm = 2, budget = math.huge,
    lip.conv2d{ channels = 8, kernel = 4, stride = 2 }, lip.relu(), lip.conv2d{ channels = 16, kernel = 4, stride = 2 },
    lip.relu(), lip.flatten(), lip.dense{ out = 64 }, lip.relu(), lip.dense{ out = 10 } }
  local_row("conv 8 k4 s2, 16 k4 s2, 64, relu", fit(conv, train, 1), test)
  for _, size in ipairs{ { 64, 2 }, { 128, 2 }, { 50, 4 } } do
    local net = lip.net(spec({ 1, 28, 28 }, size[1], size[2], lip.relu))
    local_row(("784-%dx%d-10 relu"):format(size[1], size[2]), fit(net, train, 1), test)
  end
end

if args.tables ~= "local" then
  untrained()
  narrow()
end
local train, test = lip.data.main_dataset{ set = args.data }
assert(train, test)
if args.tables ~= "local" then trained(train) end
if args.tables ~= "bounds" then verdicts(train, test) end
