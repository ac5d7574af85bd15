-- lip.loss.custom and lip.loss.explicit: losses written in Lua, wherever a loss is taken.
local lu = require "luaunit"
local lip = require "lip"
local support = require "support_train"

local here = debug.getinfo(1, "S").short_src
local T = {}

local function entropy(z, y) return (z:logsumexp(2) - z:gather(y)):mean() end

local function net(outputs, more)
  local o = { input = 3, norm = "2", budget = 6, seed = 5, lip.dense { out = 16 }, lip.relu {},
    lip.dense { out = outputs or 2 } }
  for name, value in pairs(more or {}) do o[name] = value end
  return lip.net(o)
end

local function weights_of(n)
  local list = {}
  for i = 1, n:weighted() do list[i] = n:weights(i):clone() end
  return list
end

local function close(a, b, tolerance)
  for i, w in ipairs(a) do lu.assertTrue(w:allclose(b[i], tolerance), ("layer %d: %g"):format(i, (w - b[i]):norm())) end
end

local points = support.points(100, 4)

-- ---- as the engine's own ----

function T.test_trains_as_the_built_in_loss()
  for _, more in ipairs { {}, { norm = "inf" }, { project_every = 3 }, { project_every = 0 } } do
    local results = {}
    for i, loss in ipairs { lip.loss.custom(entropy), lip.loss.cross_entropy(),
      lip.loss.explicit(function(z, y) return lip.loss.cross_entropy():gradient(z, y) end) } do
      local n = net(2, more)
      local done = assert(lip.train(n, points, { epochs = 3, batch = 32, loss = loss, validation = points,
        opt = lip.optim.sgd { lr = 0.1, momentum = 0.9 } }))
      results[i] = { weights_of(n), done.history[3] }
    end
    for i = 2, 3 do
      close(results[1][1], results[i][1], 1e-5)
      local a, b = results[1][2], results[i][2]
      lu.assertAlmostEquals(a.loss, b.loss, 1e-5)
      lu.assertAlmostEquals(a.validation.loss, b.validation.loss, 1e-5)
      lu.assertEquals(a.validation.accuracy, b.validation.accuracy)
    end
  end
end

function T.test_evaluate_weighs_batches_by_their_rows()
  local n, built_in = net(), lip.loss.cross_entropy()
  local want = n:evaluate(points, { loss = built_in })
  for _, batch in ipairs { 1, 7, 99, 100, 1000 } do
    local got = n:evaluate(points, { loss = lip.loss.custom(entropy), batch = batch })
    lu.assertEquals({ got.n, got.accuracy }, { want.n, want.accuracy })
    lu.assertAlmostEquals(got.loss, want.loss, 1e-6)
  end
  local part = n:evaluate(points, { loss = lip.loss.custom(entropy), batch = 7, limit = 11 })
  lu.assertEquals(part.n, 11)
  lu.assertAlmostEquals(part.loss, n:evaluate(points, { loss = built_in, limit = 11 }).loss, 1e-6)
end

function T.test_values_in_place_of_labels()
  local data = lip.data.tensors(lip.rand(1, { 50, 3 }), lip.rand(2, { 50, 1 }))
  local mse = lip.loss.custom(function(z, y) return (z - y):square():mean() end)
  local one, two = net(1), net(1)
  assert(lip.train(one, data, { epochs = 2, batch = 16, loss = mse }))
  local done = assert(lip.train(two, data, { epochs = 2, batch = 16, loss = lip.loss.mse(), validation = data }))
  local seen = one:evaluate(data, { loss = mse })
  lu.assertNil(seen.accuracy)
  lu.assertTrue(seen.loss > 0)
  lu.assertAlmostEquals(seen.loss, done.history[2].validation.loss, 1e-6)
end

function T.test_methods()
  local loss = lip.loss.custom(entropy)
  local line = debug.getinfo(entropy, "S").linedefined
  lu.assertEquals(loss:name(), ("custom (%s:%d)"):format(here, line))
  lu.assertEquals(tostring(loss), loss:name())
  lu.assertEquals({ loss:target(), loss:options() }, { nil, {} })
  local z, y = lip.randn(lip.rng(1), 6, 3), { 0, 1, 2, 2, 1, 0 }
  local value, dz = loss:gradient(z, y)
  local want, dwant = lip.loss.cross_entropy():gradient(z, y)
  lu.assertAlmostEquals(value, want, 1e-6)
  lu.assertAlmostEquals(loss:value(z, y), want, 1e-6)
  lu.assertTrue(dz:allclose(dwant, 1e-6))
  local with_x = lip.loss.custom(function(outputs, _, x, n) return outputs:sum() * x:sum() * n.k end)
  lu.assertEquals(with_x:value(lip.ones(1, 2), nil, lip.tensor(3), { k = 5 }), 30)
  lu.assertEquals(lip.loss.explicit(print):name(), "explicit (written in C)")
  lu.assertEquals(lip.loss.explicit(function() end, "mine"):name(), "mine")
  lu.assertEquals(lip.loss.explicit(setmetatable({}, { __call = function() return 3 end })):value(z), 3)
end

-- Options whose loss a metamethod makes up are read once; the engine's own step, taken from behind, learns nothing.
function T.test_no_way_around()
  local n, opt, loss, asked = net(), lip.optim.sgd(), lip.loss.custom(entropy), 0
  local options = setmetatable({}, { __index = function(_, key)
    asked = asked + (key == "loss" and 1 or 0)
    return key == "loss" and (asked == 1 and loss or lip.loss.mse()) or nil
  end })
  lu.assertAlmostEquals(n:evaluate(points, options).loss, n:evaluate(points, { loss = loss }).loss, 1e-12)
  local x, y = points:batch(1, 10)
  local _, engine_step = debug.getupvalue(n.step, 1)
  lu.assertEquals(select(3, engine_step(n, x, y, opt, loss)), "not_finite")
end

-- ---- what it sees, and what it may do ----

function T.test_arguments()
  local n, calls = net(), {}
  local x, y, opt = lip.rand(1, { 4, 3 }), { 0, 1, 0, 1 }, lip.optim.sgd()
  local loss = lip.loss.explicit(function(z, labels, inputs, which, gradient)
    calls[#calls + 1] = { z:shape(), labels == y, inputs:equal(x), which == n, gradient }
    return 1, z
  end)
  assert(n:step(x, y, opt, loss))
  lu.assertEquals(calls, { { { 4, 2 }, true, true, true, true } })
  calls = {}
  n:evaluate(points, { loss = lip.loss.explicit(function(z, labels, inputs, which, gradient)
    calls[#calls + 1] = { z:shape(), labels:shape(), inputs:shape(), which == n, gradient }
    return 1
  end), batch = 60 })
  lu.assertEquals(calls, { { { 60, 2 }, { 60 }, { 60, 3 }, true, false }, { { 40, 2 }, { 40 }, { 40, 3 }, true, false } })
  local seen
  assert(lip.train(n, points, { epochs = 1, batch = 100, loss = function(z, labels, inputs)
    seen = { z:shape(), labels:shape(), inputs:shape() }
    return lip.loss.cross_entropy():gradient(z, labels)
  end }))
  lu.assertEquals(seen, { { 100, 2 }, { 100 }, { 100, 3 } })
end

-- The gradient reaches the weights as backward has it, for a loss of x and of the net's bound.
function T.test_a_loss_of_inputs_and_bound()
  local function f(z, _, x, n) return (z * x:slice(2, 1, 2)):square():mean() * n:bound().upper end
  local one, two = net(2, { project_every = 0 }), net(2, { project_every = 0 })
  local x, opt = lip.rand(1, { 8, 3 }), lip.optim.sgd { lr = 0.05 }
  for _ = 1, 3 do
    local value = one:step(x, nil, opt, lip.loss.custom(f))
    local z = two:forward(x, true)
    local want, dz = lip.grad(function(outputs) return f(outputs, nil, x, two) end)(z)
    two:backward(dz)
    local other = lip.optim.sgd { lr = 0.05 }
    two:update(other)
    lu.assertEquals(value, want)
  end
  lu.assertEquals(opt:state().updates, 3)
  close(weights_of(one), weights_of(two), 0)
end

function T.test_the_net_must_not_run_inside()
  local n, opt = net(), lip.optim.sgd { lr = 0.1 }
  local x, y = points:batch(1, 10)
  local entropies = lip.loss.cross_entropy()
  local recursive
  for name, f in pairs {
    forward = function() n:forward(x) end, larger = function() n:forward(lip.rand(1, { 5000, 3 }), true) end,
    step = function() n:step(x, y, opt, entropies) end, evaluate = function() n:evaluate(points) end,
    reset = function() n:reset(3) end, backward = function(z) n:backward(z:detach()) end,
    certify = function() n:certify(points, { eps = 0.1 }) end, project = function() n:project() end,
    update = function() n:update(opt) end, opt = function() opt:step(n, true) end,
  } do
    local loss = lip.loss.custom(function(z, labels) f(z) return entropy(z, labels) end)
    local before = weights_of(n)
    lu.assertErrorMsgContains("this net is in use", n.step, n, x, y, opt, loss)
    close(weights_of(n), before, 0)
    if name ~= "backward" then -- nothing comes after it here
      lu.assertEquals(type(n:evaluate(points, { loss = loss }).loss), "number", name)
    end
  end
  local function again(z, labels) n:step(x, y, opt, recursive) return entropy(z, labels) end
  recursive = lip.loss.custom(again)
  lu.assertErrorMsgContains("this net is in use", n.step, n, x, y, opt, recursive)
  local finish = lip.loss.explicit(function(z) debug.getmetatable(n).__gc(n) return 1, z end)
  lu.assertEquals(n:step(x, y, opt, finish), 1) -- not while it is in use
  finish = lip.loss.explicit(function(z) debug.getmetatable(opt).__gc(opt) return 1, z end)
  lu.assertErrorMsgContains("this optimiser is closed", n.step, n, x, y, opt, finish)
  lu.assertTrue(assert(n:step(x, y, lip.optim.sgd(), entropies)) > 0)
end

-- ---- what goes wrong ----

function T.test_messages()
  local n, opt = net(), lip.optim.sgd { lr = 0.1 }
  local x, y = points:batch(1, 10)
  local before = weights_of(n)
  local function refused(text, loss)
    local ok, message = pcall(n.step, n, x, y, opt, loss)
    lu.assertFalse(ok, text)
    lu.assertStrContains(message, text)
    lu.assertStrContains(message, here .. ":")
    ok, message = pcall(lip.train, net(), points, { loss = loss })
    lu.assertFalse(ok, text)
    lu.assertStrContains(message, text)
    lu.assertNil(message:find("train.lua", 1, true), message)
  end
  local explicit, custom = lip.loss.explicit, lip.loss.custom
  refused("must return a number and a tensor, the gradient in z; got the number 1 and nil", explicit(function() return 1 end))
  refused("got nil and nil", explicit(function() end))
  refused("returned a gradient that does not fit: expected ", explicit(function(z) return 1, z[1] end))
  refused(":" .. debug.getinfo(1, "l").currentline .. ": lip.tensor gather", custom(function(z) return z:gather { 1 } end))
  refused("must return a number, got a tensor of ", custom(function(z) return z end))
  refused("returned a constant", custom(function() return 1 end))
  refused("got nil", custom(function() end))
  refused("my own words", custom(function() error "my own words" end))
  refused("cannot yield here", custom(function(z) coroutine.yield() return z:sum() end))
  for text, value in pairs { ["loss nan"] = 0 / 0, ["loss inf"] = math.huge } do
    local none, message, code = n:step(x, y, opt, custom(function(z) return z:square():sum() * value end))
    lu.assertEquals({ none, code }, { nil, "not_finite" })
    lu.assertStrContains(message, text)
  end
  local none, message, code = n:step(x, y, opt, explicit(function(z) return 1, z:fill(0 / 0) end))
  lu.assertEquals({ none, code }, { nil, "not_finite" })
  lu.assertStrContains(message, "gradient is not finite")
  lu.assertEquals(opt:state().updates, 0)
  close(before, weights_of(n), 0)
  lu.assertErrorMsgContains("lip.loss.custom: argument 1 (f) expects a function, got nil", lip.loss.custom)
  lu.assertErrorMsgContains("a function f(z, y, x, net) expected, got the number 3", lip.loss.explicit, 3)
  lu.assertErrorMsgContains("call it, as in lip.loss.custom()", lip.train, n, points, { loss = lip.loss.custom })
  local _, ended = pcall(n.evaluate, n, points, { loss = explicit(function(z) return z end) })
  lu.assertStrContains(ended, "must return a number, got lip.tensor")
end

-- ---- runs that stop and go on ----

function T.test_resumes_to_the_same_bits()
  local path = os.tmpname()
  local loss = lip.loss.custom(entropy)
  local whole, _, losses = support.long_run { loss = loss }
  local left = 7
  os.remove(path)
  local _, stopped = support.long_run { loss = loss, checkpoint = path, on_batch = function()
    left = left - 1
    return left > 0
  end }
  lu.assertTrue(stopped.stopped)
  local net_again, result, again = support.long_run { loss = loss, checkpoint = path, resume = true }
  os.remove(path)
  lu.assertTrue(result.resumed)
  lu.assertEquals(again, losses)
  close(weights_of(whole), weights_of(net_again), 0)
end

function T.test_results_do_not_depend_on_threads()
  local threads, found = lip.threads(), {}
  for i = 1, 2 do
    lip.threads(i)
    local n = lip.net { input = 200, norm = 2, seed = 1, lip.dense { out = 100 }, lip.relu(), lip.dense { out = 10 } }
    local x, y, opt = lip.rand(1, { 200, 200 }), lip.zeros(200), lip.optim.adam()
    for _ = 1, 3 do assert(n:step(x, y, opt, lip.loss.custom(entropy))) end
    found[i] = weights_of(n)
  end
  lip.threads(threads)
  close(found[1], found[2], 0)
end

return T
