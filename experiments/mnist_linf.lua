-- How many MNIST digits can a small network recognise with a proof that no change of every pixel by up to eps (l_inf,
-- pixels in [0, 1]) alters its answer?
--
--   lipwb experiments/mnist_linf.lua [--set preset=robust] [--set compare=true] [--set epochs=8] [--plot FILE]
--
-- Expected (MNIST, two cores): 98.2 % clean, 95.0 % certified at 0.03 after 25 s; preset robust: 95.8 % clean,
-- 87.6 % certified at 0.1 after 665 s of one core (published for such nets: 79 %).
--
-- The steps are plain gradient steps for a reason: the nearest point of an l_1 ball corrects a step that treats all
-- weights of a row alike. Under Adam, with its own rate for every weight, a net gains far less (README.md).
local lip = require "lip"

local presets = {
  default = { epochs = 20, width = 512, depth = 2, group = 8, eps = 0.04, temperature = 0.3, lr = 0.4 },
  robust = { epochs = 60, width = 1024, depth = 3, group = 16, eps = 0.12, temperature = 1, lr = 0.3 },
}
local args = lip.args{
  preset = { "default", "what to aim at", choices = { "default", "robust" } },
  compare = { false, "train the three projections one after the other" },
  plot = { "mnist_linf.png", "figure; an empty name draws none" },
  attack = { 300, "test images that the figure also attacks, 0: none", min = 0, whole = true },
  epochs = { 0, "passes over the data, 0: the preset's" }, seed = { 1, "of weights and shuffling" },
  limit = { 0, "samples to train and to test on, 0: all" },
  data = { "any", "any: MNIST, or loudly the next best", choices = { "any", "mnist", "fashion-mnist", "digits" } },
}
local p = presets[args.preset]
if args.epochs > 0 then p.epochs = args.epochs end
local budget, radii = 16, { 0.01, 0.03, 0.1 } -- the budget only sets the unit of the logits: radii do not depend on it

local train, test, name = lip.data.main_dataset{ set = args.data, limit = args.limit }
assert(train, test)

local function run(projection)
  local spec = { input = { 1, 28, 28 }, norm = "inf", budget = budget, init = "on_ball", projection = projection,
    seed = args.seed, lip.flatten() }
  for _ = 1, p.depth do
    spec[#spec + 1] = lip.dense{ out = p.width }
    spec[#spec + 1] = lip.groupsort{ size = p.group }
  end
  spec[#spec + 1] = lip.dense{ out = 10 }
  local net, start, history = lip.net(spec), lip.time(), {}
  -- a right answer must win by the margin that certifies it at eps: twice eps times the constant of the logits
  local loss = lip.loss.cross_entropy{ temperature = p.temperature, offset = 2 * p.eps * budget }
  assert(lip.train(net, train, { epochs = p.epochs, batch = 256, seed = args.seed, loss = loss, verbose = true,
    opt = lip.optim.sgd{ lr = p.lr, momentum = 0.95, nesterov = true }, schedule = lip.schedule.cosine(),
    on_epoch = function(info) history[#history + 1] = info end }))
  local seconds = lip.time() - start
  local bound, report = net:bound{ lower = true, data = test }, net:certify(test, { eps = radii })
  if not args.compare then print(net) end
  local text = ("result: %s, l_inf, %-10s clean %.2f %%"):format(name, projection .. ",", 100 * report.clean)
  local row = { clean = report.clean, lower = bound.lower, bound = bound.upper, seconds = seconds }
  for _, eps in ipairs(radii) do
    text = text .. (", %.2f %% at %g"):format(100 * report.certified[eps], eps)
    row[("certified@%g"):format(eps)] = report.certified[eps]
  end
  text = text .. (", constant in [%.4g, %.6g], %.1f s"):format(lip.round_down(bound.lower, 4),
  lip.round_up(bound.upper, 6), seconds)
  return { text = text, row = row, net = net, report = report, history = history, title = projection }
end

local runs = {}
for i, projection in ipairs(args.compare and { "euclidean", "rowwise", "radial" } or { "euclidean" }) do
  runs[i] = run(projection)
end
if args.plot ~= "" then
  local options = { title = name, max = 0.2, attack = args.compare and 0 or args.attack }
  local figure = lip.figures.certified(runs[1].net, test, runs[1].report, options)
  if args.compare then figure.series[1].title = runs[1].title end
  for i = 2, #runs do -- beside the first
    local curve = lip.curve(runs[i].report, test, { max = 0.2 })
    figure.series[i] = { x = curve.x, y = curve.y, title = runs[i].title }
  end
  lip.figures.draw(args.plot, { panels = { figure, lip.figures.losses(runs).panels[1] } })
end
for _, r in ipairs(runs) do print(r.text) end
return runs[1].row
