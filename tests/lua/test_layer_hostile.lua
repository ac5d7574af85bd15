-- Layers written in Lua that fail or misbehave: nothing crashes, the message says which layer and where, and the net is
-- what it was before.
local lu = require "luaunit"
local lip = require "lip"
local here = debug.getinfo(1, "S").short_src -- as messages name this file

local T = {}

-- A layer whose functions can be replaced while the net lives.
local now = {}
local plain = {
  forward = function(x, w) return x:mul(w.gain) end,
  backward = function(x, _, dy, w) return dy:mul(w.gain), { gain = dy:mul(x):sum(1) } end,
  lipschitz = function(_, w) return w.gain:abs():max() end,
  deviation = function(_, size, off) return 2 * off + 1e-6 * size end,
}
local hostile = lip.layer{
  name = "hostile", parameters = { gain = { 4, init = 1 } },
  forward = function(...) return (now.forward or plain.forward)(...) end,
  backward = function(...) return (now.backward or plain.backward)(...) end,
  lipschitz = function(...) return (now.lipschitz or plain.lipschitz)(...) end,
  deviation = function(...) return (now.deviation or plain.deviation)(...) end,
}

local function make(options)
  local spec = { input = 3, norm = 2, budget = 4, seed = 2, lip.dense{ out = 4 }, lip.batch_norm(),
    lip.residual{ hostile }, lip.dropout{ rate = 0.3 }, lip.dense{ out = 3 } }
  for name, v in pairs(options or {}) do spec[name] = v end
  return lip.net(spec)
end

local function batch(n)
  local rng, y = lip.rng(5), {}
  for i = 1, n do y[i] = rng:below(3) end
  return lip.randn(rng, n, 3), y
end

-- Everything that a step may change.
local function state_of(net, opt)
  local list = {}
  for i, p in ipairs(net:parameters()) do list[i] = p.value:clone() end
  local s = opt:state()
  for _, slot in ipairs(s.slots) do list[#list + 1] = slot:clone() end
  list[#list + 1] = lip.tensor{ s.updates }
  return list
end

local function assert_same(a, b, what)
  lu.assertEquals(#a, #b)
  for i = 1, #a do lu.assertTrue(a[i]:equal(b[i]), ("%s: array %d"):format(what, i)) end
end

function T.tearDown()
  for name in pairs(now) do now[name] = nil end
end

local place = "layer 3 (residual): layer 1 (hostile)"

-- { what, function, part of the message or nil for a refusal as not finite }
local bad = {
  { "error", function() error "on purpose" end, "on purpose" },
  { "error with an object", function() error(setmetatable({}, { __tostring = function() error "no" end })) end,
    "raised a table" },
  { "error nil", function() error() end, "raised a nil" },
  { "runtime error", function(x) return x.nothing.here end, "test_layer_hostile.lua:" },
  { "nothing", function() end, "got nil" },
  { "a number", function() return 1 end, "got the number 1" },
  { "a table", function() return { 1, 2 } end, "got a table" },
  { "a net", function() return make() end, "got lip.net" },
  { "another shape", function(x) return lip.zeros(x:shape()[1], 5) end, "got one of 8x5" },
  { "too few rows", function() return lip.zeros(7, 4) end, "got one of 7x4" },
  { "the whole as one row", function(x) return x:flatten() end, "got one of 32" },
  { "an ended tensor", function(x)
    debug.getmetatable(x).__gc(x)
    return x
  end, "memory is gone" },
  { "a yield", function() coroutine.yield(1) end, "yield" },
  { "NaN", function(x) return x:mul(0 / 0), { gain = lip.zeros(4) } end },
  { "infinity", function(x) return x:mul(0):add(math.huge), { gain = lip.zeros(4) } end },
}

function T.test_a_failure_leaves_everything_as_it_was()
  local x, y = batch(8)
  local loss = lip.loss.cross_entropy()
  for _, where in ipairs { "forward", "backward" } do
    for _, case in ipairs(bad) do
      local what = where .. ": " .. case[1]
      local net, opt = make(), lip.optim.adam{ lr = 0.01 }
      for _ = 1, 3 do assert(net:step(x, y, opt, loss)) end
      local before = state_of(net, opt)
      now[where] = case[2]
      local ok, value, message, code = pcall(net.step, net, x, y, opt, loss)
      now[where] = nil
      if case[3] then
        lu.assertFalse(ok, what)
        lu.assertStrContains(value, place .. ": " .. where .. " (" .. here .. ":", false, what)
        lu.assertStrContains(value, case[3], false, what)
      else
        lu.assertTrue(ok, what)
        lu.assertEquals({ value, code }, { nil, "not_finite" }, what)
        lu.assertStrContains(message, place, false, what)
      end
      assert_same(state_of(net, opt), before, what)
      -- and it goes on as one that nothing had happened to
      local other, other_opt = make(), lip.optim.adam{ lr = 0.01 }
      for _ = 1, 4 do assert(other:step(x, y, other_opt, loss)) end
      assert(net:step(x, y, opt, loss))
      assert_same(state_of(net, opt), state_of(other, other_opt), what)
    end
  end
end

function T.test_a_failure_by_pieces()
  local x = batch(8)
  local net, opt = make(), lip.optim.sgd{ lr = 0.1 }
  net:forward(x, true)
  local before = state_of(net, opt)
  now.backward = function() error "on purpose" end
  lu.assertErrorMsgContains(place .. ": backward (", net.backward, net, lip.ones(8, 3))
  now.backward = function(_, _, dy) return dy end
  lu.assertErrorMsgContains("table with the gradients of the parameters, got nil", net.backward, net, lip.ones(8, 3))
  now.backward = function(_, _, dy) return dy, { gain = lip.zeros(3) } end
  lu.assertErrorMsgContains("the gradient of 'gain' is to be a tensor of 4", net.backward, net, lip.ones(8, 3))
  now.backward = nil
  assert_same(state_of(net, opt), before, "backward")
  net:backward(lip.ones(8, 3))
  net:backward(lip.ones(8, 3), { accumulate = true }) -- what forward has left serves twice
  for _, p in ipairs(net:parameters()) do
    if p.name == "gain" then lu.assertTrue(p.grad:norm() > 0) end
  end
  assert(net:update(opt) == nil)
end

function T.test_every_user_of_a_net_hears_of_it()
  local x, y = batch(8)
  local net, data = make(), lip.data.tensors(x, lip.tensor(y))
  local calls = {
    forward = function() return net:forward(x) end,
    predict = function() return net:predict(x) end,
    evaluate = function() return net:evaluate(data) end,
    certify = function() return net:certify(data, { eps = 0.1 }) end,
    ["certify local"] = function() return net:certify(x, y, { eps = 0.1, method = "local" }) end,
    attack = function() return lip.attack(net, data, { eps = 0.1 }) end,
    verify = function() return lip.verify(net, data, { eps = 0.1 }) end,
    lower = function() return net:bound{ lower = true } end,
  }
  for name, f in pairs(calls) do
    now.forward = function() error "on purpose" end
    lu.assertErrorMsgContains("on purpose", f)
    lu.assertErrorMsgContains(place, f)
    now.forward = nil
    lu.assertNotNil(f(), name)
  end
  now.lipschitz = function() error "on purpose" end
  for _, f in ipairs { calls.certify, function() return net:bound() end } do
    lu.assertErrorMsgContains(place .. ": lipschitz (", f)
  end
  lu.assertStrContains(tostring(net), "inf")
end

-- A loss written in Lua sees no outputs of a pass that failed.
function T.test_losses_written_in_lua()
  local x, y = batch(8)
  local net, opt, seen = make(), lip.optim.sgd(), 0
  local loss = lip.loss.custom(function(z)
    seen = seen + 1
    return z:square():mean()
  end)
  assert(net:step(x, lip.tensor(y), opt, loss))
  local data = lip.data.tensors(x, lip.tensor(y))
  local before, calls = state_of(net, opt), seen
  for _, where in ipairs { "forward", "backward" } do
    now[where] = function() error "on purpose" end
    lu.assertErrorMsgContains(place .. ": " .. where, net.step, net, x, lip.tensor(y), opt, loss)
    assert_same(state_of(net, opt), before, where)
    now[where] = nil
  end
  lu.assertEquals(seen, calls + 1)
  now.forward = function() error "on purpose" end
  lu.assertErrorMsgContains(place, net.evaluate, net, data, { loss = loss })
  lu.assertEquals(seen, calls + 1)
end

-- Whatever a function asks of its own net is refused; of other nets it may ask.
function T.test_the_same_net_from_inside()
  local x, y = batch(8)
  local net, opt, loss, other = make(), lip.optim.adam(), lip.loss.cross_entropy(), make{ seed = 9 }
  local asks = {
    function() net:forward(x) end, function() net:step(x, y, opt, loss) end, function() net:predict(x) end,
    function() net:reset() end, function() net:project() end, function() net:save "nowhere" end,
    function() net:backward(lip.ones(8, 3)) end, function() net:bound() end, function() net:weights(1) end,
    function() opt:step(net) end, function() lip.attack(net, x, y, { eps = 1 }) end,
  }
  for i, f in ipairs(asks) do
    now.forward = f
    local ok, message = pcall(net.step, net, x, y, opt, loss)
    lu.assertFalse(ok, i)
    lu.assertStrContains(message, "this net is in use: its layer 'hostile' is running", false, i)
  end
  now.forward = function(a, w)
    for _, f in ipairs(asks) do pcall(f) end
    debug.getmetatable(net).__gc(net)
    lu.assertStrContains(tostring(net), "running")
    local inside = now.forward
    now.forward = nil
    other:step(x, y, lip.optim.sgd(), loss)
    other:forward(x)
    now.forward = inside
    return a:mul(w.gain)
  end
  assert(net:step(x, y, opt, loss))
  now.forward = nil
  lu.assertNotNil(net:forward(x))
end

-- A script can finalise what it likes; not under the feet of a running call.
function T.test_ending_what_is_in_use()
  local function finish(object) debug.getmetatable(object).__gc(object) end
  local x, y = batch(8)
  local net, opt, loss = make(), lip.optim.adam(), lip.loss.cross_entropy()
  local data = lip.data.digits{ n = 8 }
  local images = lip.net{ input = data:info().shape, norm = 2, budget = 1, lip.flatten(), lip.dense{ out = 4 }, hostile,
    lip.dense{ out = 10 } }
  now.forward = function(a, w)
    for _, object in ipairs { net, opt, loss, x } do finish(object) end
    return a:mul(w.gain)
  end
  assert(net:step(x, y, opt, loss))
  now.forward = nil
  lu.assertErrorMsgContains("bad argument", net.step, net, x, y, opt, loss) -- x is gone now
  x = batch(8)
  assert(net:step(x, y, opt, loss))
  now.forward = function(a, w)
    for _, object in ipairs { images, loss, data } do finish(object) end
    return a:mul(w.gain)
  end
  lu.assertNotNil(images:evaluate(data, { loss = loss }))
  lu.assertNotNil(images:certify(data, { eps = 0.1 }))
  lu.assertNotNil(lip.attack(images, data, { eps = 0.1 }))
end

-- Tensors that a function keeps are its own: writing to them changes nothing, reading them never fails.
function T.test_tensors_are_copies()
  local x, y = batch(8)
  local kept = {}
  local net, opt, loss = make(), lip.optim.adam(), lip.loss.cross_entropy()
  local clean, clean_opt = make(), lip.optim.adam()
  for _ = 1, 3 do assert(clean:step(x, y, clean_opt, loss)) end
  now.forward = function(a, w)
    local result = a:mul(w.gain)
    for _, t in ipairs { a, w.gain } do
      t:fill(7)
      kept[#kept + 1] = t
    end
    kept[#kept + 1] = result
    return result
  end
  now.backward = function(a, b, dy, w)
    local dx, dw = dy:mul(w.gain), { gain = dy:mul(a):sum(1) }
    for _, t in ipairs { a, b, dy, w.gain } do
      t:fill(7)
      kept[#kept + 1] = t
    end
    return dx, dw
  end
  for _ = 1, 3 do assert(net:step(x, y, opt, loss)) end
  assert_same(state_of(net, opt), state_of(clean, clean_opt), "copies")
  net, clean = nil, nil -- luacheck: ignore
  collectgarbage()
  for _, t in ipairs(kept) do lu.assertEquals(t:size() > 0 and type(t:sum()), "number") end
end

-- The collector may run anything anywhere.
function T.test_finalisers_that_use_the_net()
  local x, y = batch(8)
  local net, opt, loss, refused = make(), lip.optim.adam(), lip.loss.cross_entropy(), 0
  local clean, clean_opt = make(), lip.optim.adam()
  for _ = 1, 3 do assert(clean:step(x, y, clean_opt, loss)) end
  local function litter()
    setmetatable({}, { __gc = function()
      local co = coroutine.wrap(function() if not pcall(net.predict, net, x) then refused = refused + 1 end end)
      co()
    end })
  end
  now.forward = function(a, w)
    litter()
    collectgarbage()
    return a:mul(w.gain)
  end
  now.backward = function(...)
    litter()
    collectgarbage()
    return plain.backward(...)
  end
  for _ = 1, 3 do assert(net:step(x, y, opt, loss)) end
  lu.assertTrue(refused > 3)
  assert_same(state_of(net, opt), state_of(clean, clean_opt), "finalisers")
end

function T.test_coroutines()
  local x, y = batch(8)
  local net, opt, loss = make(), lip.optim.adam(), lip.loss.cross_entropy()
  local value = coroutine.wrap(function() return (assert(net:step(x, y, opt, loss))) end)()
  lu.assertTrue(value > 0)
  now.forward = function(a, w) -- a coroutine of its own may yield to it
    local co = coroutine.wrap(function() coroutine.yield(a:mul(w.gain)) end)
    return co()
  end
  assert(net:step(x, y, opt, loss))
  now.forward = function() coroutine.yield() end
  local co = coroutine.create(function() return net:step(x, y, opt, loss) end)
  local ok, message = coroutine.resume(co)
  lu.assertFalse(ok)
  lu.assertStrContains(message, "yield")
  now.forward = nil
  assert(net:step(x, y, opt, loss))
end

-- Nets inside of nets inside of nets end with an error of Lua's, not of the stack.
function T.test_recursion_ends()
  local deepest, depth = 0, 0
  now.forward = function(a)
    depth = depth + 1
    deepest = math.max(deepest, depth)
    local ok, result = pcall(function() return make():forward(lip.zeros(1, 3)) end)
    depth = depth - 1
    if not ok then error(result, 0) end
    return a
  end
  lu.assertError(function() make():forward(lip.zeros(1, 3)) end)
  lu.assertTrue(deepest > 5)
  now.forward = function(a, w) -- without a net in between
    local function down() return 1 + down() end
    down()
    return a:mul(w.gain)
  end
  lu.assertErrorMsgContains("stack overflow", function() make():forward(lip.zeros(1, 3)) end)
end

function T.test_changing_the_world()
  local x, y = batch(8)
  local net, opt, loss = make(), lip.optim.adam(), lip.loss.cross_entropy()
  local clean, clean_opt = make(), lip.optim.adam()
  assert(clean:step(x, y, clean_opt, loss))
  local threads, shift = lip.threads(), math.random
  now.forward = function(a, w)
    lip.threads(3)
    math.random = nil
    collectgarbage "stop"
    opt:reset()
    opt:lr(opt:lr())
    loss:options()
    local result = a:mul(w.gain)
    collectgarbage "restart"
    math.random = shift
    lip.threads(threads)
    return result
  end
  assert(net:step(x, y, opt, loss))
  assert_same(state_of(net, opt), state_of(clean, clean_opt), "world")
  -- weights that change under a certificate void it
  now.forward = function(a, w)
    if now.view then now.view:fill(3) end
    return a:mul(w.gain)
  end
  now.view = net:weights(1)
  lu.assertErrorMsgContains("a layer has changed the weights", net.certify, net, x, y, { eps = 0.1 })
end

function T.test_huge_shapes()
  local function wide(shape)
    return lip.layer{ name = "wide", output = function() return shape end, forward = function(x) return x end,
      backward = function(x) return x end }
  end
  local function try(shape, options)
    local ok, message = pcall(function()
      return lip.net{ input = 2, norm = 2, budget = 1, wide(shape), options }:forward(lip.zeros(1, 2))
    end)
    lu.assertFalse(ok)
    return message
  end
  lu.assertStrContains(try { 1 << 30, 1 << 20 }, "too many")
  if not os.getenv "ASAN_OPTIONS" then -- which would end the program
    lu.assertStrContains(try { 1 << 30, 1 << 9 }, "memory")
  end
  local big = lip.layer{ name = "big", parameters = { p = { 1 << 30, 1 << 30, 1 << 30 } },
    forward = function(x) return x end, backward = function(x) return x end }
  lu.assertErrorMsgContains("too many", lip.net, { input = 2, norm = 2, budget = 1, big })
end

-- Ctrl-C inside of a function ends the step as it does anywhere.
function T.test_interrupts()
  local outside = require "support_program"
  local dir = assert(lip.file.temporary())
  assert(lip.file.write(dir .. "/s.lua", [[
    local lip = require "lip"
    local busy = false
    local slow = lip.layer{ name = "slow", backward = function(_, _, dy) return dy end, forward = function(x)
      if busy then
        io.open(arg[1], "w"):close()
        local t = 0
        while true do t = t + 1 end
      end
      return x
    end }
    local ds = lip.data.digits{ n = 64 }
    local net = lip.net{ input = ds:info().shape, norm = 2, budget = 1, lip.flatten(), lip.dense{ out = 8 }, slow,
      lip.dense{ out = 10 } }
    local before
    local function on_batch(info)
      if info.step == 2 then busy, before = true, net:parameters()[1].value:clone() end
    end
    local ok, result, message, code = pcall(lip.train, net, ds, { epochs = 9, batch = 32, on_batch = on_batch,
      checkpoint = arg[2] })
    busy = false
    local saved, opt = lip.load(arg[2], { resume = true })
    print(ok, result, code, lip.interrupted(), saved and saved:parameters()[1].value:equal(before), opt:state().updates)
  ]]))
  local p = assert(lip.process.spawn { outside.program, dir .. "/s.lua", dir .. "/ready", dir .. "/ck",
    stdout = dir .. "/out" })
  local until_then = lip.time() + 20
  while not lip.file.stat(dir .. "/ready") and lip.time() < until_then do lip.process.sleep(0.02) end
  p:signal "INT"
  if not p:wait(20) then p:signal "KILL" p:wait() end
  lu.assertEquals(lip.file.read(dir .. "/out"), "true\tnil\tcancelled\ttrue\ttrue\t2\n")
  lip.file.remove_tree(dir)
end

return T
