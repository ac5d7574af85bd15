-- lip.train leaves a net that meets its budget, however it ends: inside of a step the projection in norm 2 is approximate.
local lu = require "luaunit"
local lip = require "lip"

local outside = require "support_program"
local file = lip.file

local BUDGET = 1.5

-- Large steps beside a small budget: what the projection of a step leaves outside is plain to see. `norm` may be a path
-- with steps of its own.
local function new_net(norm, projection, more)
  local list = { input = 8, norm = norm, projection = projection, budget = BUDGET, seed = 3,
    lip.dense { out = 48 }, lip.relu {}, lip.dense { out = 48 }, lip.maxmin {}, lip.dense { out = 2 } }
  for k, v in pairs(more or {}) do list[k] = v end
  return lip.net(list)
end

local function conv_net()
  return lip.net { input = { 2, 4, 4 }, norm = "2", budget = BUDGET, seed = 3,
    lip.conv2d { channels = 6, kernel = 3, padding = 1, groups = 2 }, lip.relu {}, lip.flatten(),
    lip.residual { lip.dense { out = 96 }, lip.relu {} }, lip.dense { out = 2 } }
end

local function points(n, width)
  local x, labels = lip.zeros(n, width):normal_(lip.rng(4), 0, 1), {}
  for i = 1, n do labels[i] = x:get(i, 1) + x:get(i, 2) * x:get(i, 3) > 0 and 1 or 0 end
  return lip.data.tensors(x, lip.tensor(labels))
end

local function options(more)
  local o = { epochs = 2, batch = 25, seed = 9, opt = lip.optim.adam { lr = 0.05 } }
  for k, v in pairs(more or {}) do o[k] = v end
  return o
end

local function within(net, what)
  lu.assertTrue(net:bound().upper <= BUDGET, ("%s: %.17g"):format(what, net:bound().upper))
end

local function same_weights(a, b)
  a, b = a:parameters(), b:parameters()
  for i, p in ipairs(a) do
    if not p.value:equal(b[i].value) then return false end
  end
  return #a == #b
end

local T = {}

function T:setUp()
  local pipe <close> = assert(io.popen "mktemp -d")
  self.dir = pipe:read "l"
  self.path = self.dir .. "/checkpoint"
end

function T:tearDown()
  os.execute("rm -rf " .. outside.quote(self.dir))
end

-- What the file gives to its readers, and to a run that goes on; true when these are not the same.
function T:check_file(what)
  local net = assert(lip.load(self.path))
  within(net, what .. ", loaded")
  return not same_weights(net, (assert(lip.load(self.path, { resume = true }))))
end

function T:test_all_norms_and_projections()
  local data, differed = points(200, 8), 0
  for _, norm in ipairs { "2", "inf", "1", "1->2", "1->inf->inf->inf", "2->2->2->inf", "1->2->2->2" } do
    for _, projection in ipairs { "euclidean", "rowwise", "radial" } do
      for _, every in ipairs { 1, 0, 3 } do
        local what = ("%s %s %d"):format(norm, projection, every)
        local net = new_net(norm, projection, { project_every = every })
        assert(lip.train(net, data, options { checkpoint = self.path }))
        within(net, what)
        if self:check_file(what) then differed = differed + 1 end
        lu.assertTrue(same_weights(net, (assert(lip.load(self.path)))), what)
      end
    end
  end
  lu.assertTrue(differed >= 5, "the projection at the end had nothing to do")
end

function T:test_convolutions_and_branches()
  local net = conv_net()
  assert(lip.train(net, points(200, 32), options()))
  within(net, "conv2d and residual")
end

function T:test_a_callback_stops()
  local data = points(200, 8)
  for _, name in ipairs { "on_batch", "on_epoch" } do
    local net, before = new_net "2", nil
    local result = assert(lip.train(net, data, options { checkpoint = self.path, [name] = function(info)
      before = net:bound().upper
      return info.step < 5
    end }))
    lu.assertTrue(result.stopped)
    lu.assertTrue(before > BUDGET, "nothing to project")
    within(net, name)
    lu.assertTrue(self:check_file(name))
  end
end

function T:test_a_callback_fails()
  local net = new_net "2"
  local ok = pcall(lip.train, net, points(200, 8), options { on_batch = function(info) assert(info.step < 7) end })
  lu.assertFalse(ok)
  within(net, "an error")
end

-- The weights are those of the last update that was finite, projected.
function T:test_a_loss_that_is_not_finite()
  local net, twin = new_net "2", new_net "2"
  local data, inner, n = points(200, 8), lip.loss.cross_entropy(), 0
  local function loss(z, y)
    n = n + 1
    local value, dz = inner:gradient(z, y)
    return n > 6 and 0 / 0 or value, dz
  end
  local result, _, code = lip.train(net, data, options { loss = loss })
  lu.assertNil(result)
  lu.assertEquals(code, "not_finite")
  within(net, "not finite")
  assert(lip.train(twin, data, options { loss = inner, on_batch = function(info) return info.step < 6 end }))
  lu.assertTrue(same_weights(net, twin))
end

-- In a process of its own: SIGINT can be sent once.
function T:test_ctrl_c()
  local code = ([[
    local data = require "lip".data.tensors(lip.zeros(200, 8):normal_(lip.rng(4), 0, 1), %s)
    local net = lip.net { input = 8, norm = "2", budget = %g, seed = 3, lip.dense { out = 48 }, lip.relu {},
      lip.dense { out = 48 }, lip.maxmin {}, lip.dense { out = 2 } }
    local result, message, code = lip.train(net, data, { epochs = 1e6 // 1 | 0, batch = 25, seed = 9,
      opt = lip.optim.adam { lr = 0.05 }, checkpoint = %q,
      on_batch = function(info)
        if info.step == 20 then print(net:bound().upper) print "ready" io.stdout:flush() end
      end })
    print(result, code, net:bound().upper)]]):format("(function() local t = {} for i = 1, 200 do t[i] = i % 2 end return t end)()",
    BUDGET, self.path)
  local out = self.dir .. "/out"
  local p = lip.process.spawn { outside.program, "-e", code, stdout = out }
  local finish = lip.time() + 60
  repeat lip.process.sleep(0.02) until (file.read(out) or ""):find "ready" or lip.time() > finish
  p:signal "INT"
  lu.assertEquals(p:wait(60).exit, 0)
  local before, after = file.read(out):match "^(%S+)\nready\nnil\tcancelled\t(%S+)\n$"
  lu.assertTrue(tonumber(before) > BUDGET, "nothing to project")
  lu.assertTrue(tonumber(after) <= BUDGET)
  lu.assertTrue(self:check_file "cancelled")
end

-- The file holds what a run goes on from: three epochs and two more are five, bit for bit.
function T:test_a_finished_run_may_be_continued()
  local data = points(200, 8)
  local whole, parts = new_net "2", new_net "2"
  assert(lip.train(whole, data, options { epochs = 5 }))
  assert(lip.train(parts, data, options { epochs = 3, checkpoint = self.path }))
  assert(lip.train(parts, data, options { epochs = 5, checkpoint = self.path, resume = true }))
  lu.assertTrue(same_weights(whole, parts))
  assert(lip.train(parts, data, options { epochs = 5, checkpoint = self.path, resume = true })) -- nothing left to do
  lu.assertTrue(same_weights(whole, parts))
end

-- What a script saves by itself comes back as it is.
function T:test_own_files_are_left_alone()
  local net = new_net "2"
  local x, y = points(200, 8):batch(1, 200)
  local opt = lip.optim.adam { lr = 0.05 }
  for _ = 1, 5 do assert(net:step(x, y, opt, lip.loss.cross_entropy())) end
  lu.assertTrue(net:bound().upper > BUDGET)
  assert(net:save(self.path, { optimizer = opt, progress = { step = 5 } }))
  lu.assertTrue(same_weights(net, (assert(lip.load(self.path)))))
  assert(net:save(self.path, { optimizer = opt, progress = { step = 5, training = true } }))
  lu.assertTrue(self:check_file "marked")
  lu.assertErrorMsgContains("progress.training expects true or false", net.save, net, self.path,
    { progress = { training = 1 } })
  lu.assertErrorMsgContains("unknown option 'resum'", lip.load, self.path, { resum = true })
  lu.assertErrorMsgContains("resume expects true or false", lip.load, self.path, { resume = 1 })
end

-- A budget that no projection reaches: with verbose a run says so, once, at its end.
function T:test_a_run_tells_of_a_budget_that_is_not_met()
  local function told(norm, verbose)
    local net = lip.net { input = 8, norm = norm, budget = BUDGET, seed = 3, lip.linf_dist { out = 5 }, lip.linf_dist { out = 2 } }
    local file <close> = assert(io.open(self.path, "w"))
    local before = io.output()
    io.output(file)
    local ok, why = pcall(lip.train, net, points(50, 8), options { verbose = verbose })
    io.output(before)
    lu.assertTrue(ok, why)
    file:flush()
    return outside.slurp(self.path)
  end
  local text = told(2, true)
  lu.assertEquals(select(2, text:gsub("more than its budget", "")), 1)
  lu.assertStrMatches(text, ".*\ntrain: the net has the constant [%d.]+, more than its budget 1.5: layer 1 [^\n]*\n")
  lu.assertNotStrContains(told("inf", true), "budget")
  lu.assertEquals(told(2, false), "")
end

return T
