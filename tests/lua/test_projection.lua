-- Projections written in Lua: in place of the engine's own inside of steps, and never what a bound relies on.
local lu = require "luaunit"
local lip = require "lip"
local here = debug.getinfo(1, "S").short_src -- as messages name this file
local outside = require "support_program"

local T = {}

local function batch(n)
  local rng, y = lip.rng(5), {}
  for i = 1, n do y[i] = rng:below(3) end
  return lip.randn(rng, n, 4), y
end

local function make(options, second)
  local spec = { input = 4, norm = 2, budget = 1, seed = 2, lip.dense{ out = 6 }, lip.relu(),
    lip.dense(second or { out = 3 }) }
  for name, v in pairs(options or {}) do spec[name] = v end
  return lip.net(spec)
end

local function step(net, opt, loss)
  local x, y = batch(16)
  return net:step(x, y, opt or lip.optim.sgd{ lr = 0.5 }, loss or lip.loss.cross_entropy())
end

local function weights(net)
  local list = {}
  for i, p in ipairs(net:parameters()) do list[i] = p.value:clone() end
  return list
end

local function assert_same(a, b, what)
  for i = 1, #a do lu.assertTrue(a[i]:equal(b[i]), ("%s: array %d"):format(what or "", i)) end
end

-- w / ||w||_F times the budget: below it in norm 2.
local function frobenius(seen)
  return lip.projection(function(w, budget)
    if seen then seen[#seen + 1] = { w:shape(), budget } end
    return w:mul(budget / w:norm(2))
  end)
end

function T.test_of_a_net_and_of_a_layer()
  local seen = {}
  local net = make{ projection = frobenius(seen) }
  assert(step(net))
  lu.assertEquals(#seen, 2)
  lu.assertEquals({ seen[1][1], seen[2][1] }, { { 6, 4 }, { 3, 6 } })
  lu.assertEquals(seen[1][2], net:info().layers[1].budget)
  for i = 1, 2 do lu.assertAlmostEquals(net:weights(i):norm(2), seen[i][2], 1e-5) end
  lu.assertStrContains(net:info().projection, here .. ":")
  seen = {}
  net = make(nil, { out = 3, projection = frobenius(seen) })
  local plain = make()
  assert(step(net))
  assert(step(plain))
  lu.assertEquals(#seen, 1)
  lu.assertEquals(seen[1][1], { 3, 6 })
  lu.assertTrue(net:weights(1):equal(plain:weights(1)), "the other one has the engine's")
  local kernels = {}
  local images = lip.net{ input = { 2, 6, 6 }, norm = 2, budget = 3, projection = frobenius(kernels),
    lip.residual{ lip.conv2d{ channels = 2, kernel = 3, padding = 1 } }, lip.flatten(), lip.dense{ out = 3 } }
  assert(images:step(lip.randn(1, { 5, 2, 6, 6 }), { 0, 1, 2, 0, 1 }, lip.optim.sgd(), lip.loss.cross_entropy()))
  lu.assertEquals(kernels[1][1], { 2, 2, 3, 3 })
end

-- With a function that does nothing the exact projection still meets the budget, and so does lip.train.
function T.test_bounds_never_rely_on_it()
  local net = make{ projection = lip.projection(function(w) return w:mul(10) end) }
  for _ = 1, 3 do assert(step(net)) end
  lu.assertTrue(net:bound().upper > 5)
  net:project()
  lu.assertTrue(net:bound().upper <= 1)
  local x, y = batch(16)
  net = make{ projection = lip.projection(function(w) return w:mul(3) end) }
  assert(lip.train(net, lip.data.tensors(x, lip.tensor(y)), { epochs = 2, batch = 8 }))
  lu.assertTrue(net:bound().upper <= 1)
end

-- In loops of one's own net:project() is the script's function and then the engine's exact projection.
function T.test_loops_of_ones_own()
  local x, y = batch(16)
  local loss, opt, asked, failing = lip.loss.cross_entropy(), lip.optim.sgd{ lr = 0.5 }, 0, nil
  local own = lip.projection(function(w, budget)
    asked = asked + 1
    if failing then error "on purpose" end
    return w:mul(budget / w:norm(2) / 2) -- half of what is allowed
  end)
  local net = make{ projection = own, project_every = 0 }
  local _, dz = loss:gradient(net:forward(x, true), y)
  net:backward(dz)
  assert(opt:step(net))
  lu.assertEquals(asked, 0)
  lu.assertTrue(net:project())
  lu.assertEquals(asked, 2)
  for i = 1, 2 do lu.assertAlmostEquals(net:weights(i):norm(2), net:info().layers[1].budget / 2, 1e-5) end
  lu.assertTrue(net:bound().upper <= 1 / 4 + 1e-6)
  net:weights(1):fill(1)
  lu.assertTrue(net:project{ script = false })
  lu.assertEquals(asked, 2)
  lu.assertTrue(net:bound().layers[1].upper <= net:info().layers[1].budget)
  net:weights(1):fill(1)
  local before = weights(net)
  failing = true
  lu.assertErrorMsgContains("layer 1 (dense): projection (" .. here .. ":", net.project, net)
  assert_same(weights(net), before, "failed")
  lu.assertErrorMsgContains("both false", net.project, net, { exact = false, script = false })
  local nan = make{ project_every = 0, projection = lip.projection(function(w) return w:mul(0 / 0) end) }
  before = weights(nan)
  local ok, message, code = nan:project()
  lu.assertEquals({ ok, code }, { nil, "not_finite" })
  lu.assertStrContains(message, "layer 1 (dense): projection gave NaN or infinity")
  assert_same(weights(nan), before, "NaN")
end

-- However lip.train ends, and whatever the script's function does at its end.
function T.test_training_ends_bounded()
  local x, y = batch(16)
  local data, asked = lip.data.tensors(x, lip.tensor(y)), 0
  local function train(f, more)
    local net = make{ project_every = 0, projection = lip.projection(f) }
    local options = { epochs = 3, batch = 8, opt = lip.optim.sgd{ lr = 1 } }
    for name, v in pairs(more or {}) do options[name] = v end
    local result = table.pack(pcall(lip.train, net, data, options))
    lu.assertTrue(net:bound().upper <= 1)
    return table.unpack(result, 1, 4)
  end
  local ok, done = train(function(w)
    asked = asked + 1
    return w
  end)
  lu.assertTrue(ok, tostring(done))
  lu.assertEquals(done.steps, 6)
  lu.assertEquals(asked, 2)
  local message
  ok, message = train(function() error "on purpose" end)
  lu.assertFalse(ok)
  lu.assertStrContains(message, "projection (" .. here .. ":")
  ok, message = train(function() error "not this one" end, { on_batch = function() error "the first" end })
  lu.assertFalse(ok)
  lu.assertStrContains(message, "the first")
  local code
  ok, done, message, code = train(function(w) return w:mul(0 / 0) end)
  lu.assertEquals({ ok, done, code }, { true, nil, "not_finite" })
  lu.assertStrContains(message, "layer 1 (dense): projection gave NaN or infinity")
end

-- A projection that is the engine's own gives what the engine gives, in one piece and in several.
function T.test_the_same_as_the_engine()
  local function rows(w, budget) -- of norm inf: every row in the ball of l_1
    local copy = w:clone()
    lip.project_(copy, "inf", budget)
    return copy
  end
  local mine = make{ norm = "inf", projection = lip.projection(rows) }
  local pieces = make{ norm = "inf", projection = lip.projection(rows) }
  local theirs = make{ norm = "inf" }
  local x, y = batch(16)
  local a, b, c = lip.optim.adam{ lr = 0.05 }, lip.optim.adam{ lr = 0.05 }, lip.optim.adam{ lr = 0.05 }
  local loss = lip.loss.cross_entropy()
  for _ = 1, 5 do
    assert(mine:step(x, y, a, loss))
    assert(theirs:step(x, y, b, loss))
    local _, dz = loss:gradient(pieces:forward(x, true), y)
    pieces:backward(dz)
    assert(c:step(pieces, true))
  end
  assert_same(weights(mine), weights(theirs), "step")
  assert_same(weights(pieces), weights(theirs), "pieces")
end

local bad = {
  { "error", function() error "on purpose" end, "on purpose" },
  { "nothing", function() end, "its result is to be a tensor of 3x6, got nil" },
  { "another shape", function(w) return w:transpose() end, "got one of 6x3" },
  { "yield", function() coroutine.yield() end, "yield" },
  { "NaN", function(w) return w:mul(0 / 0) end },
}

function T.test_a_failure_takes_the_update_back()
  for _, case in ipairs(bad) do
    local f
    local own = lip.projection(function(w, b)
      if f then return f(w, b) end
      return w
    end)
    local function new() return make({ project_every = 1 }, { out = 3, projection = own }), lip.optim.adam{ lr = 0.1 } end
    local net, opt = new()
    assert(step(net, opt))
    local before, moments = weights(net), opt:state().slots[1]:clone()
    local ways = {
      step = function() return step(net, opt) end,
      ["a loss of one's own"] = function()
        return step(net, opt, lip.loss.explicit(function(z) return z:sum(), lip.ones(z:shape()) end))
      end,
      pieces = function()
        net:forward(batch(16), true)
        net:backward(lip.ones(16, 3))
        return opt:step(net, true)
      end,
      project = function() return net:project{ exact = false } end,
    }
    for name, way in pairs(ways) do
      local what = case[1] .. ", " .. name
      f = case[2]
      local ok, message, why, code = pcall(way)
      f = nil
      if case[3] then
        lu.assertFalse(ok, what)
        lu.assertStrContains(message, "layer 3 (dense): projection (" .. here .. ":", false, what)
        lu.assertStrContains(message, case[3], false, what)
      else
        lu.assertTrue(ok, what)
        lu.assertEquals({ message, code }, { nil, "not_finite" }, what)
        lu.assertStrContains(why, "layer 3 (dense)", false, what)
      end
      assert_same(weights(net), before, what)
      lu.assertTrue(opt:state().slots[1]:equal(moments), what)
      lu.assertEquals(opt:state().updates, 1, what)
    end
    assert(step(net, opt))
    local other, other_opt = new()
    for _ = 1, 2 do assert(step(other, other_opt)) end
    assert_same(weights(net), weights(other), case[1])
  end
end

function T.test_the_net_is_in_use()
  local net, seen, opt = nil, 0, lip.optim.sgd()
  local own = lip.projection(function(w)
    for _, f in ipairs { net.weights, net.bound, net.project, net.save } do
      if not pcall(f, net, 1) then seen = seen + 1 end
    end
    debug.getmetatable(net).__gc(net)
    debug.getmetatable(opt).__gc(opt)
    collectgarbage()
    local copy = w:clone()
    w:fill(9) -- a copy already
    return copy
  end)
  net = make{ projection = own }
  own = nil -- luacheck: ignore
  collectgarbage()
  assert(step(net, opt))
  lu.assertEquals(seen, 8)
  lu.assertTrue(net:weights(1):max() < 9)
end

function T.test_misuse()
  lu.assertErrorMsgContains("a function f(w, budget) expected, got the number 1", lip.projection, 1)
  lu.assertErrorMsgContains("option 'projection' expects one made by lip.projection(f), got a function", lip.dense,
    { out = 1, projection = print })
  lu.assertErrorMsgContains("option 'projection'", make, { projection = print })
  lu.assertErrorMsgContains("unknown option 'projection'", lip.relu, { projection = frobenius() })
  lu.assertErrorMsgContains("for a weight that is trained itself", make, nil,
    { out = 3, weight = "bjorck", projection = frobenius() })
  local own = frobenius()
  lu.assertStrContains(tostring(own), "lip.projection (" .. here .. ":")
  debug.getmetatable(own).__gc(own)
  lu.assertEquals(tostring(own), "lip.projection (closed)")
  lu.assertErrorMsgContains("option 'projection'", make, { projection = own })
end

-- Files do not hold it: a loaded net has the engine's own; lip.train goes on with that of the script.
function T.test_files()
  local dir = assert(lip.file.temporary())
  local x, y = batch(16)
  local data = lip.data.tensors(x, lip.tensor(y))
  local function train(stop)
    local net = make{ projection = frobenius() }
    assert(lip.train(net, data, { epochs = 3, batch = 8, checkpoint = dir .. "/" .. (stop and "a" or "b"), resume = true,
      on_batch = stop and function(info) return info.step ~= stop end }))
    return net
  end
  local whole = train()
  train(3)
  lip.file.rename(dir .. "/a", dir .. "/b")
  assert_same(weights(train()), weights(whole))
  local loaded = assert(lip.load(dir .. "/b"))
  lu.assertEquals(loaded:info().projection, "euclidean")
  lip.file.remove_tree(dir)
end

-- lip.load says whose projection is gone; what goes on with it has nothing to say.
function T.test_loading_warns()
  local dir = assert(lip.file.temporary())
  local status, out, err, name = outside.script([[
local lip = require "lip"
local dir = ]] .. ("%q"):format(dir) .. [[

local own = lip.projection(function(w) return w:mul(0.5) end)
local function make(o, layer)
  return lip.net{ input = 4, norm = 2, budget = 1, projection = o, lip.dense{ out = 6 }, lip.residual{
    lip.dense{ out = 6, projection = layer } } }
end
assert(make():save(dir .. "/plain"))
assert(make(own):save(dir .. "/net"))
assert(make(own, lip.projection(print)):save(dir .. "/both"))
local data = lip.data.tensors(lip.randn(lip.rng(1), 16, 4), lip.tensor{ 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3 })
for epochs = 1, 2 do
  assert(lip.train(make(own), data, { epochs = epochs, batch = 8, checkpoint = dir .. "/run", resume = true }))
end
assert(lip.load(dir .. "/plain"))
assert(lip.load(dir .. "/run", { resume = true }))
io.stderr:write "now\n"
for _, what in ipairs{ "net", "both", "run" } do
  local net = assert(lip.load(dir .. "/" .. what))
  assert(net:save(dir .. "/again"))
  print(lip.inspect(dir .. "/" .. what).metadata.projection, lip.inspect(dir .. "/again").metadata.projection)
end
]])
  lip.file.remove_tree(dir)
  lu.assertEquals(status, 0, err)
  local warning = "lipwb: WARNING: load: %s/%s was projected by a function of a script (%s), which files do not hold: "
    .. "this net has the engine's projection\n"
  local net = "net: " .. name .. ":3"
  local both = net .. ", layer 2 (residual): layer 1 (dense): written in C"
  lu.assertEquals(err, "now\n" .. warning:format(dir, "net", net) .. warning:format(dir, "both", both)
    .. warning:format(dir, "run", net))
  lu.assertEquals(out, ("%s\tnil\n%s\tnil\n%s\tnil\n"):format(net, both, net))
end

-- A loss that is not finite may be the projection's doing.
function T.test_training_names_it_where_the_loss_is_not_finite()
  local x, y = batch(16)
  local data = lip.data.tensors(x, lip.tensor(y))
  local function fail(projection, loss)
    local net = make{ projection = projection, budget = 1 }
    local done, message, code = lip.train(net, data, { epochs = 40, batch = 8, loss = loss })
    lu.assertEquals({ done, code }, { nil, "not_finite" })
    return message
  end
  local growing = lip.projection(function(w) return w:mul(1e4) end)
  local own = "a projection of the script's (net: " .. here .. ":"
  lu.assertStrContains(fail(growing), own)
  local function nan(z) return 0 / 0, z end
  lu.assertStrContains(fail(growing, nan), own)
  lu.assertNil(fail(nil, nan):find("projection", 1, true))
end

return T
