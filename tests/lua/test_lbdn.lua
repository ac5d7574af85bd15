-- lip.lbdn, and nets of sll and cpl: their constants are proved after training, and files keep them.
local lu = require "luaunit"
local lip = require "lip"

local T = {}
local path = os.tmpname()
local merciless = os.getenv "LIPWB_GC_STRESS" == "1"

function T:tearDown() os.remove(path) end

-- Three classes that a straight line does not part, around points of a plane, with some noise in six more inputs.
local function points(n, seed)
  local rng, x, y = lip.rng(seed), lip.zeros(n, 8), {}
  x:normal_(rng, 0, 0.1)
  for i = 1, n do
    local angle = 2 * math.pi * rng:uniform()
    y[i] = math.floor(angle / (2 * math.pi) * 6) % 3
    x:set(i, 1, math.cos(angle))
    x:set(i, 2, math.sin(angle))
  end
  return lip.data.tensors(x, y)
end

local function trained(net, data, epochs)
  assert(lip.train(net, data, { epochs = epochs or 30, batch = 64, opt = lip.optim.adam { lr = 0.02 } }))
  return net
end

function T.test_gamma_is_proved_after_training()
  lu.skipIf(merciless, "training takes minutes under the merciless collector")
  local data = points(600, 1)
  for _, case in ipairs { { 5, "relu", 1e-4 }, { 0.7, "tanh", 1e-4 }, { 20, "softplus", 1e-4 } } do
    local gamma, activation = case[1], case[2]
    local net = trained(lip.lbdn { input = 8, widths = { 24, 24 }, outputs = 3, gamma = gamma, activation = activation }, data)
    local product = net:bound().upper
    lu.assertTrue(product <= gamma and product >= 0.9 * gamma, ("%g for %g"):format(product, gamma))
    for _, method in ipairs { "recursion", "multiplier", "best" } do
      local b = net:bound { method = method, lower = method == "best" }
      lu.assertTrue(b.upper <= gamma * (1 + 1e-3), ("%s: %.9g for %g"):format(method, b.upper, gamma))
      lu.assertTrue(method ~= "best" or (b.lower > 0.3 * gamma and b.lower <= b.upper), activation)
    end
    lu.assertTrue(gamma < 5 or net:evaluate(data).accuracy > 0.9, activation)
    -- pairs: of two outputs by the same multipliers, at most sqrt(2) of the whole
    local pairs_of = net:bound { method = "recursion", pairs = true }.pairs
    for i = 1, 3 do
      for j = 1, 3 do
        lu.assertTrue(i == j or pairs_of:get(i, j) <= math.sqrt(2) * gamma * (1 + 1e-4), ("%d %d"):format(i, j))
      end
    end
  end
end

-- A step without a projection between leaves a layer less than 1e-5 above its constant.
function T.test_every_step_keeps_the_constant()
  local net = lip.net { input = 8, norm = 2, budget = math.huge, project_every = 0, lip.sandwich { out = 16 }, lip.sll { hidden = 20 },
    lip.cpl {}, lip.sandwich { out = 3, activation = "none" } }
  local x, y, opt = lip.randn(lip.rng(3), 64, 8), {}, lip.optim.adam { lr = 0.1 }
  for i = 1, 64 do y[i] = i % 3 end
  local first = net:step(x, y, opt, lip.loss.cross_entropy())
  local last
  for _ = 1, 30 do
    last = net:step(x, y, opt, lip.loss.cross_entropy())
    for i, layer in ipairs(net:bound().layers) do lu.assertTrue(layer.upper <= 1 + 1e-5, ("layer %d: %.9g"):format(i, layer.upper)) end
  end
  lu.assertTrue(last < first)
  net:project()
  local layers = net:bound().layers
  lu.assertTrue(layers[2].upper == 1 and layers[3].upper == 1) -- not one bit more
end

-- Bit for bit: outputs, constants, and where training goes on.
function T.test_files_keep_what_was_trained_and_what_was_computed()
  local data = points(200, 2)
  local nets = {
    lip.lbdn { input = 8, widths = { 9, 12 }, outputs = 3, gamma = 3 },
    lip.net { input = 8, norm = 2, budget = 2, lip.sll { hidden = 6 }, lip.cpl {}, lip.dense { out = 3 } },
  }
  for i, net in ipairs(nets) do
    local opt = lip.optim.adam { lr = 0.02 }
    assert(lip.train(net, data, { epochs = 2, batch = 32, opt = opt }))
    assert(net:save(path, { optimizer = opt }))
    local again, its_opt = assert(lip.load(path))
    local x = data:batch { 1, 2, 3, 4, 5 }
    lu.assertTrue(net:forward(x):equal(again:forward(x)), i)
    lu.assertEquals(net:bound().upper, again:bound().upper)
    for _ = 1, 3 do
      local a, b = net:step(x, { 0, 1, 2, 0, 1 }, opt, lip.loss.cross_entropy()), again:step(x, { 0, 1, 2, 0, 1 }, its_opt, lip.loss.cross_entropy())
      lu.assertEquals(a, b)
    end
    local mine, theirs = net:parameters(), again:parameters()
    lu.assertEquals(#mine, #theirs)
    for k = 1, #mine do lu.assertTrue(mine[k].value:equal(theirs[k].value), mine[k].name) end
  end
end

-- Radii of all ways to certify hold against an attack, and a file of them is accepted.
function T.test_certificates()
  lu.skipIf(merciless, "training takes minutes under the merciless collector")
  local data, test = points(600, 1), points(60, 5)
  local net = trained(lip.lbdn { input = 8, widths = { 24, 24 }, outputs = 3, gamma = 4 }, data)
  local eps, shares = 0.1, {}
  for _, method in ipairs { "product", "multiplier", "local" } do
    local report = net:certify(test, { method = method, eps = { eps } })
    shares[method] = report.certified[eps]
    assert(net:certificate(path, test, { method = method, eps = { eps } }))
    local r = lip.check_certificate(path, net, test)
    lu.assertTrue(r.accepted, r.reason)
  end
  lu.assertTrue(shares.product > 0.3 and shares.multiplier >= shares.product, ("%g %g"):format(shares.product, shares.multiplier))
  local robust = lip.attack(net, test, { eps = eps }).robust
  for method, share in pairs(shares) do lu.assertTrue(share <= robust, method) end
end

-- The rounding of a layer grows with its constant, 1, not with those of its matrices: eight layers lose little by it.
function T.test_rounding_of_deep_nets()
  lu.skipIf(merciless, "training takes minutes under the merciless collector")
  local data, test = points(600, 1), points(100, 5)
  local layers = { input = 8, norm = 2, budget = 8, lip.dense { out = 32 } }
  for i = 1, 8 do layers[#layers + 1] = i % 2 == 0 and lip.sll {} or lip.cpl { hidden = 20 } end
  layers[#layers + 1] = lip.dense { out = 3 }
  local net = trained(lip.net(layers), data, 10)
  local float32, real = net:certify(test).radii, net:certify(test, { arithmetic = "real" }).radii
  local sum, sum_real = float32:sum(), real:sum()
  lu.assertTrue(sum > 0.98 * sum_real and sum < sum_real, ("%g of %g"):format(sum, sum_real))
end

-- The constant 1 of sll and cpl is one in norm 2, and nothing else limits them.
function T.test_other_norms_need_a_net_without_a_budget()
  for _, layer in ipairs { lip.sll {}, lip.cpl { hidden = 3 } } do
    for norm, step in pairs { inf = "inf->inf", ["1"] = "1->1", ["1->inf"] = "1->1" } do
      local list = { input = 8, norm = norm, layer, lip.dense { out = 3 } }
      lu.assertErrorMsgContains("has the constant 1 from norm 2 only, and nothing limits it from others; this step is " .. step,
        lip.net, list)
      list.budget = math.huge
      lu.assertTrue(lip.net(list):bound().upper > 1)
    end
    local net = lip.net { input = 8, norm = "1->2->inf", budget = 3, lip.dense { out = 5 }, layer, lip.dense { out = 3 } }
    lu.assertEquals(select("#", net:project()), 1)
    lu.assertTrue(net:bound().upper <= 3)
  end
  -- sandwich has a share, and is brought within it in every norm
  local net = lip.net { input = 8, norm = "inf", budget = 3, lip.sandwich { out = 5 }, lip.sandwich { out = 4, activation = "none" } }
  lu.assertEquals(select("#", net:project()), 1)
  lu.assertTrue(net:bound().upper <= 3)
end

-- gamma is the budget, and shown as that.
function T.test_gamma_is_the_budget()
  for _, gamma in ipairs { 2, 1, 3, 0.7, 10, 1e-12, 1e12 } do
    local net = lip.lbdn { input = 8, widths = { 24, 24 }, outputs = 3, gamma = gamma }
    lu.assertEquals(net:info().budget, gamma)
    lu.assertEquals(select("#", net:project()), 1)
    lu.assertTrue(net:bound().upper <= gamma)
  end
  local shown = tostring(lip.lbdn { input = 8, widths = { 24 }, outputs = 3, gamma = 2 })
  lu.assertStrMatches(shown:match "[^\n]*$", " +total +%d+  2 +2 +[%d.]+")
end

function T.test_wrong_options_are_named()
  local function refused(text, options)
    local line = debug.getinfo(2, "l").currentline -- a message that names no line of lipwb, but this one
    lu.assertErrorMsgContains(text, lip.lbdn, options)
    local function call()
      local net = lip.lbdn(options)
      return net
    end
    local _, message = pcall(call)
    lu.assertEquals(tonumber(message:match "test_lbdn%.lua:(%d+): l"), debug.getinfo(call, "S").linedefined + 1,
      ("%s (line %d)"):format(message, line))
  end
  refused("lip.lbdn: argument 1 (options) expects a table of options, got number 3", 3)
  refused("option 'widths' expects a table of whole numbers >= 1, got nil", { input = 3, outputs = 2 })
  refused("lbdn: takes options by name and no layers of its own, got lip.spec at 1", { lip.relu {}, input = 3, widths = { 2 }, outputs = 2 })
  refused("lbdn: takes options by name and no layers of its own, got number at 2", { input = 3, widths = { 2 }, outputs = 2, [2] = 7 })
  refused("option 'gamma' expects a number from 1e-12 to 1e12, got 0", { input = 3, widths = {}, outputs = 2, gamma = 0 })
  refused("lbdn: option 'input' expects a list of numbers, got \"x\"", { input = "x", widths = { 2 }, outputs = 2 })
  refused("lbdn: option 'seed' expects", { input = 3, widths = { 2 }, outputs = 2, seed = "x" })
  refused("option 'widths' expects a table of whole numbers >= 1, got 2.5", { input = 3, widths = { 2.5 }, outputs = 2 })
  refused("option 'outputs' expects a whole number >= 1, got \"x\"", { input = 3, widths = {}, outputs = "x" })
  refused("option 'gamma' expects a number from 1e-12 to 1e12, got -1", { input = 3, widths = {}, outputs = 2, gamma = -1 })
  refused("unknown option 'width', did you mean 'widths'?", { input = 3, width = {}, outputs = 2 })
  refused("lbdn: option 'activation' expects one of", { input = 3, widths = { 2 }, outputs = 2, activation = "abs" })
  refused("option 'input' is required", { widths = { 2 }, outputs = 2 })
  lu.assertErrorMsgContains("(sll): expects a flat input, got 1x2x3: put a flatten layer before it", lip.net,
    { input = { 1, 2, 3 }, norm = 2, lip.sll {}, lip.flatten {}, lip.dense { out = 2 } })
  lu.assertErrorMsgContains("cpl: options are given by name", lip.cpl, { lip.relu {} })
end

return T
