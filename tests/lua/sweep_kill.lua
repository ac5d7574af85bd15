-- The sweep that test_sweep_kill.lua disturbs: twelve short trainings that keep checkpoints.
local lip = require "lip"

return lip.sweep {
  name = "kill",
  grid = { budget = { 1, 2, 4 }, norm = { 2, "inf" }, seed = { 1, 2 } },
  maximise = "accuracy",
  run = function(config, trial)
    local data = lip.data.digits { n = 300, seed = config.seed }
    local net = lip.net { input = 784, norm = config.norm, budget = config.budget, seed = config.seed,
      lip.dense { out = 32 }, lip.relu {}, lip.dense { out = 10 } }
    local done, message, code = lip.train(net, data, { epochs = 5, batch = 30, seed = config.seed,
      checkpoint = trial.file("checkpoint", "net.safetensors"), checkpoint_every = 4, resume = true })
    if not done then return nil, message, code end
    local seen = net:evaluate(data)
    return { accuracy = seen.accuracy, loss = seen.loss, bound = net:bound().upper, epochs = done.epochs }
  end,
}
