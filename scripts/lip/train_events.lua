--- Event files of a run started with --tensorboard DIR: what lip.train writes after each epoch, and at the end of the
-- script its settings and its result. A folder that cannot be written costs the events, never the training.
local core = require "lip.core"

local events = {}
events.__index = events

local writers, runs, warned = {}, 0, false

-- One writer for each training of this process: DIR, then DIR/train2, DIR/train3, ...
local function writer_at(n)
  local dir = core.settings.tensorboard
  writers[n] = writers[n] or require "lip.tensorboard" { dir = n == 1 and dir or ("%s/train%d"):format(dir, n) }
  return writers[n]
end

local function warn(ok, message)
  if ok or warned then return end
  warned = true
  io.stderr:write("lipwb: --tensorboard: ", core.plain(message), "; the run goes on without\n")
end

--- For a training that begins; nil without --tensorboard.
function events.new()
  if not core.settings.tensorboard then return nil end
  runs = runs + 1
  return setmetatable({ writer = writer_at(runs) }, events)
end

--- An epoch's info, as on_epoch gets it, and the distributions of the weights.
function events:epoch(info, net)
  if warned then return end
  local w, step = self.writer, info.epoch
  warn(w:scalar("loss", info.loss, step))
  warn(w:scalar("lr", info.lr, step))
  for name, value in pairs(info.validation or {}) do
    if type(value) == "number" then warn(w:scalar("validation/" .. name, value, step)) end
  end
  for _, p in ipairs(net:parameters()) do
    warn(w:histogram(("layer%d.%s/%s"):format(p.layer, p.kind, p.name), p.value, step))
  end
end

--- The end of a script or trial: its settings, and the numbers of its row.
function events.finish(config, row, failed)
  if not core.settings.tensorboard or warned then return end
  warn(writer_at(1):hparams(config or {}, type(row) == "table" and row or {}, { failed = failed }))
end

return events
