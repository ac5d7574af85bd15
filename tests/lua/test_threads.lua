-- Threads change nothing: training, projections, bounds, attacks and radii have the same bits on 1, 2 and 4 threads.
-- The registries are gone through, so that new rows are looked at too. Built with -DLIP_SANITIZE=thread the same file
-- shows data races. The nets are just large enough that their work is divided, and each test proves that it was: it looks at
-- how often the pool's threads were woken.
local lu = require "luaunit"
local lip = require "lip"

local inf = math.huge
local before = lip.threads()
-- Sanitizers look at four threads only: that bits agree is for ordinary builds, twenty times as fast.
local numbers = (lip.info().flags or ""):find("sanitize=", 1, true) and { 4 } or { 1, 2, 4 }

-- ---- bits ----

local function digest_of(list)
  local parts = {}
  for _, v in ipairs(list) do
    if type(v) == "number" then
      parts[#parts + 1] = ("<d"):pack(v)
    elseif type(v) == "table" then
      parts[#parts + 1] = digest_of(v)
    else
      local flat = v:flatten():totable()
      for i = 1, #flat, 200 do
        local n = math.min(200, #flat - i + 1)
        parts[#parts + 1] = ("<" .. ("f"):rep(n)):pack(table.unpack(flat, i, i + n - 1))
      end
    end
  end
  return lip.sha256(table.concat(parts))
end

-- Weights and gradients of a net, behind other results.
local function with_state(net, list)
  for _, p in ipairs(net:parameters()) do
    list[#list + 1] = p.value
    list[#list + 1] = p.grad
  end
  return list
end

-- ---- who worked ----

-- How often each thread of this process has gone to sleep or been put aside so far.
local function switches()
  local list = {}
  for _, id in ipairs(lip.file.list "/proc/self/task" or {}) do
    local file = io.open("/proc/self/task/" .. id .. "/status")
    if file then
      local text, n = file:read "a", 0
      file:close()
      for count in text:gmatch "voluntary_ctxt_switches:%s*(%d+)" do n = n + tonumber(count) end
      list[id] = n
    end
  end
  return list
end

local tiny = { input = 2, norm = 2, lip.dense { out = 2 } }

-- The threads that a pool of four starts beside the caller. A sanitizer may start one of its own with the first pool.
local function workers()
  lip.threads(2)
  lip.net(tiny)
  local old = switches()
  lip.threads(4)
  lip.net(tiny)
  local new = {}
  for id in pairs(switches()) do
    if not old[id] then new[#new + 1] = id end
  end
  return new
end

local crew

-- Whether a thread of the pool of four was woken while f ran. It may only get to it after that, on a busy machine.
local function woken(f)
  local from = switches()
  f()
  for _ = 1, 500 do
    local now = switches()
    for _, id in ipairs(crew) do
      if now[id] ~= from[id] then return true end
    end
    lip.process.run { "sleep", "0.01" }
  end
  return false
end

-- Calls f, which makes its nets anew, on 1, 2 and 4 threads. undivided: the work is never divided.
local function same(what, f, undivided)
  local first
  for _, n in ipairs(numbers) do
    local got
    lip.threads(n)
    local function run() got = digest_of(f()) end
    if n == 4 and crew and not undivided then
      lu.assertTrue(woken(run), what .. ": its work was not divided: make it larger, or say that it never is")
    else
      run()
    end
    first = first or got
    lu.assertEquals(got, first, ("%s: other bits on %d threads"):format(what, n))
  end
end

-- ---- rows of the registries ----

local values = { eps = 0.05, d = 0.1, every = 1, factor = 0.9, out = 40, channels = 8 }

-- Options for a row: the required ones (`whole` where nothing better is known), and one table for each choice there is.
local function settings(row, whole)
  local first, list = {}, {}
  for _, o in ipairs(row.options or {}) do
    if o.required then first[o.name] = values[o.name] or whole or 1 end
  end
  for _, o in ipairs(row.options or {}) do
    for _, choice in ipairs(o.choices or {}) do
      local one = { [o.name] = choice }
      for name, v in pairs(first) do one[name] = v end
      list[#list + 1] = one
    end
  end
  return #list > 0 and list or { first }
end

local function label(row, options)
  local words = { row.name }
  for name, v in pairs(options) do words[#words + 1] = name .. "=" .. tostring(v) end
  table.sort(words, function(a, b) return a ~= b and (a == row.name or (b ~= row.name and a < b)) end)
  return table.concat(words, " ")
end

local rng = lip.rng(3)
local ROWS, IN, OUT = 96, 48, 10
local x = lip.rand(rng, ROWS, IN)
local labels = lip.zeros(ROWS)
for i = 1, ROWS do labels[i] = rng:below(OUT) end
local targets = lip.rand(rng, ROWS, OUT)
local data = lip.data.tensors(x, labels)

local function dense_net(norm, options)
  local all = { input = IN, norm = norm, budget = 4, seed = 2, init = "he",
    lip.dense { out = 88 }, lip.relu {}, lip.dense { out = 48 }, lip.maxmin {}, lip.dense { out = OUT } }
  for name, v in pairs(options or {}) do all[name] = v end
  return lip.net(all)
end

local function steps(net, opt, loss, count, y)
  local list = {}
  for i = 1, count do list[i] = net:step(x, y or labels, opt, loss) end
  return with_state(net, list)
end

local T = {}

function T.setupClass()
  if switches() and next(switches()) then crew = workers() end
  if crew then lu.assertEquals(#crew, 3) else print "no /proc/self/task: whether work is divided is not looked at" end
end

function T.teardownClass() lip.threads(before) end

function T.test_the_witness_sees_idle_threads()
  if not crew then return end
  lip.threads(4)
  local net = lip.net(tiny) -- too small to be divided
  lip.process.run { "sleep", "0.05" }
  local from = switches()
  for _ = 1, 20 do net:forward(lip.rand(lip.rng(1), 4, 2)) end
  lip.process.run { "sleep", "0.05" }
  local now = switches()
  for _, id in ipairs(crew) do lu.assertEquals(now[id], from[id]) end
end

function T.test_losses()
  for _, row in ipairs(lip.losses()) do
    for _, options in ipairs(settings(row)) do
      same(label(row, options), function()
        local loss = lip.loss[row.name](options)
        local y = loss:target() == "labels" and labels or targets
        return steps(dense_net "2", lip.optim.sgd { lr = 0.01 }, loss, 2, y)
      end)
    end
  end
end

function T.test_optimisers_and_schedules()
  for _, row in ipairs(lip.optims()) do
    for _, clip in ipairs { inf, 0.5 } do
      same(("%s clip_norm=%g"):format(row.name, clip), function()
        local opt = lip.optim[row.name] { clip_norm = clip, weight_decay = 0.01 }
        return steps(dense_net "inf", opt, lip.loss.cross_entropy {}, 3)
      end)
    end
  end
  local optims = lip.optims()
  for i, row in ipairs(lip.schedules()) do
    local kind = optims[(i - 1) % #optims + 1].name
    same(("%s with %s"):format(row.name, kind), function()
      local net = dense_net("1", { lip.dense { out = 96 }, lip.dropout { rate = 0.2 }, lip.dense { out = 64 },
        lip.relu {}, lip.dense { out = OUT } })
      local result = assert(lip.train(net, data, { epochs = 2, batch = 80, seed = 4, opt = lip.optim[kind] {},
        schedule = lip.schedule[row.name](settings(row)[1]), loss = lip.loss.cross_entropy {} }))
      return with_state(net, { result.history[1].loss, result.history[2].loss })
    end)
  end
end

function T.test_layers()
  local images = x:reshape(ROWS, 3, 4, 4)
  local flat = { dense = true }
  local function net_in(norm, row, options)
    return lip.net { input = { 3, 4, 4 }, norm = norm, budget = 64, seed = 5, init = "he",
      lip.conv2d { channels = 8, padding = 1 }, flat[row.name] and lip.flatten {} or lip.relu {}, lip[row.name](options),
      lip.flatten {}, lip.dense { out = 256 }, lip.relu {}, lip.dense { out = 128 }, lip.relu {}, lip.dense { out = OUT } }
  end
  local function net_with(row, options) -- some weights are made for one step of the norm path alone
    for _, norm in ipairs { "inf", "2" } do
      local ok, net = pcall(net_in, norm, row, options)
      if ok then return net end
    end
    return net_in("2->2->inf", row, options)
  end
  local function tries(row) -- with the first whole number that fits an image of 8 x 4 x 4
    for _, whole in ipairs { 4, 2, 3, 1, 8 } do
      local list = settings(row, whole)
      if row.container then list[1][1] = lip.maxmin {} end
      for try = 1, 2 do
        if pcall(net_with, row, list[1]) then return list end
        flat[row.name] = try == 1
      end
    end
    error(row.name .. ": no value of its required options was found")
  end
  for _, row in ipairs(lip.layers()) do
    for _, options in ipairs(tries(row)) do
      if row.container then options[1] = lip.maxmin {} end
      same(label(row, options), function()
        local net = net_with(row, options)
        local list = { net:forward(images, true) }
        list[2] = net:backward(targets, { input_gradient = true })
        for i = 3, 4 do list[i] = net:step(images, labels, lip.optim.adam { lr = 0.01 }, lip.loss.cross_entropy {}) end
        list[5] = net:forward(images)
        return with_state(net, list)
      end)
    end
  end
end

function T.test_projections()
  local kinds
  for _, o in ipairs(lip.net_options()) do kinds = o.name == "projection" and o.choices or kinds end
  for _, norm in ipairs { "1", "2", "inf", "1->2", "1->inf", "2->inf", "1->2->inf" } do
    for _, kind in ipairs(kinds) do
      local ok = pcall(dense_net, norm, { projection = kind })
      if ok then -- the others say that they do not serve this norm
        same(("projection %s of %s"):format(kind, norm), function()
          local net = dense_net(norm, { projection = kind, budget = 0.5 })
          local list = steps(net, lip.optim.sgd { lr = 0.5 }, lip.loss.cross_entropy {}, 2)
          net:project()
          return with_state(net, list)
        end)
      end
    end
  end
end

local function bound_net(norm)
  return lip.net { input = 40, norm = norm, budget = inf, seed = 6, init = "he", lip.dense { out = 32 }, lip.relu {},
    lip.dense { out = 32 }, lip.relu {}, lip.dense { out = 4 } }
end

local function few_units(norm)
  return lip.net { input = 40, norm = norm, budget = inf, seed = 6, init = "he", lip.dense { out = 12 }, lip.relu {},
    lip.dense { out = 4 } }
end

local serial = { product = true, abs = true, exact = true }

local function numbers_of(result)
  return { result.upper, result.lower or 0, result.pairs or {}, result.lower_pairs or {} }
end

function T.test_bounds()
  local seen = {}
  for _, row in ipairs(lip.bound_methods()) do
    for _, norm in ipairs { "2", "inf" } do
      for _, make in ipairs { bound_net, few_units } do
        same(("bound %s of %s"):format(row.name, norm), function()
          local net = make(norm)
          return numbers_of(assert(net:bound { method = row.name, pairs = true }))
        end, serial[row.name])
      end
    end
    seen[row.name] = true
  end
  lu.assertTrue(seen.product)
  for _, norm in ipairs { "1", "2", "inf" } do
    same("search from below in " .. norm, function()
      return numbers_of(assert(bound_net(norm):bound { lower = true, points = 64 }))
    end)
  end
end

function T.test_attacks()
  for _, row in ipairs(lip.attacks()) do
    for _, p in ipairs { 1, 2, inf } do
      same(("attack %s in %g"):format(row.name, p), function()
        local found = lip.attack(dense_net "2", data, { method = row.name, p = p, eps = 0.3, restarts = 2, targets = 3,
          steps = row.name ~= "fgsm" and 4 or nil }) -- which takes one, and says so
        return { found.success, found.adversarial, found.distance, found.margins }
      end)
    end
  end
end

function T.test_certify()
  local few = lip.zeros(ROWS) -- the net has four outputs
  for i = 1, ROWS do few[i] = labels[i] % 4 end
  local narrow = lip.data.tensors(x:slice(2, 1, 40):clone(), few)
  local methods = { "local" }
  for _, row in ipairs(lip.bound_methods()) do methods[#methods + 1] = row.name end
  for _, method in ipairs(methods) do
    for _, norm in ipairs { "2", "inf" } do
      same(("certify %s in %s"):format(method, norm), function()
        local options = { method = method, eps = 0.05, table = method ~= "local" }
        local report = assert(bound_net(norm):certify(narrow, options))
        return { report.radii, report.margins, report.table or 0 }
      end, serial[method])
    end
  end
  for _, arithmetic in ipairs { "float32", "double", "real" } do
    same("certify " .. arithmetic, function()
      local report = assert(dense_net("2"):certify(data, { arithmetic = arithmetic, tight = true }))
      return { report.radii, report.margins }
    end)
  end
end

function T.test_verify()
  same("verify", function()
    local r = assert(lip.verify(dense_net "2", data, { eps = 0.02, steps = 10 }))
    return { r.verified, r.violated, r.unproven, r.adversarial or 0 }
  end)
end

return { TestThreads = T }
