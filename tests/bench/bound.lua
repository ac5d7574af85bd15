-- How long the methods of net:bound take, and how far below the product of the norms they come.
--
--   lipwb tests/bench/bound.lua [--set epochs=1] [--set wide=512] [--set deep=8] [--set seconds=60] [--threads 2]
--
-- First table: untrained relu nets 100-width-...-width-10 over width and depth, the 45 pairs and the upper bound together.
-- Then nets of few inputs and many layers, whose optimum is hard to come to: the upper bound alone.
-- Last: nets 784-128-128-10 and 784-100-100-100-100-10 trained for a moment, as bounds meet them in practice.
local lip = require "lip"

local args = lip.args{
  epochs = { 1, "passes over the data before the second table", min = 1 },
  wide = { 256, "largest width", min = 8 }, deep = { 6, "most hidden layers", min = 1 },
  seconds = { math.huge, "most for one method", min = 0.01 },
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

local train = assert(lip.data.main_dataset{ set = args.data })
print()
head()
local function trained(label, width, depth, act, options)
  local net = lip.net(spec({ 1, 28, 28 }, width, depth, act, options))
  lip.train(net, train, { epochs = args.epochs, batch = 128, seed = 1,
    loss = lip.loss.cross_entropy{ temperature = options.budget == 1 and 0.1 or 1 }, opt = lip.optim.adam{ lr = 1e-3 } })
  net:project()
  row(label, net)
end
trained("784-128x2-10 relu", 128, 2, lip.relu, { budget = math.huge })
trained("784-128x2-10 relu, sigma <= 2", 128, 2, lip.relu, { budget = 8, projection = "radial" })
trained("784-128x2-10 maxmin, sigma <= 1", 128, 2, lip.maxmin, { budget = 1, projection = "radial" })
trained("784-100x4-10 relu", 100, 4, lip.relu, { budget = math.huge })
trained("784-100x4-10 relu, sigma <= 1.6", 100, 4, lip.relu, { budget = 1.6 ^ 5, projection = "radial" })
trained("784-128x2-10 relu, rows l1 <= 3", 128, 2, lip.relu, { norm = "inf", budget = 27 })
