-- One training run for test_resume.lua: lipwb resume_run.lua NORM CHECKPOINT FINAL [DIE_AT]
-- Resumes from CHECKPOINT if it is there, writes it after every second update, and the finished net to FINAL.
-- With DIE_AT the process kills itself (SIGKILL: no clean-up of any kind) right after that update.
local lip = require "lip"

local norm, checkpoint, final, die_at = ...
die_at = tonumber(die_at)

local rng = lip.rng(3)
local n = 200
local x, y = lip.zeros(n, 6), {}
x:normal_(rng, 0, 1)
for i = 1, n do y[i] = x:get(i, 1) * x:get(i, 2) + 0.3 * x:get(i, 3) > 0 and 1 or 0 end

local net = lip.net {
  input = 6, norm = norm, budget = 5, seed = 7,
  lip.dense { out = 24 }, lip.relu {}, lip.dropout { rate = 0.2 }, lip.dense { out = 16 }, lip.relu {},
  lip.dense { out = 2 },
}

local pid
if die_at then
  local stat = assert(io.open "/proc/self/stat")
  pid = stat:read "n"
  stat:close()
end

-- in norm 2 also an option of the loss that moves, as the loss that is reported
local fading = norm == "2" and lip.loss.clipped_hinge { margin = 0.5, mix = 2 } or nil
assert(lip.train(net, lip.data.tensors(x, y), {
  loss = fading, anneal = fading and { mix = function(step, total) return 0.01 ^ (step / total) end },
  validation = fading and lip.data.tensors(x, y),
  epochs = 4, batch = 32, seed = 11, opt = lip.optim.amsgrad { lr = 0.02, weight_decay = 0.001 },
  schedule = lip.schedule.cosine {},
  augment = function(a, b, r) return a:add_(0.01 * r:normal()), b end,
  checkpoint = checkpoint, checkpoint_every = 2, resume = true,
  on_batch = function(info)
    if info.step == die_at then os.execute("kill -KILL " .. pid) end
  end,
}))
assert(net:save(final))
