-- losses, optimisers, schedules and lip.train from Lua
local lu = require "luaunit"
local lip = require "lip"
local support = require "support_train"

local points, long_run = support.points, support.long_run

local function raises(pattern, f, ...)
  local ok, message = pcall(f, ...)
  lu.assertFalse(ok)
  lu.assertStrContains(message, pattern)
end

-- ---- registries ----

local Registry = {}

function Registry.test_every_row_is_listed_and_can_be_made()
  local required = { time_decay = { d = 0.1 }, step = { every = 5 }, exponential = { factor = 0.9 },
    certified = { eps = 0.1 }, gloro = { eps = 0.1 }, emma = { eps = 0.1 },
    clipped_hinge = { margin = 1 }, quantile = { tau = 0.5 } }
  for plural, family in pairs { losses = "loss", optims = "optim", schedules = "schedule" } do
    local list, seen = lip[plural](), 0
    for _, row in ipairs(list) do
      local object = lip[family][row.name](required[row.name])
      lu.assertEquals(object:name(), row.name)
      lu.assertStrContains(tostring(object), row.name .. "{")
      lu.assertTrue(#row.help > 0)
      for _, option in ipairs(row.options) do
        local value = object:options()[option.name]
        lu.assertNotNil(value)
        if not option.required then lu.assertEquals(value, option.default) end
      end
    end
    local by_function = family == "loss" and { custom = true, explicit = true } or {} -- no rows of the engine's
    for name in pairs(lip[family]) do seen = seen + (by_function[name] and 0 or 1) end
    lu.assertEquals(seen, #list)
    lu.assertTrue(seen >= 5)
  end
end

function Registry.test_wrong_options_raise()
  raises("unknown option 'temprature', did you mean 'temperature'? (known: temperature, offset)", lip.loss.cross_entropy, { temprature = 1 })
  raises("[1e-06, 1e+06]", lip.loss.cross_entropy, { temperature = 0 })
  raises("known: none", lip.loss.mse, { x = 1 })
  raises("given by name", lip.optim.adam, { 0.1 })
  raises("'lr'", lip.optim.sgd, { lr = -1 })
  raises("'lr'", lip.optim.sgd, { lr = 0 / 0 })
  raises("true or false", lip.optim.sgd, { nesterov = 1 })
  raises("'every' is required", lip.schedule.step, {})
  raises("one of update, epoch", lip.schedule.constant, { unit = "day" })
  raises("table expected", lip.optim.adam, 0.1)
end

-- ---- losses ----

local Loss = {}

function Loss.test_known_values()
  local z = lip.tensor { { 0, 0, 0 }, { 0, 0, 0 } }
  local value, dz = lip.loss.cross_entropy():gradient(z, { 0, 2 })
  lu.assertAlmostEquals(value, math.log(3), 1e-7)
  lu.assertTrue(dz:allclose(lip.tensor { { -1 / 3, 1 / 6, 1 / 6 }, { 1 / 6, 1 / 6, -1 / 3 } }, 1e-7))
  lu.assertEquals(lip.loss.cross_entropy():value(z, { 0, 2 }), value)
  lu.assertAlmostEquals(lip.loss.cross_entropy { temperature = 0.25, offset = 1 }:value(z, lip.tensor { 0, 2 }),
    0.25 * math.log(2 + math.exp(-4)) + 1, 1e-6)
  lu.assertEquals(lip.loss.multi_margin { margin = 1 }:value(lip.tensor { { 2, 0, 1.5 } }, { 0 }), 0.25)
  lu.assertEquals(lip.loss.hinge():value(lip.tensor { { 2, 0, -0.5 } }, { 0 }), 0.5)
  lu.assertEquals(lip.loss.hinge():value(lip.tensor { { 0.5 }, { 0.5 } }, { 1, 0 }), 1)
  local x, v = lip.tensor { { 1, 2 }, { 3, 4 } }, lip.tensor { { 1, 0 }, { 3, 8 } }
  lu.assertEquals(lip.loss.mse():value(x, v), 5)
  lu.assertEquals(lip.loss.mae():value(x, v), 1.5)
  lu.assertEquals(lip.loss.mse():value(lip.tensor { { 1 }, { 2 } }, lip.tensor { 3, 2 }), 2)
  lu.assertEquals(lip.loss.mse():target(), "values")
  lu.assertEquals(lip.loss.hinge():target(), "labels")
end

function Loss.test_views_give_the_same_as_copies()
  local z = lip.tensor { { 1, 5, 2 }, { 0, -1, 3 } }
  local t = z:transpose()
  local ce, y = lip.loss.cross_entropy(), { 0, 1, 0 }
  lu.assertEquals(ce:value(t, y), ce:value(t:clone(), y))
end

function Loss.test_misuse_raises()
  local ce, mse = lip.loss.cross_entropy(), lip.loss.mse()
  raises("shape 3", ce.value, ce, lip.zeros(3), { 0 })
  raises("at least 2", ce.value, ce, lip.zeros(3, 1), { 0, 0, 0 })
  raises("2x3", mse.value, mse, lip.zeros(3, 2), lip.zeros(2, 3))
  raises("lip.tensor", mse.value, mse, lip.zeros(3, 2), { 1, 2, 3 })
  lu.assertFalse((pcall(ce.value, ce, lip.zeros(2, 3), { 0, 3 })))
  lu.assertFalse((pcall(ce.value, ce, lip.zeros(2, 3), { 0, -1 })))
  lu.assertFalse((pcall(ce.value, ce, lip.zeros(2, 3), { 0, 0.5 })))
  lu.assertFalse((pcall(ce.value, ce, lip.zeros(2, 3), { 0 })))
  local value = ce:value(lip.tensor { { 0 / 0, 1 } }, { 0 })
  lu.assertTrue(value ~= value)
end

-- ---- schedules ----

local Schedule = {}

function Schedule.test_factor_and_call_agree()
  local s = lip.schedule.cosine { final = 0.2, warmup = 4 }
  lu.assertEquals(s:factor(1, 104, 10), 0.5)
  lu.assertAlmostEquals(s(54, 104, 10), 0.6, 1e-12)
  lu.assertAlmostEquals(lip.schedule.time_decay { d = 0.5, unit = "epoch" }(25, 100, 10), 0.5, 1e-12)
  raises("#2", s.factor, s, -1, 10, 1)
  raises("#3", s.factor, s, 0, 0, 1)
end

-- ---- training ----

local function new_net(seed)
  return lip.net { input = 3, norm = "inf", budget = 6, seed = seed or 5, lip.dense { out = 24 }, lip.relu {},
    lip.dense { out = 2 } }
end

local function same_weights(a, b)
  for i, p in ipairs(a:parameters()) do
    if not p.value:equal(b:parameters()[i].value) then return false end
  end
  return true
end

local Optim = {}

function Optim.test_rate_state_and_reset()
  local opt, net = lip.optim.amsgrad { lr = 0.01 }, new_net()
  lu.assertEquals(opt:lr(), 0.01)
  lu.assertEquals(opt:lr(0.5), 0.5)
  raises("learning rate", opt.lr, opt, -1)
  raises("learning rate", opt.lr, opt, 0 / 0)
  lu.assertEquals(opt:lr(), 0.5)
  lu.assertEquals(#opt:state().slots, 0)
  net:step(lip.ones(4, 3), { 0, 1, 0, 1 }, opt, lip.loss.cross_entropy())
  local state = opt:state()
  lu.assertEquals({ state.name, state.updates, state.lr, #state.slots }, { "amsgrad", 1, 0.5, 3 })
  lu.assertEquals(state.slots[1]:size(), state.parameters)
  lu.assertTrue(state.slots[2]:max() > 0)
  local view = state.slots[2]
  opt:reset()
  lu.assertEquals({ opt:state().updates, opt:lr(), view:max() }, { 0, 0.01, 0 })
  raises("another net", opt.step, opt, lip.net { input = 2, norm = 1, lip.dense { out = 300 } })
end

function Optim.test_views_of_the_state_outlive_the_handle()
  local net = new_net()
  local slots
  do
    local opt = lip.optim.sgd { momentum = 0.9 }
    net:step(lip.ones(4, 3), { 0, 1, 0, 1 }, opt, lip.loss.cross_entropy())
    slots = opt:state().slots
  end
  collectgarbage()
  collectgarbage()
  lu.assertTrue(slots[1]:abs():max() > 0)
end

local Train = {}

function Train.test_it_learns_and_tells_how_it_went()
  local data, net, seen = points(600, 1), new_net(), {}
  local result = lip.train(net, data, {
    epochs = 6, batch = 50, opt = lip.optim.adam { lr = 0.02 }, validation = data,
    on_epoch = function(info) seen[#seen + 1] = info.epoch end,
  })
  lu.assertEquals({ result.epochs, result.steps, #result.history }, { 6, 72, 6 })
  lu.assertEquals(seen, { 1, 2, 3, 4, 5, 6 })
  lu.assertTrue(result.history[6].loss < 0.8 * result.history[1].loss)
  lu.assertTrue(result.history[6].validation.accuracy > 0.85)
  lu.assertNil(result.stopped)
end

function Train.test_schedule_sets_the_rate_of_every_update()
  local data, opt, rates, asked = points(70, 1), lip.optim.sgd { lr = 0.5 }, {}, {}
  lip.train(new_net(), data, {
    epochs = 2, batch = 30, opt = opt,
    schedule = function(step, total, per_epoch)
      asked[#asked + 1] = { step, total, per_epoch }
      return 1 / (1 + step)
    end,
    on_batch = function(info) rates[#rates + 1] = info.lr end,
  })
  lu.assertEquals(asked, { { 0, 6, 3 }, { 1, 6, 3 }, { 2, 6, 3 }, { 3, 6, 3 }, { 4, 6, 3 }, { 5, 6, 3 } })
  for i, rate in ipairs(rates) do lu.assertEquals(rate, 0.5 / i) end
  lu.assertEquals(#rates, 6)
  lu.assertEquals(opt:lr(), 0.5) -- as it was given
end

function Train.test_a_loss_in_lua_does_what_the_one_in_c_does()
  local data, a, b = points(200, 2), new_net(), new_net()
  local ce = lip.loss.cross_entropy()
  local options = { epochs = 2, batch = 64, loss = ce, opt = lip.optim.adam { lr = 0.05, clip_norm = 0.1 } }
  local one = lip.train(a, data, options)
  options.loss = function(z, y) return ce:gradient(z, y) end
  options.opt = lip.optim.adam { lr = 0.05, clip_norm = 0.1 }
  local two = lip.train(b, data, options)
  lu.assertTrue(same_weights(a, b))
  lu.assertEquals(one.loss, two.loss)
  lu.assertFalse(same_weights(a, new_net()))
end

function Train.test_augmentation_is_seen_and_repeats()
  local data, weights = points(64, 3), {}
  for k = 1, 2 do
    local net, calls = new_net(), 0
    lip.train(net, data, {
      epochs = 2, batch = 32,
      augment = function(x, y, rng)
        calls = calls + 1
        return x:clone():add_(rng:normal()), y
      end,
    })
    lu.assertEquals(calls, 4)
    weights[k] = net
  end
  lu.assertTrue(same_weights(weights[1], weights[2]))
  local plain = new_net()
  lip.train(plain, data, { epochs = 2, batch = 32 })
  lu.assertFalse(same_weights(weights[1], plain))
end

function Train.test_images_are_shifted()
  local data, nets = lip.data.digits { n = 60, seed = 1 }, {}
  for k, shift in ipairs { 2, 2, 0 } do
    nets[k] = lip.net { input = data:info().shape, norm = 2, seed = 1, lip.flatten {},
      lip.dense { out = 10 } }
    lip.train(nets[k], data, { epochs = 1, batch = 20, shift = shift })
  end
  lu.assertTrue(same_weights(nets[1], nets[2]))
  lu.assertFalse(same_weights(nets[1], nets[3]))
  raises("shift", lip.train, new_net(), points(60, 1), { shift = 1 })
end

function Train.test_callbacks_stop_and_errors_pass()
  local data = points(100, 1)
  local result = lip.train(new_net(), data, { batch = 20, on_batch = function(info) return info.step < 7 end })
  lu.assertEquals({ result.steps, result.epochs, result.stopped }, { 7, 1, true })
  result = lip.train(new_net(), data, { batch = 20, on_epoch = function(info) return info.epoch < 3 end })
  lu.assertEquals({ result.steps, result.epochs, result.stopped }, { 15, 3, true })
  local opt = lip.optim.sgd { lr = 0.25 }
  raises("my own fault", lip.train, new_net(), data,
    { opt = opt, schedule = function() return 0.5 end, on_batch = function() error "my own fault" end })
  lu.assertEquals(opt:lr(), 0.25)
end

function Train.test_pieces_refuse_gradients_that_are_not_finite()
  for _, bad in ipairs { 0 / 0, 1 / 0 } do
    local net, opt = new_net(), lip.optim.adam()
    local before = net:weights(1):clone()
    local _, message, code = lip.train(net, points(20, 1), { opt = opt, batch = 10, loss = function(z)
      return 1, z:clone():fill(bad)
    end })
    lu.assertStrContains(message, "gradient is not finite")
    lu.assertEquals(code, "not_finite")
    lu.assertTrue(net:weights(1):equal(before))
    lu.assertEquals(opt:state().updates, 0)
  end
end

function Train.test_what_is_not_finite_is_returned()
  local x = lip.ones(40, 3)
  x:set(33, 2, 0 / 0)
  local net, before, step = new_net(), new_net(), 0
  local result, message, code = lip.train(net, lip.data.tensors(x, lip.zeros(40)), { batch = 10, shuffle = false,
    on_batch = function(info)
      step = info.step
      for i, p in ipairs(net:parameters()) do before:parameters()[i].value:copy(p.value) end
    end })
  lu.assertNil(result)
  lu.assertEquals(code, "not_finite")
  lu.assertStrContains(message, "loss")
  lu.assertEquals(step, 3)
  lu.assertTrue(same_weights(net, before)) -- the batch with the NaN left no trace
end

function Train.test_wrong_arguments_raise()
  local data, net = points(100, 1), new_net()
  raises("expects a net", lip.train, 1, data)
  raises("expects a data set", lip.train, net, { 1, 2 })
  raises("unknown option 'epoch', did you mean 'epochs'? (known: anneal, augment, batch, ", lip.train, net, data, { epoch = 3 })
  raises("'epochs' expects a whole number >= 1, got 0", lip.train, net, data, { epochs = 0 })
  raises("'batch' expects a whole number >= 1, got 1.5", lip.train, net, data, { batch = 1.5 })
  raises("'loss' expects a loss such as lip.loss.cross_entropy(), or a function, got lip.optim", lip.train, net, data,
    { loss = lip.optim.sgd() })
  raises("'resume' expects true or false, got \"yes\"", lip.train, net, data, { resume = "yes", checkpoint = "x" })
  raises("need the option 'checkpoint'", lip.train, net, data, { resume = true })
  raises("no batch of 200", lip.train, net, data, { batch = 200, drop_last = true })
  raises("must return a number", lip.train, net, data, { schedule = function() end })
end

-- ---- stopping and going on ----

local Resume = {}

function Resume:setUp()
  self.path = os.tmpname()
  os.remove(self.path)
end

function Resume:tearDown()
  os.remove(self.path)
end

function Resume:test_a_run_stopped_anywhere_ends_with_the_same_bits()
  local whole, _, losses = long_run {}
  for stop = 1, 12 do
    os.remove(self.path)
    local part, result = long_run { checkpoint = self.path, resume = true,
      on_batch = function(info) return info.step < stop end }
    lu.assertEquals(result.steps, stop)
    if stop < 12 then lu.assertFalse(same_weights(whole, part)) end
    local rest, second, late = long_run { checkpoint = self.path, resume = true }
    lu.assertTrue(second.resumed)
    lu.assertEquals(second.steps, 12)
    lu.assertTrue(same_weights(whole, rest))
    for epoch, loss in pairs(late) do lu.assertEquals(loss, losses[epoch]) end
  end
end

-- Directions and multipliers of the bounds go on too.
function Resume:test_a_run_against_bounds_ends_with_the_same_bits()
  local function run(method, more)
    local net = lip.net { input = 3, norm = 2, seed = 5, lip.dense { out = 12 }, lip.maxmin(), lip.dense { out = 12 },
      lip.relu(), lip.dense { out = 4 } }
    local options = { epochs = 2, batch = 25, opt = lip.optim.sgd { lr = 0.05 },
      loss = lip.loss.certified { eps = 0.1, method = method, refresh = 2 } }
    for name, value in pairs(more) do options[name] = value end
    assert(lip.train(net, points(100, 4), options))
    return net
  end
  for _, method in ipairs { "product", "recursion", "multiplier" } do
    local whole = run(method, {})
    for _, stop in ipairs { 1, 4, 7 } do
      os.remove(self.path)
      run(method, { checkpoint = self.path, on_batch = function(info) return info.step < stop end })
      lu.assertTrue(same_weights(whole, run(method, { checkpoint = self.path, resume = true })), method)
    end
  end
end

function Resume:test_a_failed_run_goes_on_from_the_last_checkpoint()
  local whole = long_run {}
  raises("power cut", long_run, { checkpoint = self.path, checkpoint_every = 3,
    on_batch = function(info) if info.step == 8 then error "power cut" end end })
  local first
  local rest = long_run { checkpoint = self.path, resume = true,
    on_batch = function(info) first = first or info.step end }
  lu.assertEquals(first, 7) -- updates 1 to 6 are in the file
  lu.assertTrue(same_weights(whole, rest))
end

local function own_pid()
  local stat <close> = assert(io.open "/proc/self/stat")
  return stat:read "n"
end

-- Another process is killed in the middle of an epoch; this one takes its checkpoint over.
function Resume:test_a_killed_process_loses_no_bit()
  local whole = long_run {}
  local pipe <close> = assert(io.popen("readlink /proc/" .. own_pid() .. "/exe"))
  local program, script = pipe:read "l", os.tmpname()
  for _, kill_at in ipairs { 2, 7, 12 } do
    os.remove(self.path)
    local file = assert(io.open(script, "w"))
    file:write(([[
      package.path = %q
      local stat = io.open "/proc/self/stat"
      local pid = stat:read "n"
      require "support_train".long_run { checkpoint = %q, checkpoint_every = 1, on_batch = function(info)
        if info.step == %d then os.execute("kill -KILL " .. pid) end
      end }
      os.exit(3)
    ]]):format(package.path, self.path, kill_at))
    file:close()
    local _, how, code = os.execute(("exec 2>/dev/null; '%s' '%s'"):format(program, script))
    lu.assertTrue(how == "signal" and code == 9 or how == "exit" and code == 128 + 9)
    local first
    local rest = long_run { checkpoint = self.path, resume = true,
      on_batch = function(info) first = first or info.step end }
    lu.assertEquals(first, kill_at)
    lu.assertTrue(same_weights(whole, rest))
  end
  os.remove(script)
end

-- The signal comes while Lua runs; it can be sent once per process, the second one means "at once".
function Resume:test_ctrl_c_writes_the_checkpoint()
  local whole = long_run {}
  local pid = own_pid()
  local _, result, _, message, code = long_run { checkpoint = self.path, on_batch = function(info)
    if info.step == 6 then io.popen("kill -INT " .. pid):close() end
  end }
  lu.assertNil(result)
  lu.assertEquals(code, "cancelled")
  lu.assertStrMatches(message, "train: cancelled in epoch %d+ of %d+, after 6 of %d+ updates")
  local first
  local rest = long_run { checkpoint = self.path, resume = true,
    on_batch = function(info) first = first or info.step end }
  lu.assertEquals(first, 7)
  lu.assertTrue(same_weights(whole, rest))
end

function Resume:test_the_wrong_file_is_refused()
  long_run { checkpoint = self.path, epochs = 1 }
  raises("another run", long_run, { checkpoint = self.path, resume = true, batch = 31 })
  raises("other layers or shapes", lip.train, new_net(), points(100, 4),
    { checkpoint = self.path, resume = true, batch = 30, seed = 9, opt = lip.optim.amsgrad() })
  raises("saved optimiser is amsgrad, this one is sgd", long_run,
    { checkpoint = self.path, resume = true, opt = lip.optim.sgd() })
  -- the first layer that differs, and in what
  local function differs(expected, mine, saved)
    local function made(layers)
      layers.input, layers.norm = 4, 2
      return lip.net(layers), lip.optim.sgd()
    end
    local net, opt = made(mine)
    raises("other layers or shapes than this one: " .. expected, lip.restore, net, opt, made(saved))
  end
  local dense, relu = lip.dense { out = 3 }, lip.relu()
  differs("layer 2 is groupsort there, relu here", { dense, relu, dense }, { dense, lip.groupsort { size = 3 }, dense })
  differs("layer 3 (dense): its weight is 4x3 there, 3x3 here", { dense, relu, dense }, { dense, relu, lip.dense { out = 4 } })
  differs("layer 1 (dense): it has no free here", { dense }, { lip.dense { out = 3, weight = "cayley" } })
  differs("layer 1 (dense): it has no bias there", { dense }, { lip.dense { out = 3, bias = false } })
  differs("the net has other layers there: 1, here 2", { dense, relu }, { dense })
  differs("layer 2, inside layer 1 (dense): its weight is 2x3 there, 3x3 here",
    { dense, lip.chain { dense }, dense }, { dense, lip.chain { lip.dense { out = 2 } }, dense })
  local file = assert(io.open(self.path, "wb"))
  file:write "no checkpoint"
  file:close()
  local _, result, _, _, code = long_run { checkpoint = self.path, resume = true }
  lu.assertNil(result)
  lu.assertEquals(code, "format")
end

-- Callbacks may make what they like of what they are told: the checkpoint holds what was so.
function Resume:test_a_callback_that_changes_its_info()
  local stop = 2
  local function spoil(info)
    info.epoch, info.step, info.total, info.validation = 7, nil, "many", "none"
    info.loss = ("%.3f"):format(info.loss)
    stop = stop - 1
    return stop > 0
  end
  local _, whole = long_run { epochs = 3 }
  local _, result = long_run { checkpoint = self.path, epochs = 3, on_epoch = spoil }
  lu.assertEquals({ result.epochs, #result.history, result.history[2].epoch }, { 2, 2, 7 })
  local _, more, _, message = long_run { checkpoint = self.path, epochs = 3, resume = true }
  lu.assertTable(more, message)
  for i = 1, 3 do
    for _, name in ipairs { "epoch", "step", "loss", "lr" } do
      lu.assertEquals(more.history[i][name], whole.history[i][name])
    end
  end
end

function Resume:test_a_checkpoint_that_cannot_be_written_is_an_error()
  local _, result, _, message, code = long_run { checkpoint = self.path .. "/no/such/folder" }
  lu.assertNil(result)
  lu.assertEquals(type(message), "string")
  lu.assertTrue(code == "io" or code == "not_found")
end

return { TestRegistry = Registry, TestLoss = Loss, TestSchedule = Schedule, TestOptim = Optim, TestTrain = Train,
  TestResume = Resume }
