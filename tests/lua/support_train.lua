-- A small training run with everything that has a memory, for the tests of lip.train and for the process they kill.
local lip = require "lip"

local function points(n, seed)
  local x, labels = lip.zeros(n, 3), {}
  x:normal_(lip.rng(seed), 0, 1)
  for i = 1, n do labels[i] = x:get(i, 1) + x:get(i, 2) * x:get(i, 3) > 0 and 1 or 0 end
  return lip.data.tensors(x, lip.tensor(labels))
end

local function dropout_net()
  return lip.net { input = 3, norm = "inf", budget = 6, seed = 5, lip.dense { out = 24 }, lip.relu {},
    lip.dropout { rate = 0.3 }, lip.dense { out = 2 } }
end

-- 3 epochs of 4 batches (the last one short) with everything that has a memory; history without the times
local function long_run(more)
  local net = dropout_net()
  local options = {
    epochs = 3, batch = 30, seed = 9, opt = lip.optim.amsgrad { lr = 0.02, weight_decay = 0.01 },
    schedule = lip.schedule.one_cycle { warmup = 2 },
    augment = function(x, y, rng) return x:add_(0.01 * rng:normal()), y end,
  }
  for name, value in pairs(more) do options[name] = value end
  local result, message, code = lip.train(net, points(100, 4), options)
  local losses = {}
  for _, info in ipairs(result and result.history or {}) do losses[info.epoch] = info.loss end
  return net, result, losses, message, code
end

return { points = points, long_run = long_run }
