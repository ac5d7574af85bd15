-- How many MNIST digits can a small network recognise with a proof that no change of the pixels (in [0, 1]) by up to
-- eps in total (l_1) alters its answer?
--
--   lipwb experiments/mnist_l1.lua [--set epochs=8] [--plot FILE]
--
-- Expected (MNIST, two cores, 10 s): 98.4 % clean, 96.8 / 93.4 / 73.6 % certified at 0.5 / 1 / 2
local lip = require "lip"

local args = lip.args{
  eps = { 1, "radius to train for", min = 0 },
  plot = { "mnist_l1.png", "figure; an empty name draws none" },
  attack = { 300, "test images that the figure also attacks, 0: none", min = 0, whole = true },
  epochs = { 20, "passes over the data", min = 1 }, seed = { 1, "of weights and shuffling" },
  limit = { 0, "samples to train and to test on, 0: all" },
  data = { "any", "any: MNIST, or loudly the next best", choices = { "any", "mnist", "fashion-mnist", "digits" } },
}
local width, budget, radii = 256, 16, { 0.5, 1, 2 } -- the budget only sets the unit of the logits

local train, test, name = lip.data.main_dataset{ set = args.data, limit = args.limit }
assert(train, test)

-- every column of every matrix lies in an l1 ball: what one feature can do to all of the next, in total
local net = lip.net{ input = { 1, 28, 28 }, norm = 1, budget = budget, init = "on_ball", seed = args.seed,
  lip.flatten(), lip.dense{ out = width }, lip.maxmin(), lip.dense{ out = width }, lip.maxmin(),
  lip.dense{ out = 10 } }
local start, history = lip.time(), {}
-- two logits move apart by at most the constant times the distance
local loss = lip.loss.cross_entropy{ temperature = 2, offset = args.eps * budget }
assert(lip.train(net, train, { epochs = args.epochs, batch = 256, seed = args.seed, loss = loss, verbose = true,
  opt = lip.optim.sgd{ lr = 0.04, momentum = 0.95, nesterov = true }, schedule = lip.schedule.cosine(),
  on_epoch = function(info) history[#history + 1] = info end }))
local seconds = lip.time() - start
local bound, report = net:bound{ lower = true, data = test }, net:certify(test, { eps = radii })
print(net)

if args.plot ~= "" then
  local figure = lip.figures.certified(net, test, report, { title = name, max = 5, attack = args.attack })
  lip.figures.draw(args.plot, { panels = { figure, lip.figures.losses({ { history = history } }).panels[1] } })
end
local text = ("result: %s, l_1, clean %.2f %%"):format(name, 100 * report.clean)
local row = { clean = report.clean, lower = bound.lower, bound = bound.upper, seconds = seconds }
for _, eps in ipairs(radii) do
  text = text .. (", %.2f %% at %g"):format(100 * report.certified[eps], eps)
  row[("certified@%g"):format(eps)] = report.certified[eps]
end
print(text .. (", constant in [%.4g, %.6g], %.1f s"):format(lip.round_down(bound.lower, 4),
  lip.round_up(bound.upper, 6), seconds))
return row
