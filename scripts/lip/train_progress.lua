--- What a checkpoint of lip.train says about where its run stands, proved before anything of it is used: kinds and ranges
-- of every value, and that the counters agree with each other, with the data and with the optimiser. A file that was
-- damaged, or written by hand, costs a message.
local core = require "lip.core"

local progress = {}

local SIGNATURE = "^n=%d+ batch=%d+ seed=%d+ shuffle=%a+ drop_last=%a+ shift=%d+$"

-- JSON has no words for these.
local SPECIAL = { inf = math.huge, ["-inf"] = -math.huge, nan = 0 / 0 }

local function fail(format, ...)
  error({ message = format:format(...) }, 0)
end

local function text_of(v)
  local text = type(v) == "table" and "a table" or tostring(v)
  return #text > 40 and text:sub(1, 37) .. "..." or text
end

-- A whole number from low to high.
local function whole(v, low, high, what)
  local n = math.type(v) and math.tointeger(v)
  if not n or n < low or n > high then
    if high == math.maxinteger then fail("%s is %s, expected a whole number from %d on", what, text_of(v), low) end
    fail("%s is %s, expected %s", what, text_of(v), low == high and low or ("%d to %d"):format(low, high))
  end
  return n
end

local function number(v, what)
  if type(v) == "number" then return v end
  if type(v) == "string" and SPECIAL[v] then return SPECIAL[v] end
  fail("%s is %s, expected a number", what, text_of(v))
end

-- A number written with all its bits, in a text.
local function bits(v, what)
  local n = type(v) == "string" and tonumber(v)
  if not n or n - n ~= 0 then fail("%s is %s, expected a finite number as a text", what, text_of(v)) end
  return n + 0.0
end

-- Of an epoch what the history keeps, nothing else of what stands there.
local function epoch_of(info, i, run)
  if type(info) ~= "table" then fail("epoch %d of its history is %s, expected a table", i, text_of(info)) end
  local what = ("epoch %d of its history: "):format(i)
  local made = {
    epoch = whole(info.epoch, i, i, what .. "epoch"), epochs = whole(info.epochs, i, math.maxinteger, what .. "epochs"),
    step = whole(info.step, i * run.per_epoch, i * run.per_epoch, what .. "step"),
    loss = number(info.loss, what .. "loss"), lr = number(info.lr, what .. "lr"), seconds = 0, rate = 0,
  }
  made.total = whole(info.total, made.epochs * run.per_epoch, made.epochs * run.per_epoch, what .. "total")
  local seen = info.validation
  if seen ~= nil and type(seen) ~= "table" then fail("%svalidation is %s, expected a table", what, text_of(seen)) end
  if seen then
    made.validation = {}
    for _, name in ipairs { "accuracy", "loss" } do
      if seen[name] ~= nil then made.validation[name] = number(seen[name], what .. "validation " .. name) end
    end
  end
  return made
end

-- One entry for each epoch that was ended, in order; the last may have been noted before its end was (an interrupt).
local function history_of(list, ended, epoch, run)
  if type(list) ~= "table" then fail("its history is %s, expected a list", text_of(list)) end
  local n = 0
  for _ in next, list do n = n + 1 end
  if n < ended or n > epoch or #list ~= n then fail("its history has %d entries, %d epochs have ended", n, ended) end
  local made = {}
  for i = 1, n do made[i] = epoch_of(list[i], i, run) end
  return made
end

-- How many samples the losses of an epoch belong to after `step` updates: all of it until the next one begins.
local function rows_at(step, run)
  local within = step % run.per_epoch
  if step == 0 then return 0 end
  if within > 0 then return within * run.o.batch end
  return math.min(run.per_epoch * run.o.batch, run.n)
end

local function prove(saved, updates, run)
  local step = whole(saved.step, 0, updates, "its step (the optimiser has done " .. updates .. " updates)")
  local epoch, within = step // run.per_epoch, step % run.per_epoch
  whole(saved.epoch, epoch, epoch, "its epoch")
  whole(saved.next, within * run.o.batch, within * run.o.batch, "its next sample")
  whole(saved.seed, run.o.seed, run.o.seed, "its seed")
  local t = run.stored
  local ended = whole(t.ended, math.max(0, epoch - 1), epoch, "ended")
  if within > 0 then whole(ended, epoch, epoch, "ended") end
  local stopped = t.stopped
  if stopped ~= nil and type(stopped) ~= "boolean" then fail("stopped is %s, expected true or false", text_of(stopped)) end
  local rows = rows_at(step, run)
  return {
    step = step, ended = ended, stopped = stopped, history = history_of(t.history, ended, epoch, run),
    tally = { step = step, sum = bits(t.epoch_sum, "epoch_sum"), rows = whole(t.epoch_rows, rows, rows, "epoch_rows"),
      lr = bits(t.epoch_lr, "epoch_lr") },
  }
end

--- The run's signature as it stands in a checkpoint's text, or nil when the text is damaged; and the text as a table.
---@param text string|nil
function progress.signature(text)
  local stored = text and core.from_json(text)
  local run = type(stored) == "table" and stored.run
  if type(run) ~= "string" or not run:find(SIGNATURE) then return nil end
  return run, stored
end

--- Where the saved run stands: { step=, ended=, stopped=, history=, tally= }; nil, message when that cannot be.
---@param saved table progress of lip.load
---@param stored table of progress.signature
---@param updates integer that the saved optimiser has done
---@param run table { n=, per_epoch=, o = { batch=, seed= } }
---@return table|nil place, string? message
function progress.read(saved, stored, updates, run)
  local ok, place = pcall(prove, saved, updates, { n = run.n, per_epoch = run.per_epoch, o = run.o, stored = stored })
  if ok then return place end
  if type(place) ~= "table" then error(place, 0) end -- Ctrl-C
  return nil, place.message
end

return progress
