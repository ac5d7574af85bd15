-- Mistakes that gave a number, and a wrong one, without a word. Each is an error now, or a warning, or right.
local lu = require "luaunit"
local lip = require "lip"
local program = require "support_program".program

local tests = {}
local raises = lu.assertErrorMsgContains

local function net(outputs, norm)
  return lip.net { input = 4, norm = norm or "inf", seed = 2, lip.dense { out = 8 }, lip.relu(),
    lip.dense { out = outputs } }
end

local x = lip.rand(1, { 60, 4 })

-- ---- classes count from 0, positions from 1 ----

function tests.test_classes_compare_with_labels()
  local n = net(3)
  local y = n:predict(x)
  for i = 1, 60, 7 do y[i] = (y[i] + 1) % 3 end
  local data = lip.data.tensors(x, y)
  local all, labels = data:batch(1, 60)
  local right = n:evaluate(data).accuracy
  lu.assertTrue(right > 0.5 and right < 1)
  lu.assertAlmostEquals(n:forward(all):classes():eq(labels):mean(), right, 1e-12)
  lu.assertEquals(n:forward(all):classes():totable(), n:predict(all))
  lu.assertEquals(n:forward(all)[1]:classes(), n:predict(all)[1])
  lu.assertEquals(lip.tensor { { 1, 1, 0 }, { 0 / 0, 1, 2 }, { -1, -2, 5 } }:classes():totable(), { 0, -1, 2 })
  for _, z in ipairs { lip.zeros(3, 1), lip.zeros(2, 2, 2), lip.zeros(1), lip.full({}, 1), lip.zeros(2, 0) } do
    raises("at least two outputs", z.classes, z)
  end
end

function tests.test_positions_never_meet_classes()
  local n, data = net(3), lip.data.tensors(x, lip.zeros(60):totable())
  local z = n:forward(x)
  local _, labels = data:batch(1, 60)
  local _, loaded = data:batches { size = 60 }:next()
  local certified = n:certify(data)
  local attacked = lip.attack(n, data, { eps = 0.1 })
  local _, order = z:sort(2)
  local classes = { labels, loaded, data:labels(), certified.labels, attacked.labels, attacked.found, z:classes(),
    labels:slice(1, 1, 60), labels:clone(), lip.tensor(labels), labels:reshape(60) }
  local positions = { z:argmax(2), z:argmin(2), order:select(2, 1), z:argmax(2):clone(), z:argmax(2):slice(1, 1, 60),
    z:argmax(2):flatten() }
  for _, c in ipairs(classes) do
    for _, p in ipairs(positions) do
      for _, op in ipairs { "eq", "ne", "lt", "le", "gt", "ge", "sub", "add", "equal", "allclose", "maximum" } do
        raises("z:classes() in place of z:argmax(2)", p[op], p, c)
        raises("z:classes() in place of z:argmax(2)", c[op], c, p)
      end
      raises("count from 0", function() return p == c end)
      raises("count from 0", function() return p - c end)
      lu.assertEquals((p - 1):eq(c):size(), 60) -- the other remedy
      lu.assertEquals(p:clone():sub_(1):eq(c):size(), 60)
    end
    lu.assertEquals(c:eq(z:classes()):size(), 60)
    lu.assertEquals(c:eq(0):size(), 60)
  end
  local p = z:argmax(2)
  for name, f in pairs {
    step = function() return n:step(x, p, lip.optim.sgd { lr = 0 }, lip.loss.cross_entropy()) end,
    value = function() return lip.loss.cross_entropy():value(z, p) end,
    tensors = function() return lip.data.tensors(x, p) end,
    certify = function() return n:certify(x, p) end,
    attack = function() return lip.attack(n, x, p, { eps = 0.1 }) end,
    curve = function() return lip.curve(certified, p) end,
  } do
    raises("count from 0", f)
    lu.assertNotNil(name)
  end
  -- positions among themselves and with plain numbers are what they were
  lu.assertEquals(p:eq(z:argmax(2)):mean(), 1)
  lu.assertEquals(p:eq(lip.tensor(p:totable())):mean(), 1)
end

function tests.test_numbers_that_were_written_are_numbers()
  local z = net(3):forward(x)
  local classes = z:classes()
  local function same(p) lu.assertEquals(p:eq(classes):size(), p:size()) end
  local p = z:argmax(2)
  for i = 1, 60 do p[i] = p[i] - 1 end
  lu.assertEquals(p:eq(classes):mean(), 1)
  p = z:argmax(2)
  for i = 1, 60 do p:set(i, classes[i]) end
  same(p)
  same(z:argmax(2):uniform_(lip.rng(1)))
  same(z:argmax(2):normal_(lip.rng(1)))
  p = z:argmax(2) -- through a view, and the owner of one
  local rows, view = p:reshape(6, 10), p:slice(1, 1, 60)
  view:sub_(1)
  lu.assertEquals(p:eq(classes):mean(), 1)
  same(view)
  same(rows:reshape(60))
  p = z:argmax(2)
  view = p:slice(1, 1, 60)
  p:sub_(1)
  same(view)
  local _, order = z:sort(2)
  order[1] = lip.tensor { 0, 1, 2 }
  lu.assertEquals(order[1]:eq(z:classes():slice(1, 1, 3)):size(), 3)
  local both = lip.zeros(2, 60) -- a row of each
  both[1], both[2] = z:argmax(2), classes
  lu.assertEquals(both[1]:eq(both[2]):size(), 60)
  local half = both:select(1, 1)
  half:copy(z:argmax(2))
  raises("count from 0", half.eq, half, classes) -- what is known of a view stays known
  raises("count from 0", half.eq, half:slice(1, 1, 60), classes)
  both:fill(0)
  same(half)
end

-- ---- certified[eps] ----

function tests.test_certified_of_a_radius_that_nobody_asked_for()
  local report = net(3):certify(lip.data.tensors(x, lip.zeros(60):totable()), { eps = { 0.1, 0.3 } })
  lu.assertEquals(type(report.certified[0.1]), "number")
  raises("certified[0.2]: certify was not asked about this radius: option 'eps' was 0.", function()
    return report.certified[0.2]
  end)
  raises("certified[0.30000000000000004]", function() return report.certified[0.1 + 0.2] end)
  raises("certified[", function() return report.certified.eps end)
  local keys = {}
  for eps, share in pairs(report.certified) do
    keys[#keys + 1] = eps
    lu.assertEquals(share, report.certified[eps])
  end
  table.sort(keys)
  lu.assertEquals(keys, { 0.1, 0.3 })
  lu.assertEquals(next({}, nil), nil)
  lu.assertNil(rawget(report.certified, 0.2))
  lu.assertStrContains(lip.to_json { certified = report.certified }, "0.1")
  local none = net(3):certify(lip.data.tensors(x, lip.zeros(60):totable()))
  raises("'eps' was not given", function() return none.certified[0.1] end)
end

-- The same of rows: a radius that no run was asked about drew an empty figure.
function tests.test_figures_of_what_no_record_has()
  local records = {}
  for i, budget in ipairs { 1, 2, 4 } do
    records[i] = { config = { budget = budget, norm = "2" }, row = { clean = 0.9, ["certified@0.1"] = 0.5 } }
  end
  lu.assertEquals(#lip.figures.budget(records, { y = "certified@0.1" }).panels, 1)
  raises("no record has 'certified@0.2' (their rows have: certified@0.1, clean)", lip.figures.budget, records,
    { y = { "clean", "certified@0.2" } })
  raises("no record has 'certified@0.2'", lip.figures.pareto, records, "clean", "certified@0.2")
  lu.assertEquals(#lip.figures.budget({}, { y = "certified@0.2" }).panels, 1)
end

-- ---- what cannot be said is not said ----

function tests.test_values_have_no_accuracy()
  local values = lip.data.tensors(x, lip.rand(3, { 60, 1 }))
  local one = net(1)
  raises("such as lip.loss.mse()", one.evaluate, one, values)
  lu.assertEquals(type(one:evaluate(values, { loss = lip.loss.mse() }).loss), "number")
  raises("neither labels nor values", one.evaluate, one, lip.data.tensors(x))
  local losses = { lip.loss.mse(), function(z, y) return z:sub(y):pow(2):mean(), z:sub(y):mul(2 / #z) end }
  for _, loss in ipairs(losses) do
    local done = assert(lip.train(net(1), values, { epochs = 1, loss = loss, validation = values }))
    lu.assertNil(done.history[1].validation.accuracy)
  end
end

-- One output separates two classes by its sign; it was counted as class 0.
function tests.test_one_output_and_labels()
  local n = lip.net { input = 4, norm = "2", budget = 8, seed = 1, lip.dense { out = 8 }, lip.relu(),
    lip.dense { out = 1 } }
  local y = {}
  for i = 1, 60 do y[i] = x[i][1] > 0.5 and 1 or 0 end
  local data = lip.data.tensors(x, y)
  local hinge = lip.loss.hinge { margin = 0.1 }
  assert(lip.train(n, data, { epochs = 200, batch = 20, loss = hinge, opt = lip.optim.adam { lr = 0.02 } }))
  local right, z = 0, n:forward(x)
  for i = 1, 60 do right = right + ((z[i][1] > 0) == (y[i] == 1) and 1 or 0) end
  lu.assertTrue(right >= 55)
  lu.assertAlmostEquals(n:evaluate(data, { loss = hinge }).accuracy, right / 60, 1e-12)
  lu.assertAlmostEquals(n:evaluate(data).accuracy, right / 60, 1e-12)
  y[1] = 2
  raises("3 classes", n.evaluate, n, lip.data.tensors(x, y), { loss = hinge })
end

function tests.test_labels_that_the_net_cannot_answer()
  local d, n = lip.data.tensors(lip.rand(1, { 3, 4 }), { 1, 2, 3 }), net(3) -- counted from 1: a fourth class
  local path = os.tmpname()
  for name, f in pairs {
    certify = function() return n:certify(d, { eps = { 0.1 } }) end, evaluate = function() return n:evaluate(d) end,
    attack = function() return lip.attack(n, d, { eps = 0.1 }) end,
    certificate = function() return n:certificate(path, d, {}) end,
  } do
    raises(name .. ": the data set has 4 classes, the net 3 outputs", f)
  end
  os.remove(path)
end

-- ---- the same numbers in another order ----

function tests.test_images_of_another_order_are_refused()
  local conv = lip.net { input = { 3, 6, 5 }, norm = "inf", lip.conv2d { channels = 4, kernel = 3 }, lip.relu(),
    lip.flatten(), lip.dense { out = 3 } }
  local wrong, right = lip.rand(1, { 2, 6, 5, 3 }), lip.rand(1, { 2, 3, 6, 5 })
  local flat = right:reshape(2, 90)
  local bad = lip.data.tensors(wrong, { 0, 1 }, { channels = "first" }) -- read as 6 x 5 x 3, whatever it looks like
  local good = lip.data.tensors(right, { 0, 1 })
  local calls = {
    forward = function(t) return conv:forward(t) end, predict = function(t) return conv:predict(t) end,
    certify = function(t) return conv:certify(t) end,
    attack = function(t) return lip.attack(conv, t, { eps = 0.1 }) end,
    bound = function(t) return conv:bound { lower = true, data = t } end,
  }
  for name, f in pairs(calls) do
    raises("3x6x5", f, wrong)
    lu.assertNotNil(f(right), name)
    lu.assertNotNil(f(flat), name)
  end
  for name, f in pairs {
    certify = calls.certify, attack = calls.attack, bound = calls.bound,
    evaluate = function(d) return conv:evaluate(d) end,
    train = function(d) return lip.train(conv, d, { epochs = 1 }) end,
    verify = function(d) return lip.verify(conv, d, { eps = 0.1 }) end,
  } do
    raises("the same numbers in another order", f, bad)
    lu.assertNotNil(f(good), name)
    lu.assertNotNil(f(lip.data.tensors(flat, { 0, 1 })), name)
  end
  local grey = lip.net { input = { 1, 6, 5 }, norm = "inf", lip.conv2d { channels = 2, kernel = 3 }, lip.flatten(),
    lip.dense { out = 2 } }
  for _, shape in ipairs { { 2, 6, 5 }, { 2, 1, 6, 5 }, { 2, 30 } } do
    lu.assertEquals(grey:forward(lip.rand(1, shape)):shape(), { 2, 2 })
    lu.assertEquals(grey:certify(lip.rand(1, shape)).n, 2)
  end
  raises("1x6x5", grey.forward, grey, lip.rand(1, { 2, 5, 6 }))
  -- rows are samples: features across are refused, and so is a column for a row
  local n = net(3)
  raises("inputs do not fit", n.forward, n, lip.rand(1, { 4, 60 }))
  raises("inputs do not fit", n.certify, n, lip.rand(1, { 4, 60 }))
end

-- ---- switches and counts ----

function tests.test_training_is_true_or_false()
  local n = lip.net { input = 4, norm = "inf", lip.dense { out = 30 }, lip.dropout { rate = 0.5 },
    lip.dense { out = 2 } }
  for _, wrong in ipairs { "false", 0, 1, "no" } do raises("boolean", n.forward, n, x, wrong) end
  lu.assertTrue(n:forward(x, false):equal(n:forward(x)))
end

function tests.test_labels_that_are_none()
  for _, y in ipairs { { -2, 1 }, { 1, 0 / 0 }, { 0.5, 1 }, { 0, math.huge } } do
    raises("a whole number in 0..", lip.data.tensors, x:slice(1, 1, 2), y)
    raises("a whole number in 0..", net(2).certify, net(2), x:slice(1, 1, 2), y)
  end
  local path = lip.file.temporary() .. "/a.csv"
  assert(lip.file.write(path, "a,b,c,d,y\n1,2,3,4,-1\n1,2,3,5,2\n"))
  local set, message = lip.data.csv(path, { label = "y" })
  lu.assertNil(set)
  lu.assertStrContains(message, "-1")
  lip.file.remove_tree(path:match "(.*)/")
end

function tests.test_nothing_is_not_everything()
  local n, data = net(3), lip.data.tensors(x, lip.zeros(60):totable())
  for name, f in pairs {
    evaluate = function() return n:evaluate(data, { limit = 0 }) end,
    certify = function() return n:certify(data, { limit = 0 }) end,
    attack = function() return lip.attack(n, data, { eps = 0.1, limit = 0 }) end,
    verify = function() return lip.verify(n, data, { eps = 0.1, limit = 0 }) end,
    certificate = function() return n:certificate("/nonexistent/a", data, { limit = 0 }) end,
  } do
    raises("0", f)
    lu.assertNotNil(name)
  end
end

-- Labels of other rows: the shares would be of nothing.
function tests.test_curve_wants_the_labels_of_its_rows()
  local data = lip.data.tensors(x, lip.zeros(60):totable())
  local report = net(3):certify(data)
  raises("60", lip.curve, report, lip.zeros(59):totable())
  raises("60", lip.curve, report, data:subset(1, 10))
  lu.assertEquals(#lip.curve(net(3):certify(data, { limit = 10 }), data).x, 201)
end

-- Steps of a pixel for shares of it: said on stderr, as a ball may be meant to cover the box.
function tests.test_eps_in_steps_of_255()
  local script = [[
local lip = require "lip"
local net = lip.net { input = 4, norm = "inf", lip.dense { out = 3 } }
local data = lip.data.tensors(lip.rand(1, { 3, 4 }), { 0, 1, 2 })
lip.attack(net, data, { eps = EPS, box = { 0, 1 } })
net:certify(data, { method = "local", eps = { 0.01, EPS }, box = { 0, 1 } })]]
  local folder = lip.file.temporary()
  for eps, warned in pairs { ["8"] = true, ["8/255"] = false, ["1"] = false } do
    assert(lip.file.write(folder .. "/a.lua", (script:gsub("EPS", eps))))
    local ended = assert(lip.process.run { program, folder .. "/a.lua" })
    lu.assertEquals(ended.exit, 0, ended.errors)
    local _, count = ended.errors:gsub("WARNING[^\n]*wider than the box", "")
    lu.assertEquals(count, warned and 2 or 0, ended.errors)
  end
  lip.file.remove_tree(folder)
end

return tests
