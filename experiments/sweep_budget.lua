-- How large should the Lipschitz budget of a net be? Trains the same small net in the norms 1, 2 and inf under eight
-- budgets with three seeds, and shows what it recognises, what an attack leaves of that, and what is certified.
--
--   lipwb sweep experiments/sweep_budget.lua -j 2 --plot budget.svg [--set quick=true] [--store FILE]
--
-- The loss asks for no margin: only the budget holds the nets back. Clean, certified and attacked accuracy are about
-- the same test images, at l_1 1, l_2 0.3 and l_inf 0.02.
--
-- Expected (MNIST, two busy cores, 38 minutes; quick 60 s): most is certified at budget 1 in norm 1 (92 %; quick 87), 2
-- in norm 2 (94 %; 91) and 32 in norm inf (93 %; 16: 89); far above it clean accuracy stays, certificates end.
local lip = require "lip"

local presets = {
  full = { train = 0, epochs = 10, width = 256, points = 2000 },
  quick = { train = 10000, epochs = 5, width = 128, points = 500 },
}
local args = lip.args{
  quick = { false, "a sixth of the images and half of the passes, on a smaller net" },
  seeds = { 3, "runs of each", min = 1, whole = true }, budgets = { 8, "from 0.5 to 64", min = 1, whole = true },
  train = { 0, "images to train on, 0: as quick says", min = 0 },
  points = { 0, "test images, 0: as quick says", min = 0 },
  data = { "any", "any: MNIST, or loudly the next best", choices = { "any", "mnist", "fashion-mnist", "digits" } },
}
local preset = presets[args.quick and "quick" or "full"]
for _, name in ipairs{ "train", "points" } do
  if args[name] > 0 then preset[name] = args[name] end
end

-- how far inputs move, the rate at budget 1, what starts well and what sorts, by norm
local norms = {
  [1] = { eps = 1, lr = 0.2, init = "on_ball", sort = lip.maxmin },
  [2] = { eps = 0.3, lr = 0.2, init = "orthogonal", sort = lip.maxmin },
  inf = { eps = 0.02, lr = 1, init = "on_ball", sort = function() return lip.groupsort{ size = 8 } end },
}

local function run(config, trial)
  local start, p, n = lip.time(), norms[config.norm], preset.points
  local train, test, name = lip.data.main_dataset{ set = args.data, limit = preset.train }
  assert(train, test)
  local function dense() return lip.dense{ out = preset.width } end
  local net = lip.net{ input = { 1, 28, 28 }, norm = config.norm, budget = config.budget, init = p.init,
    seed = trial.seed, lip.flatten(), dense(), p.sort(), dense(), p.sort(), lip.dense{ out = 10 } }
  -- a step of a layer is as long as the norms of the two others, each the third root of the budget
  local opt = lip.optim.sgd{ lr = p.lr / config.budget ^ (1 / 3), momentum = 0.9, nesterov = true }
  local trained = assert(lip.train(net, train, { epochs = preset.epochs, batch = 100, seed = trial.seed, opt = opt,
    schedule = lip.schedule.cosine() }))
  local report = assert(net:certify(test, { eps = p.eps, limit = n }))
  local attack = assert(lip.attack(net, test, { eps = p.eps, p = config.norm, box = { 0, 1 }, limit = n, steps = 40,
    targets = "untargeted", seed = trial.seed }))
  local bound = net:bound{ lower = true, data = test, points = 64 }
  return { clean = report.clean, certified = report.certified[p.eps], attacked = attack.robust, eps = p.eps,
    lower = bound.lower, bound = bound.upper, loss = trained.loss, data = name, seconds = lip.time() - start }
end

local seeds = {}
for i = 1, args.seeds do seeds[i] = i end
return lip.sweep{
  name = args.quick and "budget_quick" or "budget", run = run, maximise = "certified",
  grid = { norm = { 1, 2, "inf" }, budget = lip.logspace(0.5, 64, args.budgets), seed = seeds },
  figure = function(records)
    return lip.figures.budget(records, { y = { "clean", "attacked", "certified" },
      title = "accuracy at l_1 1, l_2 0.3, l_inf 0.02 against the budget" })
  end,
}
