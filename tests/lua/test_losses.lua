-- Losses whose rows belong to a batch, losses that fade, and options of losses that move while lip.train runs.
local lu = require "luaunit"
local lip = require "lip"

local inf = math.huge
local T = {}

local function raises(text, f, ...)
  lu.assertErrorMsgContains(text, f, ...)
end

local function close(a, b, by)
  lu.assertAlmostEquals(a, b, by or 1e-6)
end

-- ---- values known by hand ----

function T.test_kantorovich_rubinstein()
  local kr = lip.loss.kr()
  local z = lip.tensor { { 3 }, { 1 }, { -2 }, { 0.5 }, { -1 } }
  local y = { 1, 1, 0, 0, 0 }
  local value, dz = kr:gradient(z, y)
  close(value, -(2 - (-2.5 / 3)))
  local want = { -1 / 2, -1 / 2, 1 / 3, 1 / 3, 1 / 3 }
  for i = 1, 5 do close(dz[i][1], want[i]) end
  close(kr:value(z, { 1, 1, -1, -1, -1 }), value)
  -- the rest against each class, averaged
  local two = lip.tensor { { 1, 4 }, { 2, -1 }, { 0, 3 } }
  local first, second = (1 + 2) / 2 - 0, 3 - (4 - 1) / 2
  close(kr:value(two, { 0, 0, 1 }), -(first + second) / 2)
  -- a label that nobody has
  close(kr:value(z, { 1, 1, 1, 1, 1 }), -0.3)
  close(kr:value(z, { 0, 0, 0, 0, 0 }), 0.3)
  raises("known: none", lip.loss.kr, { alpha = 1 })
end

function T.test_hinge_and_its_soft_maximum()
  local z = lip.tensor { { 3 }, { 0.2 }, { -0.4 } }
  local kr, y = lip.loss.kr(), { 1, 1, 0 }
  local hinge = (0 + 0.3 + 0.1) / 3
  close(lip.loss.hkr { alpha = 1 }:value(z, y), hinge)
  close(lip.loss.hkr { alpha = 0.25 }:value(z, y), 0.25 * hinge + 0.75 * kr:value(z, y))
  close(lip.loss.hkr { alpha = 0 }:value(z, y), kr:value(z, y))
  local c = lip.tensor { { 0.1, 0, -1 } } -- its own label counts twice
  close(lip.loss.hkr { alpha = 1 }:value(c, { 0 }), (2 * 0.4 + 0.5 + 0) / 3)
  local w = math.log(math.exp(2 * math.log(2) * 0) + math.exp(-2 * math.log(2))) / (2 * math.log(2))
  close(lip.loss.lse_hkr { alpha = 0 }:value(c, { 0 }), w - 0.1)
  close(lip.loss.lse_hkr { alpha = 1 }:value(c, { 0 }), 0.4 + math.max(0, 0.5 + w))
  close(lip.loss.lse_hkr { alpha = 0, penalty = 0 }:value(c, { 0 }), -0.1)
  close(lip.loss.lse_hkr { alpha = 0 }:value(lip.tensor { { 0.3, 0.1 } }, { 0 }), -0.2)
  raises("[0, 1]", lip.loss.hkr, { alpha = 10 })
  raises("at least 2", function() return lip.loss.lse_hkr():value(z, y) end)
end

function T.test_binary_cross_entropy()
  local bce = lip.loss.bce()
  close(bce:value(lip.tensor { { 0 }, { 2 } }, { 1, 0 }), (math.log(2) + math.log(1 + math.exp(2))) / 2)
  close(bce:value(lip.tensor { { 1e4 }, { -1e4 } }, { 1, 0 }), 0)
  close(bce:value(lip.tensor { { 1e4 } }, { 0 }), 1e4)
  close(lip.loss.bce { temperature = 0.5 }:value(lip.tensor { { 1 } }, { 1 }), 0.5 * math.log(1 + math.exp(-2)))
  -- the cross entropy of the logits 0 and f
  local f = lip.rand(lip.rng(1), 9, 1):mul(6):add(-3)
  local two, y = lip.zeros(9, 2), { 0, 1, 1, 0, 1, 0, 0, 1, 1 }
  two:slice(2, 2, 2):copy(f)
  close(bce:value(f, y), lip.loss.cross_entropy():value(two, y))
  for _, name in ipairs { "annealed", "clipped_hinge" } do
    local loss = lip.loss[name](name == "clipped_hinge" and { margin = 0.7, mix = 0.3 } or nil)
    close(loss:value(f, y), loss:value(two, y))
  end
end

function T.test_losses_that_fade()
  local z, y = lip.rand(lip.rng(2), 20, 5):mul(4), {}
  for i = 1, 20 do y[i] = i % 5 end
  local ce = lip.loss.cross_entropy { temperature = 0.75, offset = 2 }
  close(lip.loss.annealed { gamma = 0 }:value(z, y), ce:value(z, y), 1e-5)
  lu.assertTrue(lip.loss.annealed():value(z, y) < ce:value(z, y))
  -- one row by hand: p = 1 / 4
  local one = lip.tensor { { 0, 0, 0, 0 } }
  close(lip.loss.annealed { temperature = 1, offset = 0, gamma = 2 }:value(one, { 3 }), 9 / 16 * math.log(4))
  local clipped = lip.loss.clipped_hinge { margin = 2 }
  close(clipped:value(lip.tensor { { 1, 0, -4 } }, { 0 }), 0.5)
  close(clipped:value(lip.tensor { { 1, 0, -4 } }, { 2 }), 1) -- given up
  close(clipped:value(lip.tensor { { 3, 0, -4 } }, { 0 }), 0)
  close(select(2, clipped:gradient(lip.tensor { { 1, 0, -4 } }, { 2 })):abs():sum(), 0)
  local mixed = lip.loss.clipped_hinge { margin = 2, mix = 0.5, clip = 3 }
  close(mixed:value(lip.tensor { { 1, 0, -4 } }, { 2 }), 3 + 0.5 * lip.loss.cross_entropy():value(
    lip.tensor { { 1, 0, -4 } }, { 2 }))
  raises("'margin' is required", lip.loss.clipped_hinge)
end

function T.test_distances()
  local z, v = lip.tensor { { 0, 3 } }, lip.tensor { { 0.5, 1 } }
  close(lip.loss.huber():value(z, v), (0.125 + 1.5) / 2)
  close(lip.loss.huber { delta = 5 }:value(z, v), lip.loss.mse():value(z, v) / 2)
  close(lip.loss.quantile { tau = 0.9 }:value(z, v), (0.9 * 0.5 + 0.1 * 2) / 2)
  close(lip.loss.quantile { tau = 0.5 }:value(z, v), lip.loss.mae():value(z, v) / 2)
  -- the best constant is the quantile
  local n = lip.net { input = 1, norm = 2, budget = inf, lip.dense { out = 1 } }
  local x, t = lip.zeros(200, 1), lip.zeros(200, 1)
  for i = 1, 200 do t:set(i, 1, i / 200) end
  assert(lip.train(n, lip.data.tensors(x, t), { epochs = 300, batch = 200, loss = lip.loss.quantile { tau = 0.8 },
    opt = lip.optim.adam { lr = 0.05 }, schedule = lip.schedule.cosine() }))
  close(n:forward(lip.zeros(1, 1))[1][1], 0.8, 0.01)
end

-- ---- in training ----

-- Weights belong to batches, so that the shares of threads must see all labels.
function T.test_threads_do_not_matter()
  local before = lip.threads()
  local x, y = lip.randn(lip.rng(4), 600, 30), {}
  for i = 1, 600 do y[i] = i % 7 == 0 and 1 or 0 end
  local want = {}
  for _, threads in ipairs { 1, 2, 4 } do
    lip.threads(threads)
    for _, name in ipairs { "kr", "hkr", "bce", "annealed", "clipped_hinge" } do
      local loss = lip.loss[name](name == "clipped_hinge" and { margin = 1, mix = 0.1 } or nil)
      local n = lip.net { input = 30, norm = 2, budget = 1, lip.dense { out = 200 }, lip.maxmin(), lip.dense { out = 200 },
        lip.maxmin(), lip.dense { out = 1 } }
      local opt = lip.optim.sgd { lr = 0.1 }
      local seen = {}
      for i = 1, 3 do seen[i] = assert(n:step(x, y, opt, loss)) end
      seen[4] = n:weights(1):norm()
      want[name] = want[name] or seen
      lu.assertEquals(seen, want[name])
    end
  end
  lip.threads(before)
end

function T.test_not_finite_is_refused()
  local n = lip.net { input = 2, norm = 2, budget = inf, lip.dense { out = 1 } }
  n:weights(1):fill(0 / 0)
  for _, name in ipairs { "kr", "hkr", "bce", "annealed" } do
    local value, _, code = n:step(lip.zeros(4, 2), { 0, 1, 0, 1 }, lip.optim.sgd { lr = 0.1 }, lip.loss[name]())
    lu.assertNil(value)
    lu.assertEquals(code, "not_finite")
  end
end

-- ---- options that move ----

function T.test_option()
  local loss = lip.loss.clipped_hinge { margin = 2, mix = 0.5 }
  lu.assertEquals(loss:option "mix", 0.5)
  lu.assertEquals(loss:option("mix", 0.25), 0.25)
  lu.assertEquals(loss:options().mix, 0.25)
  close(loss:value(lip.tensor { { 0, 0 } }, { 0 }), 1 + 0.25 * math.log(2))
  raises("has no option 'mixx' that may be set later (those are: margin, clip, mix, temperature)", loss.option, loss, "mixx")
  raises("(those are: none)", loss.option, lip.loss.kr(), "mix")
  raises("(those are: eps, temperature)", loss.option, lip.loss.gloro { eps = 1 }, "method")
  raises("[0, 1e+06]", loss.option, loss, "mix", -1)
  raises("mix", loss.option, loss, "mix", 0 / 0)
  raises("number expected", loss.option, loss, "mix", "much")
  lu.assertEquals(loss:option "mix", 0.25)
end

local function points(seed)
  local x, y = lip.randn(lip.rng(seed or 1), 60, 4), {}
  for i = 1, 60 do y[i] = x[i][1] > 0.3 and 1 or 0 end
  return lip.data.tensors(x, y)
end

local function new_net()
  return lip.net { input = 4, norm = 2, budget = 2, lip.dense { out = 8 }, lip.maxmin(), lip.dense { out = 2 } }
end

function T.test_annealing_moves_the_loss()
  local loss, seen, at_end, asked = lip.loss.clipped_hinge { margin = 1, mix = 0.4 }, {}, {}, {}
  local result = assert(lip.train(new_net(), points(), {
    epochs = 2, batch = 20, loss = loss, validation = points(2),
    anneal = {
      mix = function(step, total, per_epoch)
        asked[#asked + 1] = { step, total, per_epoch }
        return 1 / (1 + step)
      end,
      margin = lip.schedule.cosine { final = 0.5 },
    },
    on_batch = function(info) seen[info.step] = { loss:option "mix", loss:option "margin" } end,
    on_epoch = function(info) at_end[info.epoch] = loss:option "mix" end,
  }))
  for step = 1, 6 do
    close(seen[step][1], 0.4 / step, 1e-15)
    close(seen[step][2], lip.schedule.cosine { final = 0.5 }(step - 1, 6, 3), 1e-15)
  end
  lu.assertEquals(at_end, { 0.4 / 3, 0.4 / 6 })
  lu.assertEquals(asked[1], { 0, 6, 3 })
  lu.assertEquals({ loss:option "mix", loss:option "margin" }, { 0.4, 1 }) -- as they were given
  lu.assertEquals(#result.history, 2)
end

function T.test_an_annealed_run_goes_on()
  local path = os.tmpname()
  local function run(stop_at, resume)
    local net = new_net()
    local loss = lip.loss.clipped_hinge { margin = 1, mix = 3 }
    local done = assert(lip.train(net, points(), {
      epochs = 4, batch = 20, loss = loss, validation = points(2), checkpoint = path, resume = resume,
      anneal = { mix = function(step, total) return 0.001 ^ (step / total) end },
      on_batch = function(info) return info.step ~= stop_at end,
    }))
    return net, done
  end
  local whole, a = run()
  for _, stop_at in ipairs { 1, 3, 5, 6, 11 } do
    os.remove(path)
    run(stop_at)
    local again, b = run(nil, true)
    for i = 1, 2 do lu.assertTrue(whole:weights(i):equal(again:weights(i))) end
    for i = 1, 4 do lu.assertEquals(b.history[i].validation, a.history[i].validation) end
  end
  os.remove(path)
end

function T.test_annealing_that_cannot_be()
  local function bad(text, options)
    options.epochs = 1
    raises(text, lip.train, new_net(), points(), options)
  end
  local loss = lip.loss.clipped_hinge { margin = 1, mix = 0.1 }
  bad("option 'anneal' expects a table such as", { loss = loss, anneal = 1 })
  bad("names 'mixx'", { loss = loss, anneal = { mixx = lip.schedule.cosine() } })
  bad("those are: margin, clip, mix, temperature", { loss = loss, anneal = { mixx = lip.schedule.cosine() } })
  bad("expects a schedule such as lip.schedule.cosine(), or a function for 'mix', got float",
    { loss = loss, anneal = { mix = 0.5 } })
  bad("for 'mix', got function", { loss = loss, anneal = { mix = lip.schedule.cosine } })
  bad("not of a function", { loss = function(z) return 0, z end, anneal = { mix = lip.schedule.cosine() } })
  bad("anneal.mix (", { loss = loss, anneal = { mix = function() end } })
  bad("must return a number, got nil", { loss = loss, anneal = { mix = function() end } })
  bad("expects a number in [0, 1e+06]", { loss = loss, anneal = { mix = function() return -1 end } })
  lu.assertEquals(loss:option "mix", 0.1)
end

return T
