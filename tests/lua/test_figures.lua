-- lip.figures: what is computed from records and nets, against numbers worked out by hand or in another way; every
-- figure can be drawn.
local lu = require "luaunit"
local lip = require "lip"

local figures = lip.figures
local has_gnuplot = os.execute "command -v gnuplot >/dev/null 2>&1"

-- gnuplot takes it without a word.
local function check_drawn(fig)
  if not has_gnuplot then return end
  local copy = {}
  for key, value in pairs(fig) do copy[key] = value end
  copy.inline = true
  local svg, message = lip.plot(copy)
  lu.assertIsString(svg, message)
end

-- Nothing to see is no figure.
local function check_refused(fig)
  if not has_gnuplot then return end
  local drawn, message, code = lip.plot(fig)
  lu.assertNil(drawn)
  lu.assertStrContains(message, "nothing to draw")
  lu.assertEquals(code, "argument")
end

local function record(norm, budget, seed, clean, certified, state)
  return { config = { norm = norm, budget = budget, seed = seed }, seed = seed, state = state or "done",
    row = { clean = clean, certified = certified, bound = budget } }
end

local records = {
  record("inf", 4, 1, 0.9, 0.5), record(2, 1, 1, 0.5, 0.3), record(2, 1, 2, 0.7, 0.4), record(2, 4, 1, 0.8, 0.6),
  record(2, 4, 2, 0.9, 0.2), record(2, "inf", 1, 1, 1), record(2, 2, 1, 0.1, 0.1, "failed"),
  { config = {}, state = "queued" },
}

local tests = {}

function tests.test_values_of_a_record()
  local r = { id = 7, seed = 3, config = { budget = 2, clean = "config" },
    row = { clean = 0.5, ["certified@0.1"] = 0.25 } }
  lu.assertEquals(figures.value(r, "budget"), 2)
  lu.assertEquals(figures.value(r, "clean"), "config")
  lu.assertEquals(figures.value(r, "row.clean"), 0.5)
  lu.assertEquals(figures.value(r, "certified@0.1"), 0.25)
  lu.assertEquals(figures.value(r, "row.certified@0.1"), 0.25)
  lu.assertEquals(figures.value(r, "seed"), 3)
  lu.assertNil(figures.value(r, "config.seed"))
  lu.assertNil(figures.value({}, "row.clean"))
end

function tests.test_budget_averages_over_seeds()
  local fig = figures.budget(records)
  lu.assertEquals(#fig.panels, 2)
  lu.assertEquals({ fig.panels[1].title, fig.panels[2].title }, { "norm 2", "norm inf" })
  lu.assertStrContains(fig.title, "mean and range over seed")
  local clean, certified = fig.panels[1].series[1], fig.panels[1].series[2]
  lu.assertEquals({ clean.title, certified.title }, { "clean", "certified" })
  lu.assertEquals(clean.x, { 1, 4 })
  for k, want in ipairs { 60, 85 } do lu.assertAlmostEquals(clean.y[k], want, 1e-9) end
  for k, want in ipairs { 30, 20 } do lu.assertAlmostEquals(certified.low[k], want, 1e-9) end
  for k, want in ipairs { 40, 60 } do lu.assertAlmostEquals(certified.high[k], want, 1e-9) end
  lu.assertTrue(fig.panels[1].logx)
  lu.assertEquals(fig.panels[1].xtics, { { 1, "1" }, { 4, "4" } })
  lu.assertNil(fig.panels[2].series[1].low) -- one run is no range
  check_drawn(fig)
  local turned = figures.budget(records, { panels = "y", y = { "clean", "bound" } })
  lu.assertEquals({ turned.panels[1].title, turned.panels[2].title }, { "clean", "bound" })
  lu.assertEquals(turned.panels[2].series[1].y, { 1, 4 }) -- no share: as it is
  check_drawn(turned)
  check_drawn(figures.budget(records, { by = false, y = "certified" }))
  check_refused(figures.budget {})
  check_refused(figures.budget(records, { x = "nothing" }))
end

-- The definition, for every pair.
local function beaten(p, points, sx, sy)
  for _, q in ipairs(points) do
    if sx * q[1] >= sx * p[1] and sy * q[2] >= sy * p[2] and (q[1] ~= p[1] or q[2] ~= p[2]) then return true end
  end
  return false
end

function tests.test_fronts_agree_with_the_definition()
  local rng = lip.rng(5)
  for round = 1, 60 do
    local points = { { 0 / 0, 9 }, { 9, math.huge } }
    for k = 3, 2 + round do points[k] = { rng:below(8), rng:below(8), k } end
    for _, least in ipairs { { false, false }, { true, false }, { false, true }, { true, true } } do
      local sx, sy = least[1] and -1 or 1, least[2] and -1 or 1
      local front, want, seen = figures.front(points, least[1], least[2]), {}, {}
      local usable = { table.unpack(points, 3) }
      for _, p in ipairs(usable) do
        local name = p[1] .. " " .. p[2]
        if not seen[name] and not beaten(p, usable, sx, sy) then
          want[#want + 1] = p
          seen[name] = true
        end
      end
      table.sort(want, function(a, b) return a[1] < b[1] end)
      lu.assertEquals(front, want)
    end
  end
  lu.assertEquals(figures.front({}), {})
end

function tests.test_pareto()
  local fig = figures.pareto(records, "clean", "certified", { by = "norm", label = "budget" })
  -- what is certified in another norm is another thing: a front for each, in the colour of its runs
  lu.assertStrContains(fig.title, "(a front for each norm)")
  lu.assertEquals({ fig.series[1].title, fig.series[2].title }, { "front, norm 2", "front, norm inf" })
  lu.assertEquals({ fig.series[1].x, fig.series[1].y }, { { 100 }, { 100 } }) -- the run that beats all of its norm
  lu.assertEquals({ fig.series[2].x, fig.series[2].y }, { { 90 }, { 50 } })
  lu.assertEquals(#fig.series[3].x, 5)
  for k = 1, 2 do lu.assertEquals(fig.series[k].colour, fig.series[k + 2].colour) end
  lu.assertEquals({ fig.series[5].style, fig.key }, { "rings", "below" }) -- the colours stay, and nothing is covered
  check_drawn(fig)
  local free = { record(2, 4, 1, 0.9, 0.5), table.unpack(records, 2, 5) }
  fig = figures.pareto(free, "clean", "certified")
  lu.assertEquals(fig.series[1].x, { 80, 80, 90 }) -- down at the level of the farther point
  lu.assertEquals(fig.series[1].y, { 60, 50, 50 })
  fig = figures.pareto(free, "budget", "certified", { minimise = { "budget" } })
  lu.assertEquals(fig.series[1].x, { 1, 4, 4 }) -- up where the dearer point stands
  lu.assertEquals(fig.series[1].y, { 40, 40, 60 })
  check_drawn(fig)
  check_refused(figures.pareto({}, "clean", "certified"))
  lu.assertErrorMsgContains("argument 3 (y) expects a text", figures.pareto, {}, "clean")
end

-- Another radius is another guarantee, unless the measure says which; clean accuracies have none.
function tests.test_fronts_of_what_can_be_compared()
  local list = { record(2, 1, 1, 0.9, 0.5), record(2, 2, 1, 0.8, 0.7), record(2, 4, 1, 0.7, 0.6) }
  for k, r in ipairs(list) do
    r.row.eps, r.row.seconds, r.row["certified@0.1"] = k == 3 and 0.1 or 0.3, k, 0.5
  end
  local function fronts(x, y)
    local n, fig = 0, figures.pareto(list, x, y)
    for _, s in ipairs(fig.series) do n = n + (s.title and s.title:find "^front" and 1 or 0) end
    return n, fig
  end
  local n, fig = fronts("clean", "certified")
  lu.assertEquals({ n, fig.series[1].title, fig.series[2].title }, { 2, "front, eps 0.1", "front, eps 0.3" })
  lu.assertStrContains(fig.title, "(a front for each eps)")
  check_drawn(fig)
  lu.assertEquals((fronts("clean", "certified@0.1")), 1)
  lu.assertEquals((fronts("clean", "seconds")), 1)
  list[1].config.norm = 1 -- norm and radius: three kinds, named once each
  n, fig = fronts("clean", "certified")
  lu.assertEquals({ n, fig.series[1].title }, { 3, "front, norm 1" })
  lu.assertStrContains(fig.title, "(a front for each norm and eps)")
end

-- Whole epochs, also of a single one.
function tests.test_epochs_are_whole()
  local function panel(n)
    local history = {}
    for k = 1, n do history[k] = { epoch = k, loss = 1 / k } end
    return figures.losses({ { title = "a", history = history } }).panels[1]
  end
  local one = panel(1)
  lu.assertEquals({ one.xtics, one.xrange }, { { { 1, "1" } }, { 0, 2 } })
  lu.assertEquals(panel(2).xtics, { { 1, "1" }, { 2, "2" } })
  local many = panel(230)
  lu.assertEquals({ many.xtics[1], #many.xtics, many.xtics[4] }, { { 50, "50" }, 4, { 200, "200" } })
  check_drawn(figures.losses { { title = "a", history = { { epoch = 1, loss = 1 } } } })
end

-- Marks that would touch are left without a text.
function tests.test_marks_keep_their_distance()
  local list = {}
  for k, lr in ipairs { 0.001, 0.0011, 0.0012, 0.1 } do
    list[k] = { config = { lr = lr }, row = { clean = 0.5 } }
  end
  local panel = figures.budget(list, { x = "lr", by = false }).panels[1]
  lu.assertEquals(panel.xtics, { { 0.001, "0.001" }, { 0.0011, "" }, { 0.0012, "" }, { 0.1, "0.1" } })
end

-- An attacked accuracy below the certified one is an error, at a radius between samples too.
function tests.test_radius_checks_the_attack()
  local curve = { x = { 0, 1, 2 }, y = { 90, 60, 10 } }
  check_drawn(figures.radius(curve, { x = { 0.5, 1, 2, 5 }, y = { 60, 60, 10, 0 } }))
  for _, wrong in ipairs { { 1, 59.9 }, { 0.5, 59 }, { 2, 9 }, { 0, 89 } } do
    lu.assertErrorMsgContains("one of them is wrong", figures.radius, curve, { x = { wrong[1] }, y = { wrong[2] } })
  end
  local both = { curve, { x = { 0, 3 }, y = { 50, 0 }, title = "other" } }
  local fig = figures.radius(both, { { x = { 1 }, y = { 70 } }, { x = { 1 }, y = { 30 } } })
  lu.assertEquals(#fig.series, 4)
  check_drawn(fig)
  check_drawn(figures.radius(curve))
end

function tests.test_losses_of_stores_and_of_training()
  local metrics = { { name = "loss", step = 2, value = 0.5 }, { name = "loss", step = 1, value = 1 },
    { name = "accuracy", step = 1, value = 0.9 }, { name = "loss", step = 3, value = "nan" } }
  local history = { { epoch = 1, loss = 2, validation = { accuracy = 0.7 } }, { epoch = 2, loss = 1,
    validation = { accuracy = 0.8 } } }
  local fig = figures.losses({ { title = "stored", metrics = metrics }, { title = "trained", history = history } },
    { names = { "loss", "validation.accuracy", "none" } })
  lu.assertEquals(#fig.panels, 2)
  local stored, trained = fig.panels[1].series[1], fig.panels[1].series[2]
  lu.assertEquals({ stored.x[1], stored.x[2], stored.y[1], stored.y[2] }, { 1, 2, 1, 0.5 })
  lu.assertEquals({ trained.x, trained.y }, { { 1, 2 }, { 2, 1 } })
  lu.assertEquals(fig.panels[2].series[1].y, { 0.7, 0.8 })
  check_drawn(fig)
  check_refused(figures.losses {})
end

function tests.test_histograms_count_everything_once()
  local h = figures.histogram({ 0, 0.1, 0.9, 1, 0.5, 0 / 0, math.huge }, 2)
  lu.assertEquals(h.y, { 2, 3 })
  lu.assertEquals(h.x, { 0.25, 0.75 })
  lu.assertEquals(h.n, 5)
  local rng = lip.rng(2)
  local t = lip.randn(rng, 1000)
  local sum = 0
  for _, n in ipairs(figures.histogram(t, 17).y) do sum = sum + n end
  lu.assertEquals(sum, 1000)
  lu.assertEquals(figures.histogram({ 3, 3 }, 3).y, { 0, 2, 0 })
  lu.assertEquals(figures.histogram({}, 3).n, 0)
  lu.assertErrorMsgContains("bins", figures.histogram, { 1 }, 0)
end

-- Singular values: squares add up to the squared Frobenius norm, the largest is the operator norm, those of a scaled
-- orthogonal matrix are its scale.
function tests.test_singular_values()
  local w = lip.randn(lip.rng(4), 12, 7)
  local s, squares = lip.singular_values(w), 0
  lu.assertEquals(#s, 7)
  for k, v in ipairs(s) do
    squares = squares + v * v
    lu.assertTrue(v >= 0 and (k == 1 or v <= s[k - 1]))
  end
  lu.assertAlmostEquals(squares, w:norm() ^ 2, 1e-4)
  lu.assertTrue(s[1] <= lip.opnorm_upper(w, 2) and s[1] >= lip.opnorm_lower(w, 2) * (1 - 1e-6))
  lu.assertEquals(lip.singular_values(lip.eye(3) * 2), { 2, 2, 2 })
  local turned = lip.singular_values(w:transpose(1, 2):contiguous())
  for k, v in ipairs(turned) do lu.assertAlmostEquals(v / s[k], 1, 1e-12) end
  local message, code = select(2, lip.singular_values(lip.full({ 2, 2 }, 0 / 0)))
  lu.assertStrContains(message, "NaN")
  lu.assertEquals(code, "not_finite")
end

local function small_net()
  return lip.net { input = { 1, 6, 6 }, norm = 2, budget = 8, seed = 1, lip.flatten(),
    lip.dense { out = 8 }, lip.maxmin(), lip.dense { out = 4 } }
end

function tests.test_moments_are_intervals()
  local net = small_net()
  local moment = figures.moment(net, 3)
  lu.assertEquals({ moment.step, #moment.layers, moment.layers[1].name }, { 3, 2, "2 dense" })
  local product = 1
  for _, layer in ipairs(moment.layers) do
    lu.assertTrue(layer.lower <= layer.upper and layer.lower >= 0.99 * layer.upper)
    product = product * layer.upper
  end
  lu.assertAlmostEquals(moment.upper / product, 1, 1e-9)
  local fig = figures.bounds { moment, figures.moment(net, 4) }
  lu.assertEquals(#fig.series, 3)
  check_drawn(fig)
  check_refused(figures.bounds {})
  local deep = lip.net { input = { 1, 6, 6 }, norm = 2, lip.conv2d { channels = 2, kernel = 3 }, lip.flatten(),
    lip.residual { lip.dense { out = 32 } }, lip.dense { out = 3 } }
  lu.assertEquals(#figures.moment(deep, 1).layers, 3)
  check_drawn(figures.bounds { figures.moment(deep, 1) })
  check_drawn(figures.weights(deep))
  check_drawn(figures.singular(deep))
end

function tests.test_histograms_of_a_net()
  local fig = figures.weights(small_net())
  lu.assertEquals(#fig.panels, 2)
  lu.assertStrContains(fig.panels[1].title, "288 weights")
  check_drawn(fig)
  fig = figures.singular(small_net(), { bins = 5 })
  local sum = 0
  for _, n in ipairs(fig.panels[1].series[1].y) do sum = sum + n end
  lu.assertEquals(sum, 8)
  check_drawn(fig)
end

function tests.test_images_show_differences()
  local x = lip.rand(lip.rng(1), 3, 1, 4, 4)
  local moved = x + 0.25
  local fig = figures.images(x, moved, { labels = { 1, 2, 3 }, found = lip.tensor { 4, 5, 6 }, limit = 2 })
  lu.assertEquals({ #fig.images, #fig.images[1], #fig.images[3] }, { 3, 2, 2 })
  for r, title in ipairs { "label 2", "answer 5", "0.25" } do lu.assertEquals(fig.images[r][2].title, title) end
  check_drawn(fig)
  check_drawn(figures.images(x:reshape(3, 16), x:reshape(3, 16)))
  check_drawn(figures.images(lip.rand(1, { 2, 3, 5, 5 }), lip.rand(2, { 2, 3, 5, 5 })))
  check_drawn(figures.images(lip.rand(1, { 2, 7 }), lip.rand(2, { 2, 7 })))
  lu.assertErrorMsgContains("adversarial points", figures.images, x, lip.zeros(2, 1, 4, 4))
end

function tests.test_fit_of_a_line()
  local net = lip.net { input = 1, norm = 2, budget = 2, seed = 1, lip.dense { out = 1 } }
  net:weights(1):fill(1.5)
  net:bias(1):fill(0)
  local fig = figures.fit({ -1, 0, 1 }, { -1, 0, 1 }, net, 2, { truth = function(x) return x end })
  for _, v in ipairs(fig.panels[2].series[1].y) do lu.assertAlmostEquals(v, 1.5, 1e-4) end
  lu.assertEquals({ fig.panels[2].levels[1].y, fig.panels[2].levels[2].y }, { 2, -2 })
  check_drawn(fig)
end

function tests.test_draw()
  lu.assertNil(figures.draw("", { series = { { y = { 1 } } } }))
  lu.skipIf(not has_gnuplot, "gnuplot is not installed")
  local name, old, said = os.tmpname(), print, nil
  rawset(_G, "print", function(words) said = words end)
  local fig = { series = { { y = { 1, 2 } } } }
  local ok = figures.draw(name .. ".svg", fig)
  rawset(_G, "print", old)
  os.remove(name)
  lu.assertTrue(ok)
  lu.assertEquals(said, "figure: " .. name .. ".svg")
  lu.assertNil(fig.file) -- the table of the caller stays as it was
  lu.assertTrue(os.remove(name .. ".svg"))
end

function tests.test_colours_of_a_page()
  for _, dark in ipairs { false, true } do
    local css = figures.css(dark)
    for _, name in ipairs { "ink", "grid", "paper", "muted", "1", "7" } do
      lu.assertStrContains(css, "--lip-" .. name .. ": #")
    end
  end
  lu.assertNotEquals(figures.css(true), figures.css(false))
end

return tests
