-- Weights that are computed from trained numbers, in nets from Lua: every choice of the option `weight` trains, keeps its
-- budget, goes through files and resumes bit for bit; views, pieces and clipping see what is trained.
local lu = require "luaunit"
local lip = require "lip"

local PATHS = { "2", "2->2->inf", "inf", "1", "1->inf", "1->2" }

local function choices(kind)
  for _, layer in ipairs(lip.layers()) do
    if layer.name == kind then
      for _, option in ipairs(layer.options) do
        if option.name == "weight" then return option.choices end
      end
    end
  end
end

-- A net whose last layer, or the layers before it, have such weights; nil and why where the path does not fit.
local function dense_net(weight, path, where, options)
  local hidden, last = where ~= "last" and weight or nil, where ~= "hidden" and weight or nil
  local spec = { input = 6, norm = path, budget = 3, seed = 4, lip.dense{ out = 12, weight = hidden }, lip.maxmin(),
    lip.dense{ out = 3, weight = last } }
  for name, v in pairs(options or {}) do spec[name] = v end
  local ok, net = pcall(lip.net, spec)
  if ok then return net end
  return nil, net
end

local function conv_net(weight, path)
  local ok, net = pcall(lip.net, { input = { 2, 6, 6 }, norm = path, budget = 3, seed = 4,
    lip.conv2d{ channels = 4, padding = 1, weight = weight }, lip.maxmin(),
    lip.conv2d{ channels = 4, stride = 2, groups = 2, bias = false, weight = weight }, lip.maxmin(), lip.flatten(),
    lip.dense{ out = 3 } })
  if ok then return net end
  return nil, net
end

-- Labels that a linear map gives, so that there is something to learn.
local function task(features, n)
  local rng = lip.rng(21)
  local x = lip.zeros(n, features):uniform_(rng, -1, 1)
  local z, y = x:matmul(lip.zeros(features, 3):normal_(rng, 0, 1)), {}
  for i = 1, n do
    local best = 1
    for c = 2, 3 do if z:get(i, c) > z:get(i, best) then best = c end end
    y[i] = best - 1
  end
  return x, lip.tensor(y)
end

-- Calls f(name, make) for every choice of both kinds of layers; make(options) builds the net anew.
local function for_all(f)
  local seen = 0
  for _, weight in ipairs(choices "dense") do
    local fits = 0
    for _, path in ipairs(PATHS) do
      for _, where in ipairs{ "hidden", "last", "all" } do
        if dense_net(weight, path, where) then
          fits, seen = fits + 1, seen + 1
          f(weight .. " " .. path .. " " .. where, function(o) return dense_net(weight, path, where, o) end, 6)
        end
      end
    end
    lu.assertTrue(fits > 0, weight)
  end
  for _, weight in ipairs(choices "conv2d") do
    local fits = 0
    for _, path in ipairs(PATHS) do
      if conv_net(weight, path) then
        fits, seen = fits + 1, seen + 1
        f("conv2d " .. weight .. " " .. path, function() return conv_net(weight, path) end, 72)
      end
    end
    lu.assertTrue(fits > 0, weight)
  end
  lu.assertTrue(seen > 20)
end

local function same(a, b, what)
  local p, q = a:parameters(), b:parameters()
  lu.assertEquals(#p, #q)
  for i = 1, #p do lu.assertTrue(p[i].value:equal(q[i].value), what .. ": " .. p[i].kind .. " " .. p[i].name) end
end

local function free_of(net)
  local found = {}
  for _, p in ipairs(net:parameters()) do
    if p.name == "free" then found[#found + 1] = p end
  end
  return found
end

local M = {}

function M:setUp() self.path = os.tmpname() end

function M:tearDown() os.remove(self.path) end

function M.test_the_first_choice_is_what_there_was_before()
  lu.assertEquals(choices("dense")[1], "projected")
  lu.assertEquals(choices("conv2d")[1], "projected")
  lu.assertStrContains(tostring(lip.dense{ out = 3 }), "weight=projected")
  lu.assertErrorMsgContains("expects one of projected, ", lip.dense, { out = 3, weight = "none" })
  local _, why = dense_net("frobenius", "2", "all")
  lu.assertStrContains(why, 'layer 1 (dense): weight = "frobenius": rows of length 1 bound the step 2->inf')
  lu.assertStrContains(why, "this step is 2->2")
end

function M.test_every_kind_learns_within_its_budget()
  for_all(function(name, make, features)
    local x, y = task(features, 60)
    local net, opt, loss = make(), lip.optim.adam{ lr = 0.02 }, lip.loss.cross_entropy{ temperature = 0.2 }
    lu.assertTrue(net:bound().upper <= 3, name .. " begins within its budget")
    local first, last = net:step(x, y, opt, loss), nil
    for _ = 1, 80 do last = assert(net:step(x, y, opt, loss)) end
    lu.assertTrue(last < 0.8 * first, ("%s: loss from %g to %g"):format(name, first, last))
    assert(net:project())
    lu.assertTrue(net:bound().upper <= 3, name)
    local before = net:forward(x)
    assert(net:project())
    lu.assertTrue(net:forward(x):equal(before), name .. ": projected once more")
    assert(net:step(x, y, opt, loss))
  end)
end

function M:test_files_and_going_on()
  for_all(function(name, make, features)
    local x, y = task(features, 20)
    local net, opt, loss = make(), lip.optim.adam{ lr = 0.03 }, lip.loss.cross_entropy()
    for i = 1, 6 do
      assert(net:step(x, y, opt, loss))
      if i == 4 then assert(net:project()) end -- weights that are not g of what is trained, too
      if i >= 4 then
        assert(net:save(self.path, { optimizer = opt }))
        local back, back_opt = assert(lip.load(self.path))
        same(net, back, name)
        lu.assertTrue(back:forward(x):equal(net:forward(x)), name)
        local other = make()
        for _ = 1, 2 do assert(other:step(x, y, lip.optim.adam(), loss)) end
        local other_opt = lip.optim.adam{ lr = 0.03 }
        assert(lip.restore(other, other_opt, back, back_opt))
        for _ = 1, 3 do
          assert(back:step(x, y, back_opt, loss))
          assert(other:step(x, y, other_opt, loss))
        end
        local copy, copy_opt = lip.load(self.path)
        for _ = 1, 3 do assert(copy:step(x, y, copy_opt, loss)) end
        same(back, copy, name)
        same(other, copy, name .. ", restored")
        if i == 6 then
          for _ = 1, 3 do assert(net:step(x, y, opt, loss)) end
          same(net, copy, name .. ", gone on")
        end
      end
    end
  end)
end

function M.test_a_step_is_its_pieces()
  for_all(function(name, make, features)
    local x, y = task(features, 20)
    for _, clip in ipairs{ math.huge, 0.1 } do
      local whole, pieces, loss = make(), make(), lip.loss.cross_entropy()
      local a, b = lip.optim.sgd{ lr = 0.1, momentum = 0.9, clip_norm = clip },
        lip.optim.sgd{ lr = 0.1, momentum = 0.9, clip_norm = clip }
      for _ = 1, 4 do
        assert(whole:step(x, y, a, loss))
        local _, dz = loss:gradient(pieces:forward(x, true), y)
        pieces:backward(dz)
        assert(b:step(pieces, true))
        same(whole, pieces, name)
        for _, p in ipairs(pieces:parameters()) do
          if p.name == "weight" and not p.trained then lu.assertEquals(p.grad:abs():max(), 0) end
        end
      end
    end
  end)
end

-- The length of an update is that of the clipped gradient of what is trained.
function M.test_clipping_sees_what_is_trained()
  for _, clip in ipairs{ 1e-3, 0.02 } do
    local net, opt = dense_net("aol", "2", "all"), lip.optim.sgd{ lr = 1, clip_norm = clip }
    local x, y = task(6, 20)
    local before, sum = {}, 0
    for i, p in ipairs(net:parameters()) do before[i] = p.value:clone() end
    assert(net:step(x, y, opt, lip.loss.cross_entropy()))
    for i, p in ipairs(net:parameters()) do
      if p.trained then sum = sum + (p.value - before[i]):pow(2):sum() end
    end
    lu.assertAlmostEquals(math.sqrt(sum), clip, 1e-3 * clip)
  end
end

-- Gradients of a whole net by difference quotients, through views.
function M.test_gradients_of_the_net()
  for_all(function(name, make, features)
    local x, y = task(features, 30)
    local net, loss = make(), lip.loss.cross_entropy()
    for _, p in ipairs(free_of(net)) do -- away from orthogonal columns, where |V'V| has corners
      p.value:add_(lip.zeros(p.value:shape()):normal_(lip.rng(5), 0, 0.3))
    end
    for _ = 1, 12 do -- and where V itself moves with every g, where it has come to rest
      for _, p in ipairs(free_of(net)) do p.value:mul_(1.0001) end
      net:forward(x)
    end
    local _, dz = loss:gradient(net:forward(x, true), y)
    net:backward(dz)
    for _, p in ipairs(free_of(net)) do
      local v, h, worst = p.value:reshape(-1), 2e-3, 0
      local grad, before = p.grad:clone():reshape(-1), v:clone()
      local most = grad:abs():max()
      for i = 1, grad:size(1), 7 do
        v:copy(before)
        v:set(i, before:get(i) + h)
        local above = loss:value(net:forward(x), y)
        v:copy(before)
        v:set(i, before:get(i) - h)
        local below = loss:value(net:forward(x), y)
        v:copy(before)
        worst = math.max(worst, math.abs((above - below) / (2 * h) - grad:get(i)))
      end
      lu.assertTrue(worst <= 0.05 * most + 2e-4, ("%s: off by %g of %g"):format(name, worst, most))
    end
  end)
end

function M.test_accumulated_gradients()
  local x, y = task(6, 20)
  local net, loss = dense_net("aol", "2", "all"), lip.loss.cross_entropy()
  local _, dz = loss:gradient(net:forward(x, true), y)
  net:backward(dz)
  local once = {}
  for i, p in ipairs(net:parameters()) do once[i] = p.grad:clone() end
  net:backward(dz, { accumulate = true })
  for i, p in ipairs(net:parameters()) do
    lu.assertTrue((p.grad - once[i] * 2):abs():max() <= 1e-6, p.name)
  end
end

function M.test_views()
  local x = task(6, 20)
  local net = dense_net("aol", "2", "all")
  local V, W = free_of(net)[1].value, net:weights(1)
  V:mul_(0.5)
  local before, weight = net:forward(x), W:clone()
  V:mul_(2) -- aol does not mind the scale
  lu.assertTrue(net:forward(x):equal(before))
  V:set(1, 1, V:get(1, 1) + 1)
  lu.assertTrue(W:equal(weight)) -- nobody has used the net
  lu.assertFalse(net:forward(x):equal(before))
  lu.assertFalse(W:equal(weight))
  local changed, bound = W:clone(), net:bound().upper
  W:mul_(0.5) -- an effective weight stands until what it is made of changes
  lu.assertAlmostEquals(net:bound().upper, bound / 2, 1e-5)
  V:add_(0)
  lu.assertTrue(W:equal(changed * 0.5))
  V:set(1, 1, V:get(1, 1) - 0.5)
  net:info()
  lu.assertFalse(W:equal(changed * 0.5))
end

function M.test_a_gradient_that_is_not_finite_changes_nothing()
  local x = task(6, 20)
  for _, clip in ipairs{ math.huge, 1 } do
    local net = lip.net{ input = 6, norm = "2->2->2->inf", budget = 2, lip.dense{ out = 6 }, lip.batch_norm(),
      lip.dense{ out = 3, weight = "frobenius" } }
    local opt = lip.optim.sgd{ lr = 0.1, clip_norm = clip }
    free_of(net)[1].value:mul_(1e-36) -- the same directions, but far steeper
    net:forward(x)
    local all = {}
    for i, p in ipairs(net:parameters()) do all[i] = p.value:clone() end
    local value, message, code = net:step(x, lip.full({ 20, 3 }, 1e11), opt, lip.loss.mse())
    lu.assertNil(value)
    lu.assertEquals(code, "not_finite")
    lu.assertStrContains(message, "the weights are as before this step")
    for i, p in ipairs(net:parameters()) do lu.assertTrue(p.value:equal(all[i]), p.name) end
  end
end

function M.test_steps_do_not_allocate()
  for_all(function(name, make, features)
    local x, y = task(features, 20)
    local net, opt, loss = make(), lip.optim.adam(), lip.loss.cross_entropy()
    for _ = 1, 2 do net:step(x, y, opt, loss) end
    local before = lip.allocations()
    for _ = 1, 5 do net:step(x, y, opt, loss) end
    lu.assertEquals(lip.allocations(), before, name)
  end)
end

function M.test_bits_do_not_depend_on_threads()
  local x, y = task(40, 64)
  local loss, before = lip.loss.cross_entropy(), lip.threads()
  for _, weight in ipairs(choices "dense") do
    local found = {}
    for threads = 1, 3 do
      lip.threads(threads)
      for _, path in ipairs(PATHS) do
        local ok, net = pcall(lip.net, { input = 40, norm = path, budget = 2, lip.dense{ out = 200, weight = weight },
          lip.maxmin(), lip.dense{ out = 3 } })
        if ok then
          local opt = lip.optim.adam{ lr = 0.01 }
          for _ = 1, 3 do assert(net:step(x, y, opt, loss)) end
          found[path] = found[path] or net
          same(found[path], net, weight .. " " .. path)
        end
      end
    end
  end
  lip.threads(before)
end

-- Points that training never visits: what is counted as a weight is what is trained.
function M.test_what_is_listed()
  local net = dense_net("aol", "2", "hidden")
  lu.assertEquals(net:info().parameters, 6 * 12 + 12 + 12 * 3 + 3)
  local names, trained = {}, {}
  for i, p in ipairs(net:parameters()) do names[i], trained[i] = p.name, p.trained end
  lu.assertEquals(names, { "weight", "bias", "free", "weight", "bias" })
  lu.assertEquals(trained, { false, true, true, true, true })
end

return M
