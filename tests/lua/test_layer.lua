-- Layers written in Lua: among other layers, trained, bounded, certified, saved and resumed.
local lu = require "luaunit"
local lip = require "lip"
local here = debug.getinfo(1, "S").short_src -- as messages name this file

local T = {}

-- y = g x + tanh(b x), with everything that a definition may have.
local function bend(extra)
  local d = {
    name = "bend", options = { beta = 1, mode = { "plain", "double" } },
    parameters = { gain = function(input, o)
      return { input[1], init = function(shape, rng) return lip.rand(rng, shape):add(o.beta) end }
    end },
    lipschitz = function(_, w, o) return w.gain:abs():max() + o.beta end,
    deviation = 1e-6,
    forward = function(x, w, o) return x:mul(w.gain):add(x:mul(o.beta):tanh()) end,
    backward = function(x, _, dy, w, o)
      local t = x:mul(o.beta):tanh()
      local slope = t:mul(t):neg():add(1):mul(o.beta):add(lip.zeros(x:shape()):add(w.gain))
      return dy:mul(slope), { gain = dy:mul(x):sum(1) }
    end,
  }
  for name, v in pairs(extra or {}) do d[name] = v or nil end
  return lip.layer(d)
end

local function net_of(layer, options)
  local spec = { input = 6, norm = 2, budget = math.huge, seed = 3, lip.dense{ out = 5 }, layer,
    lip.residual{ lip.dense{ out = 5 }, layer }, lip.dense{ out = 3 } }
  for name, v in pairs(options or {}) do spec[name] = v end
  return lip.net(spec)
end

local function batch(n, seed)
  local rng, y = lip.rng(seed or 1), {}
  for i = 1, n do y[i] = rng:below(3) end
  return lip.randn(rng, n, 6), y
end

-- ---- what a definition is ----

function T.test_a_definition_is_a_layer_and_makes_layers()
  local def = bend()
  lu.assertStrContains(tostring(def), "'bend' (test_layer.lua)")
  lu.assertEquals({ def:kind(), def:options(), def:children() }, { "bend", { beta = 1, mode = "plain" }, {} })
  local spec = def{ beta = 2, mode = "double" }
  lu.assertEquals(spec:options(), { beta = 2, mode = "double" })
  lu.assertStrContains(tostring(spec), "bend{beta=2")
  local net = net_of(def)
  lu.assertEquals(net:info().layers[2].kind, "bend")
  lu.assertEquals(net:info().layers[2].parameters, 5)
  lu.assertStrContains(tostring(net), "layer 3 (residual): layer 2 (bend)")
end

function T.test_misuse_of_definitions()
  local function refused(message, d)
    local ok, text = pcall(function() return (lip.layer(d)) end)
    lu.assertFalse(ok, message)
    lu.assertStrContains(text, message)
    lu.assertStrContains(text, "test_layer.lua", false, text)
  end
  local f = function(x) return x end
  refused("option 'name' is required", {})
  refused("option 'forward' is required", { name = "a" })
  refused("unknown option 'fwd' (known: backward,", { name = "a", fwd = f })
  refused("option 'forward' expects a function, got the number 1", { name = "a", forward = 1 })
  refused("'relu' is a layer of the engine", { name = "relu", forward = f, backward = f })
  refused("option 'name' expects up to 40 letters", { name = "a b", forward = f, backward = f })
  refused("option 'lipschitz' expects a number >= 0", { name = "a", forward = f, backward = f, lipschitz = 0 / 0 })
  refused("option 'deviation' needs 'lipschitz'", { name = "a", forward = f, backward = f, deviation = 1 })
  refused("the default of 'k' is to be a number", { name = "a", forward = f, backward = f, options = { k = "x" } })
  refused("option 'parameters' expects names", { name = "a", forward = f, backward = f, parameters = { {} } })
  refused("at most", { name = "a", forward = f, backward = f,
    parameters = { a = { 1 }, b = { 1 }, c = { 1 }, d = { 1 }, e = { 1 }, f = { 1 }, g = { 1 }, h = { 1 }, i = { 1 } } })
  local def = bend()
  lu.assertErrorMsgContains("unknown option 'gamma'", def, { gamma = 1 })
  lu.assertErrorMsgContains("option 'mode'", def, { mode = "treble" })
  lu.assertErrorMsgContains("expects a table of options, as in bend{...}", def, 2)
  lu.assertErrorMsgContains("options are given by name", def, { 2 })
end

function T.test_shapes_and_parameters_are_checked()
  local function planned(message, extra, options)
    lu.assertErrorMsgContains(message, net_of, bend(extra), options)
  end
  planned("layer 2 (bend): output (" .. here .. ":", { output = function() error "no" end })
  planned("the output's shape is to be a list of 1 to 3 whole numbers > 0, got nil", { output = function() end })
  planned("element 1 is the number 0", { output = function() return { 0 } end })
  planned("element 2 is the number 1.5", { output = function() return { 1, 1.5 } end })
  planned("too many", { output = function() return { 1 << 30, 1 << 30 } end })
  planned("got a list of another length", { output = function() return { 1, 1, 1, 1 } end })
  planned("the shape of 'gain' is to be a list of 1 to 4", { parameters = { gain = {} } })
  planned("'gain' has an unknown option 'start'", { parameters = { gain = { 5, start = 1 } } })
  planned("'gain' is to be a table", { parameters = { gain = function() end } })
  planned("'gain' at the start is to be a tensor of 5, got one of 4",
    { parameters = { gain = { 5, init = function() return lip.zeros(4) end } } })
  planned("'gain' is not finite", { parameters = { gain = { 5, init = 0 / 0 } } })
  planned("'gain' at the start is to be a tensor of 5, got the string", { parameters = { gain = { 5, init = "x" } } })
end

-- ---- passes ----


-- Gradients against central differences, of the input and of every parameter, inside a container too.
function T.test_gradients()
  local net = net_of(bend{ options = { beta = 0.5, mode = { "plain" } } })
  local x = batch(4)
  local weights = lip.randn(lip.rng(9), 4, 3)
  local function value() return (net:forward(x, true)):dot(weights) end
  value()
  local dx = net:backward(weights, { input_gradient = true })
  local h = 1 / 256
  local function check(t, g, what)
    t, g = t:flatten(), g:flatten()
    for i = 1, math.min(t:size(), 6) do
      local old = t:get(i)
      t:set(i, old + h)
      local up = value()
      t:set(i, old - h)
      local down = value()
      t:set(i, old)
      lu.assertAlmostEquals((up - down) / (2 * h), g:get(i), 2e-2, what)
    end
  end
  check(x, dx, "x")
  local grads = {}
  for i, p in ipairs(net:parameters()) do grads[i] = p.grad:clone() end
  local trained = 0
  for i, p in ipairs(net:parameters()) do
    check(p.value, grads[i], p.kind .. "." .. p.name)
    trained = trained + (p.name == "gain" and 1 or 0)
  end
  lu.assertEquals(trained, 2)
end

-- The same function written in C and in Lua: the same bits in a step.
function T.test_the_same_bits_as_a_layer_of_the_engine()
  local def = lip.layer{ name = "as_relu", lipschitz = 1, deviation = 0,
    forward = function(x) return x:relu() end,
    backward = function(x, _, dy) return dy:mul(x:gt(0)) end }
  local x, y = batch(64)
  local function train(layer)
    local net = net_of(layer, { budget = 4 })
    local opt, loss = lip.optim.adam{ lr = 0.01 }, lip.loss.cross_entropy()
    for _ = 1, 5 do assert(net:step(x, y, opt, loss)) end
    net:project()
    return net
  end
  local mine, theirs = train(def), train(lip.relu())
  for i, p in ipairs(mine:parameters()) do lu.assertTrue(p.value:equal(theirs:parameters()[i].value)) end
  lu.assertTrue(mine:forward(x):equal(theirs:forward(x)))
  lu.assertEquals(mine:bound().upper, theirs:bound().upper)
  local a, b = mine:certify(x, y, { eps = { 0.01 } }), theirs:certify(x, y, { eps = { 0.01 }, tight = false })
  lu.assertEquals(a.labels:totable(), b.labels:totable())
  local some = 0
  for i, r in ipairs(a.radii:totable()) do
    local best = b.radii:totable()[i]
    lu.assertTrue(r <= best * (1 + 1e-6) and r >= 0.9 * best - 1e-4, ("%g %g"):format(r, best))
    some = some + (r > 0 and 1 or 0)
  end
  lu.assertTrue(some > 32)
  lu.assertEquals(a.assumed, { "layer 2 (as_relu)", "layer 3 (residual): layer 2 (as_relu)" })
  lu.assertNil(b.assumed)
  lu.assertEquals(lip.verify(mine, x, y, { eps = 0.01 }).assumed, a.assumed)
  lu.assertErrorMsgContains("a layer of the engine", function() lip.layer{ name = "chain", forward = print } end)
end

-- What lip.grad makes of forward gives the gradients that backward would.
function T.test_without_backward()
  local function bent(extra)
    local d = { name = "bent", parameters = { gain = { 5, init = 0.7 } }, options = { beta = 2 },
      forward = function(x, w, o) return x * w.gain + (o.beta * x):tanh() end }
    for name, v in pairs(extra) do d[name] = v end
    return lip.layer(d)
  end
  local x, y = batch(16)
  local function train(layer)
    local net, opt = net_of(layer), lip.optim.sgd{ lr = 0.1 }
    for _ = 1, 3 do assert(net:step(x, y, opt, lip.loss.cross_entropy())) end
    return net:parameters()
  end
  local by_grad = train(bent{})
  local by_hand = train(bent{ backward = function(a, _, dy, w, o)
    local t = (o.beta * a):tanh()
    return dy * ((1 - t * t) * o.beta + w.gain), { gain = (dy * a):sum(1) }
  end })
  local gains = 0
  for i, p in ipairs(by_grad) do
    lu.assertTrue(p.value:allclose(by_hand[i].value, 1e-5), p.kind .. "." .. p.name)
    gains = gains + (p.name == "gain" and p.value:allclose(lip.full({ 5 }, 0.7), 1e-4) and 0 or 1)
  end
  lu.assertEquals(gains, #by_grad, "they have been trained")
  local net = net_of(bent{ forward = function(a) return a:sort(1) end })
  lu.assertErrorMsgContains("layer 2 (bent): forward (" .. here .. ":", net.step, net, x, y, lip.optim.sgd(),
    lip.loss.cross_entropy())
end

-- ---- training, saving, resuming ----

local function digits() return lip.data.digits{ n = 96, seed = 4 } end

local function digit_net(layer)
  return lip.net{ input = digits():info().shape, norm = 2, budget = 8, seed = 2, lip.flatten(), lip.dense{ out = 12 },
    layer, lip.batch_norm(), lip.dropout{ rate = 0.2 }, lip.dense{ out = 10 } }
end

local noisy = lip.layer{ name = "noisy", options = { amount = 0.1 }, parameters = { shift = { 12, init = 0.5 } },
  forward = function(x, w, o, c)
    if not c.training then return x:add(w.shift) end
    return x:add(w.shift):add(lip.randn(lip.rng(c.seed), x:shape()):mul(o.amount))
  end,
  backward = function(_, _, dy) return dy, { shift = dy:sum(1) } end }

function T.test_resume_bit_for_bit()
  local dir = assert(lip.file.temporary())
  local file = dir .. "/run.safetensors"
  local options = function(epochs, extra)
    local o = { epochs = epochs, batch = 32, opt = lip.optim.adam{ lr = 0.01 }, checkpoint = file, resume = true }
    for k, v in pairs(extra or {}) do o[k] = v end
    return o
  end
  local whole = digit_net(noisy{ amount = 0.2 })
  assert(lip.train(whole, digits(), options(4, { checkpoint = dir .. "/other", resume = false })))
  local first = digit_net(noisy{ amount = 0.2 })
  assert(lip.train(first, digits(), options(4, { on_batch = function(info) return info.step ~= 5 end })))
  local second = digit_net(noisy{ amount = 0.2 })
  lu.assertTrue(assert(lip.train(second, digits(), options(4))).resumed)
  local a, b = whole:parameters(), second:parameters()
  for i = 1, #a do lu.assertTrue(a[i].value:equal(b[i].value), a[i].kind .. "." .. a[i].name) end
  local loaded, opt = assert(lip.load(file))
  lu.assertNotNil(opt)
  local x = digits():batch(1, 20)
  lu.assertTrue(loaded:forward(x):equal(second:forward(x)))
  lu.assertStrContains(lip.inspect(file).metadata.layers, '"origin":"test_layer.lua"')
  lip.file.remove_tree(dir)
end

-- A program that does not know the definition, and one that does.
function T.test_load_needs_the_definition()
  local dir = assert(lip.file.temporary())
  local outside = require "support_program"
  assert(lip.file.write(dir .. "/my_layers.lua", [[
    local lip = require "lip"
    return lip.layer{ name = "halved", lipschitz = 0.5, options = { by = 2 },
      forward = function(x, _, o) return x:div(o.by) end, backward = function(_, _, dy, _, o) return dy:div(o.by) end }
  ]]))
  package.path = dir .. "/?.lua;" .. package.path
  local halved = require "my_layers"
  package.path = package.path:sub(#dir + 8)
  local net = lip.net{ input = 4, norm = 2, budget = 3, lip.dense{ out = 4 }, halved{ by = 4 }, lip.dense{ out = 2 } }
  assert(net:save(dir .. "/n.safetensors"))
  lu.assertStrContains(lip.inspect(dir .. "/n.safetensors").metadata.bound_assumed, "layer 2 (halved)")
  assert(lip.file.write(dir .. "/without.lua", [[
    local lip = require "lip"
    print(lip.load(arg[1]))
  ]]))
  assert(lip.file.write(dir .. "/with.lua", [[
    local lip = require "lip"
    package.path = arg[2] .. "/?.lua;" .. package.path
    require "my_layers"
    print(assert(lip.load(arg[1])):info().layers[2].kind)
  ]]))
  local function run(script)
    local result = assert(lip.process.run { outside.program, dir .. "/" .. script, dir .. "/n.safetensors", dir })
    lu.assertEquals(result.exit, 0, result.errors)
    return result.output
  end
  local text = run "without.lua"
  lu.assertStrContains(text, "nil\t")
  lu.assertStrContains(text, "format")
  lu.assertStrContains(text, "layer 2: the layer 'halved' is not defined in this program")
  lu.assertStrContains(text, 'module "my_layers", my_layers.lua')
  lu.assertEquals(run "with.lua", "halved\n")
  lip.file.remove_tree(dir)
end

function T.test_redefining_leaves_nets_alone()
  local function version(k)
    return lip.layer{ name = "versioned", forward = function(x) return x:mul(k) end,
      backward = function(_, _, dy) return dy:mul(k) end, lipschitz = k }
  end
  local function net(layer) return lip.net{ input = 2, norm = "inf", budget = math.huge, layer } end
  local x = lip.ones(1, 2)
  local old = net(version(2))
  local new = net(version(3))
  collectgarbage()
  lu.assertEquals({ old:forward(x):get(1, 1), new:forward(x):get(1, 1) }, { 2, 3 })
  local path = os.tmpname()
  assert(old:save(path))
  lu.assertEquals(assert(lip.load(path)):forward(x):get(1, 1), 3)
  os.remove(path)
end

-- ---- bounds ----

function T.test_constants_of_the_script()
  local function upper(lipschitz, norm)
    local def = bend{ lipschitz = lipschitz or false, deviation = false }
    return lip.net{ input = 4, norm = norm or "inf", budget = math.huge, def }:bound()
  end
  lu.assertEquals(upper(1.5).upper, 1.5)
  lu.assertEquals(upper(1.5).assumed, { "layer 1 (bend)" })
  lu.assertStrContains(tostring(upper(1.5)), "rests on the word of the script: layer 1 (bend)")
  local none = upper(nil)
  lu.assertEquals({ none.upper, none.unknown, none.assumed }, { math.huge, "bend", nil })
  for _, bad in ipairs { 0 / 0, -1, math.huge, "1", false } do
    lu.assertEquals(upper(function() return bad end).upper, math.huge, tostring(bad))
  end
  lu.assertEquals(upper(function() end).upper, math.huge)
  local seen = {}
  for _, norm in ipairs { 1, 2, "inf" } do
    lu.assertEquals(upper(function(p) seen[#seen + 1] = p return 2 end, norm).upper, 2)
  end
  lu.assertEquals(seen[1], 1)
  lu.assertEquals(seen[#seen], math.huge)
  lu.assertErrorMsgContains("layer 1 (bend): lipschitz (" .. here .. ":", upper, function() error "no" end)
  local def = bend{ lipschitz = function() error "no" end, deviation = false }
  lu.assertStrContains(tostring(lip.net{ input = 4, norm = 2, budget = math.huge, def }), "inf")
end

-- Points that are farther apart behind a net than a script says: then its word is no bound.
function T.test_constants_that_points_refute()
  local function times(k, ...)
    local factors = lip.tensor{ ... }
    return lip.layer{ name = "times", lipschitz = k, deviation = 1e-6, forward = function(x) return x * factors end }
  end
  local function net(layer, ...)
    return lip.net{ input = 2, norm = 2, budget = math.huge, layer, lip.residual{ layer }, ... }
  end
  local true_word = net(times(3, 3, 1)):bound{ lower = true, pairs = true }
  lu.assertTrue(true_word.upper >= 6 and true_word.upper < 6.01 and true_word.lower > 5.9)
  lu.assertNil(true_word.reason)
  lu.assertStrContains(tostring(true_word), "by the deviation that the script states")
  local small = net(times(2, 3, 1))
  lu.assertTrue(small:bound().upper < 3.01) -- nobody has looked
  local b = small:bound{ lower = true, pairs = true }
  lu.assertEquals({ b.upper, b.tightness, b.pairs:get(1, 2), b.pairs:get(1, 1) }, { math.huge, 0, math.huge, 0 })
  lu.assertTrue(b.lower > 5.9 and b.lower < math.huge)
  lu.assertStrMatches(b.reason, "refuted: two points attain 5%.9%d+, more than 3%.0%d+ by the word of "
    .. "layer 1 %(times%), layer 2 %(residual%): layer 1 %(times%): lipschitz or deviation is too small")
  lu.assertStrContains(tostring(b), b.reason)
  lu.assertEquals(small:bound{ lower = true, method = "best" }.tried[1].upper, math.huge)
  lu.assertEquals(lip.bound(lip.net{ input = 2, norm = 2, budget = 3, times(2, 3, 1) }, { lower = true }).slack, math.huge)
  -- in one pair only
  local last = lip.net{ input = 2, norm = 2, budget = math.huge, times(1, 10, 1), lip.dense{ out = 3 } }
  local w = last:weights(1)
  w:fill(0)
  w:set(1, 1, 1 / 128)
  w:set(2, 2, 1)
  local without, with = last:bound{ lower = true }, last:bound{ lower = true, pairs = { { 1, 3 } } }
  lu.assertTrue(without.upper < 1.01 and without.lower <= without.upper)
  lu.assertEquals(with.upper, math.huge)
  lu.assertStrMatches(with.reason, "refuted: two points attain 0%.0781%d+ in the difference of outputs 1 and 3, "
    .. "more than 0%.0078%d+ by the word of layer 1 %(times%): .*")
end

function T.test_certificates_need_a_deviation()
  local x, y = batch(24)
  local function certify(extra, options)
    local net = net_of(bend(extra), { seed = 5 })
    options = options or {}
    options.eps = { 1e-3 }
    return net:certify(x, y, options)
  end
  local function positive(report)
    local n = 0
    for _, r in ipairs(report.radii:totable()) do n = n + (r > 0 and 1 or 0) end
    return n
  end
  lu.assertTrue(positive(certify()) > 12)
  lu.assertNil(certify().reason)
  local without = certify{ deviation = false }
  lu.assertEquals(positive(without), 0)
  lu.assertStrContains(without.reason, "layer 2 (bend) states no 'deviation'")
  local real = certify({ deviation = false }, { arithmetic = "real" })
  lu.assertTrue(positive(real) > 12)
  lu.assertStrContains(real.reason, "taken for the exact ones")
  for _, bad in ipairs { 0 / 0, -1, "x" } do
    lu.assertEquals(positive(certify{ deviation = function() return bad end }), 0)
  end
  lu.assertTrue(positive(certify{ deviation = function(_, size, off) return 3 * off + 1e-6 * size + 1e-9 end }) > 12)
  lu.assertErrorMsgContains("layer 2 (bend): deviation (" .. here .. ":", certify,
    { deviation = function() error "no" end })
  local unknown = certify{ lipschitz = false, deviation = false }
  lu.assertEquals(positive(unknown), 0)
  lu.assertStrContains(unknown.reason, "no finite constant")
  lu.assertErrorMsgContains("no double mode", certify, nil, { arithmetic = "double" })
  local near = certify(nil, { method = "local" })
  lu.assertStrContains(near.reason, "bend")
end

-- A radius never exceeds what an attack finds.
function T.test_attacks_find_nothing_inside_of_radii()
  local x, y = batch(40)
  local net = net_of(bend{ lipschitz = function(_, w, o) return w.gain:abs():max() + o.beta end })
  local opt = lip.optim.sgd{ lr = 0.05 }
  for _ = 1, 30 do assert(net:step(x, y, opt, lip.loss.cross_entropy())) end
  local report = net:certify(x, y, { eps = { 0.02 } })
  local attacked = assert(lip.attack(net, x, y, { eps = 1, p = 2, steps = 20 }))
  local certified, broken = 0, 0
  for i, r in ipairs(report.radii:totable()) do
    certified = certified + (r > 0 and 1 or 0)
    if attacked.broken:get(i) == 1 then
      broken = broken + 1
      lu.assertTrue(attacked.distance[i] > r)
    end
  end
  lu.assertTrue(certified > 10 and broken > 10, ("%d %d"):format(certified, broken))
end

function T.test_certificate_files_refuse()
  local net, x, y = net_of(bend()), batch(8)
  local path = os.tmpname()
  local ok, result, message = pcall(net.certificate, net, path, x, y, { eps = 0.1 })
  os.remove(path)
  local text = ok and tostring(message) or tostring(result)
  lu.assertFalse(ok and result ~= nil)
  lu.assertStrContains(text, "bend")
end

return T
