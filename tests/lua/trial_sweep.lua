-- A sweep over a function, for test_trial.lua.
local lip = require "lip"

local args = lip.args{ width = 16 }

return lip.sweep{
  grid = { lr = { 0.01, 0.02 } }, maximise = "clean",
  run = function(config, trial)
    local rng, n = lip.rng(5), 150
    local x, y = lip.zeros(n, 4), {}
    x:normal_(rng, 0, 1)
    for i = 1, n do y[i] = x:get(i, 1) > x:get(i, 2) and 1 or 0 end
    local net = lip.net{ input = 4, norm = 2, budget = 3, seed = trial.seed % 1000, lip.dense{ out = args.width },
      lip.relu{}, lip.dense{ out = 2 } }
    local data = lip.data.tensors(x, y)
    local result = assert(lip.train(net, data, { epochs = 12, batch = 16, opt = lip.optim.adam{ lr = config.lr } }))
    return { clean = net:evaluate(data).accuracy, loss = result.loss, seed = trial.seed, active = trial.active }
  end,
}
