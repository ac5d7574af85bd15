--- lip.train(net, dataset, options): the training loop, around net:step.
--
-- Where a run stands is one number, the updates done: epoch, batch and rate follow from it. So a run may be stopped
-- anywhere (an error in a callback, Ctrl-C between any two instructions) and its checkpoint is still exact.
-- However it ends, the net is projected exactly: inside of a step the projection in norm 2 is approximate. Checkpoints hold
-- the weights before that, so that a run goes on with the same bits whether it was interrupted or not (to project at
-- every saving would tie the result to where the savings fell, and cost a decomposition each time). They say so
-- (progress.training), and lip.load projects them for everybody but run:resume.
-- The options stand in lip.options: help "train" prints them.
local lip = require "lip.core"
local callback = require "lip.callback"
local nearest = require "lip.nearest"
local shown = require "lip.shown"
local known = require "lip.train_progress"

local defaults = {
  epochs = 10, batch = 128, seed = 1, shuffle = true, drop_last = false, checkpoint_every = 0, shift = 0,
  resume = false,
  verbose = false,
}
local kinds = {
  epochs = "count", batch = "count", seed = "whole", checkpoint_every = "whole", shift = "whole",
  shuffle = "boolean", drop_last = "boolean", resume = "boolean", verbose = "boolean",
  augment = "function", on_batch = "function", on_epoch = "function", checkpoint = "string",
  anneal = "table",
  loss = "lip.loss", opt = "lip.optim", schedule = "lip.schedule", validation = "lip.dataset",
}
local callable = { loss = true, schedule = true }

local function type_name(v)
  local meta = type(v) == "userdata" and debug.getmetatable(v)
  return meta and meta.__name or math.type(v) or type(v)
end

local function fits(kind, name, v)
  if kind == "count" or kind == "whole" then
    local n = math.tointeger(v)
    return type(v) == "number" and n ~= nil and n >= (kind == "count" and 1 or 0)
  end
  if callable[name] and type(v) == "function" then return true end
  if name == "checkpoint" then return type(v) == "string" and v ~= "" and not v:find("\0", 1, true) end
  return type_name(v) == kind
end

local expected = {
  count = "a whole number >= 1", whole = "a whole number >= 0", boolean = "true or false",
  ["function"] = "a function", table = "a table such as {mix = lip.schedule.cosine()}", string = "a file name", ["lip.dataset"] = "a data set",
  ["lip.optim"] = "an optimiser such as lip.optim.adam()",
  ["lip.loss"] = "a loss such as lip.loss.cross_entropy(), or a function",
  ["lip.schedule"] = "a schedule such as lip.schedule.cosine(), or a function",
}

-- lip.loss.mse in place of lip.loss.mse(): the name under which a constructor is reached, or nil.
local function constructor(v)
  for _, module in ipairs { "loss", "optim", "schedule" } do
    for name, make in pairs(lip[module]) do
      if make == v then return ("lip.%s.%s"):format(module, name) end
    end
  end
end

--- The options with defaults; an unknown name or a wrong type raises on the caller's line.
local function check_options(given)
  local o = {}
  for name, v in pairs(given) do
    local kind = kinds[name]
    if not kind then
      local known = {}
      for k in pairs(kinds) do known[#known + 1] = k end
      table.sort(known)
      error(("train: unknown option '%s'%s (known: %s)"):format(tostring(name), nearest.hint(name, known),
        table.concat(known, ", ")), 3)
    end
    local uncalled = type(v) == "function" and constructor(v)
    if uncalled or not fits(kind, name, v) then
      local got = uncalled and ("%s itself: call it, as in %s()"):format(uncalled, uncalled)
        or type(v) == "number" and shown(v) or type(v) == "string" and ("%q"):format(v) or type_name(v)
      error(("train: option '%s' expects %s, got %s"):format(name, expected[kind], got), 3)
    end
    o[name] = (kind == "count" or kind == "whole") and math.tointeger(v) or v
  end
  for name, v in pairs(defaults) do
    if o[name] == nil then o[name] = v end
  end
  if (o.resume or o.checkpoint_every > 0) and not o.checkpoint then
    error("train: resume and checkpoint_every need the option 'checkpoint', a file name", 3)
  end
  o.loss = o.loss or lip.loss.cross_entropy()
  o.opt = o.opt or lip.optim.adam()
  return o
end

-- What moves in the loss: { {name=, base=, schedule=}, ... }, in the order of the names.
local function check_anneal(o)
  local list = {}
  for name, schedule in pairs(o.anneal or {}) do
    local function refuse(format, ...) error(("train: option 'anneal' " .. format):format(...), 5) end
    if type(o.loss) == "function" then refuse "moves options of a loss such as lip.loss.hkr(), not of a function" end
    local ok, base = pcall(o.loss.option, o.loss, name)
    if not ok then refuse("names '%s': %s", shown(name), tostring(base):match "bad argument.-%((.*)%)$" or base) end
    if constructor(schedule) or not fits("lip.schedule", "schedule", schedule) then
      refuse("expects %s for '%s', got %s", expected["lip.schedule"], name, type_name(schedule))
    end
    list[#list + 1] = { name = name, base = base, schedule = schedule }
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

-- A shape without its sides of 1, which change no order.
local function sides(shape)
  local list = {}
  for _, d in ipairs(shape) do
    if d ~= 1 then list[#list + 1] = d end
  end
  return table.concat(list, "x")
end

-- What to do about data that has something else than the loss needs.
local function advice(dataset, has, outputs)
  if has == "labels" then
    return outputs == 1 and ": for a net of one output take lip.loss.hkr() or lip.loss.bce()"
      or ": take lip.loss.cross_entropy()"
  end
  local values = dataset:targets()
  local column = dataset:info().targets == 1 and values:all_finite()
  for _, v in ipairs(column and values:flatten():totable() or {}) do
    if v ~= math.floor(v) then return ": take lip.loss.mse()" end
  end
  return ": take lip.loss.mse()" .. (column and ", or if these are labels, flatten them: y:flatten()" or "")
end

--- Raises on the caller's line when net, data and loss cannot work together, before anything is trained.
local function check_data(net, dataset, loss, what)
  local info, shape = dataset:info(), net:info()
  local takes, outputs = 1, 1
  for _, d in ipairs(shape.input) do takes = takes * d end
  for _, d in ipairs(shape.output) do outputs = outputs * d end
  local function refuse(format, ...) error(("train: the %s " .. format):format(what, ...), 4) end
  local samples, inputs = table.concat(info.shape, "x"), table.concat(shape.input, "x")
  if info.features ~= takes then
    refuse("has samples of %s, the net takes %s", samples, inputs)
  elseif #info.shape > 1 and #shape.input > 1 and sides(info.shape) ~= sides(shape.input) then
    refuse("has samples of %s, the net takes %s: the same numbers in another order", samples, inputs)
  end
  if type(loss) == "function" then return end
  local wants = loss:target()
  if not wants then return end
  local has = info.targets and "values" or info.classes and "labels"
  if wants ~= has then
    refuse("has %s, the loss %s needs %s%s", has or "neither labels nor values", loss:name(), wants,
      has and advice(dataset, has, outputs) or "")
  end
  local function labels() return dataset:labels():min(), info.classes - 1 end
  if has == "labels" and outputs == 1 and info.classes > 2 then
    refuse("has labels from %d to %d, a net of one output answers with two: labels 0 and 1, or -1 and 1", labels())
  elseif has == "labels" and info.classes > math.max(outputs, 2) then
    local least, most = labels()
    refuse("has labels from %d to %d, the net %d outputs (labels count from 0)", least, most, outputs)
  elseif has == "values" and info.targets ~= outputs then
    refuse("has %d values for each sample, the net %d outputs", info.targets, outputs)
  end
end

---@class lip.train.run
local run = {}
run.__index = run

local function new_run(net, dataset, o)
  local n = dataset:size()
  local per_epoch = o.drop_last and n // o.batch or (n + o.batch - 1) // o.batch
  if per_epoch == 0 then
    error(("train: %d samples make no batch of %d%s"):format(n, o.batch,
      o.drop_last and " (drop_last leaves them all out)" or ""), 3)
  end
  return setmetatable({
    net = net, dataset = dataset, o = o, opt = o.opt, n = n, per_epoch = per_epoch, total = per_epoch * o.epochs,
    loader = callback.own("train", 3, dataset.batches, dataset, {
      size = o.batch, shuffle = o.shuffle, seed = o.seed, drop_last = o.drop_last, shift = o.shift,
    }),
    events = require "lip.train_events".new(),
    rate = o.opt:lr(), moving = check_anneal(o), step = 0, ended = 0, history = {}, records = {}, lines = {}, started = lip.time(),
    tally = { step = 0, sum = 0, rows = 0, lr = o.opt:lr() }, tallies = { {}, {} },
  }, run)
end

-- ---- checkpoints ----

-- What of an epoch's info the checkpoint keeps: no times, so that an interrupted run ends with the same file.
local kept = { "epoch", "epochs", "step", "total", "loss", "lr" }

-- A copy of that, which no callback knows.
local function kept_of(info)
  local seen = info.validation
  local copy = { validation = seen and { accuracy = seen.accuracy, loss = seen.loss } }
  for _, name in ipairs(kept) do copy[name] = info[name] end
  return copy
end

-- The history as JSON, numbers surviving bit for bit. `lines` keeps the texts from one saving to the next.
local function history_text(records, lines)
  for i = #lines + 1, #records do lines[i] = lip.to_json(records[i]) end
  return table.concat(lines, ", ")
end

--- What must agree for a run to continue as if it had never stopped.
function run:signature()
  local o = self.o
  return ("n=%d batch=%d seed=%d shuffle=%s drop_last=%s shift=%d"):format(self.n, o.batch, o.seed, o.shuffle,
    o.drop_last, o.shift)
end

--- true | nil, message, code
function run:save()
  local _ <close> = lip.plain_numbers()
  local o = self.o
  if not o.checkpoint then return true end
  self.opt:lr(self.rate) -- the file holds the base rate: the next update computes its own
  local within = self.step % self.per_epoch
  return self.net:save(o.checkpoint, {
    optimizer = self.opt,
    progress = {
      step = self.step, epoch = self.step // self.per_epoch, next = within * o.batch, seed = o.seed, training = true,
      text = ('{"run": "%s", "epoch_sum": "%a", "epoch_rows": %d, "epoch_lr": "%a", "ended": %d, "stopped": %s, '
        .. '"history": [%s]}'):format(self:signature(), self.tally.sum, self.tally.rows, self.tally.lr, self.ended,
        self.stopped or false, history_text(self.records, self.lines)),
    },
  })
end

--- The regular saving after an update. A trial's own checkpoint costs time that nobody asked for: it is written every
--- few seconds and at the end.
function run:save_now_and_then(last)
  local now, pause = lip.time(), self.o.own_checkpoint
  if pause and not last and now < (self.saved or self.started) + pause then return true end
  self.saved = now
  return self:save()
end

--- What the checkpoint holds, proved: net, optimiser, place; nil, message, code. No file: code "not_found". What belongs
--- to another run raises on the caller's line.
function run:read_checkpoint()
  local _ <close> = lip.plain_numbers()
  local path = self.o.checkpoint
  local function damaged(format, ...) return nil, ("%s: " .. format):format(path, ...), "format" end
  local net, opt, saved = lip.load(path, { resume = true })
  if not net then return nil, opt, saved end
  if not (opt and saved) then return damaged "holds no run to resume (saved without optimizer and progress)" end
  local signature, stored = known.signature(saved.text)
  if not signature then return damaged "what it says about its run is damaged" end
  if signature ~= self:signature() then
    error(("train: %s belongs to another run (%s), this one has %s"):format(path, signature, self:signature()), 0)
  end
  local place, message = known.read(saved, stored, opt:state().updates, self)
  if not place then return damaged("what it says about its run is damaged: %s", message) end
  return net, opt, place
end

--- Takes over what the checkpoint holds; true | nil, message, code. No file: starts from the beginning.
function run:take_over()
  local net, opt, place = self:read_checkpoint()
  if not net then
    if place == "not_found" then return true end
    return nil, opt, place
  end
  local ok, message, code = lip.restore(self.net, self.opt, net, opt)
  if not ok then return nil, message, code end
  self.step, self.ended, self.stopped = place.step, place.ended, place.stopped
  self.history, self.tally, self.resumed = place.history, place.tally, true
  for i, info in ipairs(self.history) do self.records[i] = kept_of(info) end
  return true
end

--- A trial's own checkpoint only saves time: what cannot be used is set aside, and training begins again.
function run:set_aside(why)
  local path = self.o.checkpoint
  local aside = path .. ".damaged"
  local ok, message, code = lip.file.rename(path, aside)
  if not ok then return nil, message, code end
  local text = ("lipwb: %s\nlipwb: set aside as %s; training begins again\n"):format(why, aside)
  io.stderr:write(lip.plain(text, true))
  return true
end

--- As take_over; an error of the checkpoint's own is one of the caller.
function run:resume()
  local own = self.o.own_checkpoint
  local there = own and lip.file.stat(self.o.checkpoint, { follow = false })
  if there and there.kind ~= "file" then return self:set_aside(self.o.checkpoint .. ": not a regular file") end
  local ok, done, message, code = pcall(self.take_over, self)
  if not ok and lip.interrupted() then error(done, 0) end
  if own and (not ok or done == nil and code == "format") then return self:set_aside(ok and message or tostring(done)) end
  if not ok then error(done, 3) end
  return done, message, code
end

-- ---- the loop ----

function run:logits(x)
  local augment = self.o.augment
  if not augment then return self.net:forward(x, true) end
  return callback.blame("train: augment", augment, function() return (self.net:forward(x, true)) end)
end

--- One update with a loss written in Lua, in pieces; value | nil, message, code.
function run:step_by_pieces(x, y)
  local value, dz = callback.call("train: the loss", self.o.loss, self:logits(x), y, x)
  self.value = value
  if type(value) ~= "number" or type_name(dz) ~= "lip.tensor" then
    error(("train: the loss (%s) must return a number and a tensor, got %s and %s"):format(
      callback.where(self.o.loss), type_name(value), type_name(dz)), 0)
  end
  if value ~= value or value == math.huge or value == -math.huge then
    return nil, ("the loss is %s at update %d; the weights are as before it"):format(
      value ~= value and "nan" or ("%g"):format(value), self.step + 1), "not_finite"
  end
  callback.blame("train: the loss", self.o.loss, function() self.net:backward(dz) end)
  local ok, message, code = self.opt:step(self.net, true)
  if not ok then return nil, message, code end
  return value
end

--- One update with a loss of the engine; value | nil, message, code.
function run:step_at_once(x, y)
  local o = self.o
  if not o.augment then return self.net:step(x, y, self.opt, o.loss) end
  return callback.blame("train: augment", o.augment, function()
    local value, message, code = self.net:step(x, y, self.opt, o.loss)
    return value, message, code
  end)
end

--- Adds the loss of update `step` to those of its epoch. Done with one assignment, as an interrupt may come between any
--- two instructions: two tables take turns. The sum is kept until the next epoch begins.
function run:count(step, value)
  local o, old = self.o, self.tally
  local new = old == self.tallies[1] and self.tallies[2] or self.tallies[1]
  local within = (step - 1) % self.per_epoch
  local rows = within + 1 < self.per_epoch and o.batch or math.min(o.batch, self.n - within * o.batch)
  new.step, new.sum, new.rows = step, value * rows, rows
  if within > 0 then new.sum, new.rows = old.sum + new.sum, old.rows + rows end
  new.lr = within + 1 == self.per_epoch and self.opt:lr() or old.lr
  self.tally = new
end

local function factor_of(self, what, schedule, step)
  local factor = callback.call("train: " .. what, schedule, step, self.total, self.per_epoch)
  if type(factor) ~= "number" then
    error(("train: %s (%s) must return a number, got %s"):format(what, callback.where(schedule), type_name(factor)), 0)
  end
  return factor
end

--- What is not finite may come from a projection of the script's: until net:project() nothing brings back what it gives.
function run:suspects(message)
  local by = self.net:info().projected_by
  if not by then return message end
  return ("%s; the weights have a projection of the script's (%s), which may let them grow"):format(message, by)
end

--- The options of the loss that move, as update `step` (from 0) has them. They follow from that number alone, so that a run
--- which goes on has the same ones.
function run:anneal(step)
  for _, m in ipairs(self.moving) do
    local what = "anneal." .. m.name
    local v = m.base * factor_of(self, what, m.schedule, step)
    callback.blame("train: " .. what, m.schedule, function() self.o.loss:option(m.name, v) end)
  end
end

--- One batch; value | nil, message, code.
function run:batch()
  local o, x, y = self.o, self.loader:next()
  if not x then x, y = self.loader:next() end -- nil marks the end of an epoch
  if o.augment then
    local x2, y2 = callback.call("train: augment", o.augment, x, y, lip.rng(o.seed, self.step))
    x, y = x2 or x, y2 or y
  end
  if o.schedule then
    local factor = factor_of(self, "the schedule", o.schedule, self.step)
    callback.blame("train: the schedule", o.schedule, function() self.opt:lr(self.rate * factor) end)
  end
  self:anneal(self.step)
  local value, message, code
  if type(o.loss) == "function" then
    value, message, code = self:step_by_pieces(x, y)
  else
    value, message, code = self:step_at_once(x, y)
  end
  if not value then return nil, code == "not_finite" and self:suspects(message) or message, code end
  self:count(self.step + 1, value)
  self.step = self.step + 1
  return value
end

--- net:evaluate with the loss. Of a loss that is a function nothing is known: then the accuracy, where there is one.
function run:evaluate(data)
  if type(self.o.loss) ~= "function" then return self.net:evaluate(data, { loss = self.o.loss }) end
  if not data:info().classes then return {} end
  return self.net:evaluate(data)
end

--- After the last batch of an epoch: info for the history and the callback; nil, message, code on failure. Changes
--- nothing: an epoch whose end was interrupted is ended again.
function run:end_epoch(began)
  local o, seconds = self.o, lip.time() - began
  local info = {
    epoch = self.step // self.per_epoch, epochs = o.epochs, step = self.step, total = self.total,
    loss = self.tally.sum / self.tally.rows, lr = self.tally.lr, seconds = seconds, rate = self.tally.rows / seconds,
  }
  if o.validation then
    self:anneal(self.step - 1) -- also when the run goes on from here
    local seen, message, code = self:evaluate(o.validation)
    if not seen then return nil, message, code end
    info.validation = { accuracy = seen.accuracy, loss = seen.loss }
  end
  if self.events then self.events:epoch(info, self.net) end
  if o.verbose then
    local v = info.validation
    local _ <close> = lip.plain_numbers()
    io.write(("epoch %d/%d  loss %.5f%s%s  lr %.3g  %.2f s  %.0f/s\n"):format(info.epoch, o.epochs, info.loss,
      v and v.accuracy and ("  accuracy %.2f %%"):format(100 * v.accuracy) or "",
      v and v.loss and ("  validation loss %.5f"):format(v.loss) or "", info.lr, seconds, info.rate))
  end
  return info
end

--- The figure that a trial's scheduler looks at now, when it is one that training can find out: on the validation set,
--- or else on the first samples of the data.
function run:measure(name)
  local data, net = self.o.validation, self.net
  if not data then data = self.dataset:subset(1, math.min(self.n, 1000)) end
  local eps = tonumber(name:match "^certified@(.*)$")
  if eps then
    local seen = net:certify(data, { eps = { eps } })
    return seen and seen.certified[eps]
  elseif name == "clean" or name == "accuracy" then
    local seen = self:evaluate(data)
    return seen and seen.accuracy
  end
end

--- Tells the trial the figures of an epoch; false when its scheduler ends it.
function run:report(info)
  local trial, values = self.o.trial, { loss = info.loss, lr = info.lr }
  if info.validation then values.accuracy, values.validation_loss = info.validation.accuracy, info.validation.loss end
  local wanted = trial.wanted(info.epoch)
  if wanted and values[wanted] == nil then values[wanted] = self:measure(wanted) end
  return trial.report(info.epoch, values, self.o.epochs)
end

--- After an update: callbacks and checkpoint; true, false when a callback stops the run; nil, message, code.
function run:after(value, began)
  local o, go_on = self.o, true
  local ends = self.step % self.per_epoch == 0
  if o.on_batch and value then
    go_on = callback.call("train: on_batch", o.on_batch, {
      epoch = (self.step - 1) // self.per_epoch + 1, step = self.step, total = self.total, loss = value,
      lr = self.opt:lr(),
    }) ~= false
    self.stopped = not go_on
  end
  if ends then
    local info, message, code = self:end_epoch(began)
    if not info then return nil, message, code end
    local record = kept_of(info) -- of the info itself the script may make what it likes
    if o.on_epoch and callback.call("train: on_epoch", o.on_epoch, info) == false then go_on = false end
    self.stopped = not go_on
    if o.trial and not self:report(record) then go_on, self.pruned = false, true end
    self.history[record.epoch], self.records[record.epoch] = info, record
    self.ended = record.epoch
  end
  if ends or not go_on or (o.checkpoint_every > 0 and self.step % o.checkpoint_every == 0) then
    local ok, message, code = self:save_now_and_then(not go_on or self.step == self.total)
    if not ok then return nil, message, code end
  end
  return go_on
end

--- true at the end, false when a callback stopped it; nil, message, code.
function run:loop()
  local began = lip.time()
  if self.stopped and self.o.own_checkpoint then return false end
  if self.ended < self.step // self.per_epoch then -- stopped between the last update and the epoch's end
    local go_on, message, code = self:after(nil, began)
    if not go_on then return go_on, message, code end
  end
  self.loader:seek(self.step // self.per_epoch, self.step % self.per_epoch * self.o.batch)
  while self.step < self.total do
    if self.step % self.per_epoch == 0 then began = lip.time() end
    local value, message, code = self:batch()
    if not value then return nil, message, code end
    local go_on
    go_on, message, code = self:after(value, began)
    if not go_on then return go_on, message, code end
  end
  return true
end

--- The exact projection; true[, what is above its budget all the same] | nil, message, code. With `script` projections of the
--- script's come first, and what one raises is passed on behind that of the engine. Without it once more changes nothing.
function run:settle(script)
  self.settling = true -- from here on the weights are not those to go on from
  local bounded = self.net:info().budget < math.huge
  if not bounded and not script then return true end
  local ok, done, message, code = pcall(self.net.project, self.net, { script = script })
  if bounded and not (ok and done) then self.net:project{ script = false } end
  if not ok then error(done, 0) end
  return done, message, code
end

--- The loop, and what follows however it ended. A failure of the projection counts only where nothing failed before.
function run:whole()
  local done, message, code = self:loop()
  if code == "cancelled" then return done, message, code end -- first the checkpoint
  local ok, why, failure = self:settle(done ~= nil)
  if ok and why and self.o.verbose then io.write("train: ", why, "\n") end
  if ok or done == nil then return done, message, code end
  return nil, "train: " .. why, failure
end

--- The loop under protection: Ctrl-C arrives as an error between any two instructions, so the number of updates done
--- is asked of the optimiser, which counts them inside of the step.
function run:protected()
  local before = self.opt:state().updates - self.step
  local ok, done, message, code = pcall(self.whole, self)
  if not ok and lip.interrupted() and tostring(done):find("interrupted", 1, true) then
    local state = self.opt:state()
    self.step = state.updates - before
    if self.tally.step < self.step then -- the update was done, its loss not yet counted
      self:count(self.step, type(self.o.loss) == "function" and self.value or state.loss)
    end
    ok, done, message, code = true, nil, "cancelled", "cancelled"
  end
  if ok and code == "cancelled" then
    local saved, why, failure = true, nil, nil
    if not self.settling then saved, why, failure = self:save() end
    local epoch = math.min(self.step // self.per_epoch + 1, self.o.epochs)
    message = ("train: cancelled in epoch %d of %d, after %d of %d updates"):format(epoch, self.o.epochs, self.step,
      self.total)
    if not saved then message, code = message .. ", and the checkpoint could not be written: " .. why, failure end
    if self.o.verbose then io.write(message, "\n") end
  end
  self.opt:lr(self.rate)
  for _, m in ipairs(self.moving) do self.o.loss:option(m.name, m.base) end
  if not ok or code == "cancelled" then self:settle(false) end
  if not ok then error(done, 0) end
  return done, message, code
end

--- Trains net on dataset. Prints nothing unless verbose.
---@param net lip.net
---@param dataset lip.dataset
---@param options? table see help "train"
---@return table|nil result { epochs=, steps=, seconds=, loss=, history=, stopped=, resumed= }
---@return string|nil message
---@return string|nil code  "cancelled" (the checkpoint is written), "not_finite", "pruned" (in a trial), "io", ...
local function train(net, dataset, options)
  local o = check_options(options or {})
  if not o.augment then check_data(net, dataset, o.loss, "data set") end
  if o.validation then check_data(net, o.validation, o.loss, "data set 'validation'") end
  local trial = package.loaded["lip.trial"] -- only a worker has loaded it before any script
  if trial and trial.active then
    o.trial = trial
    if not o.checkpoint then
      o.checkpoint, o.own_checkpoint = trial.checkpoint()
      o.resume = true
    end
  end
  local self = new_run(net, dataset, o)
  if self.o.resume then
    local ok, message, code = self:resume()
    if not ok then return nil, message, code end
  end
  local done, message, code = self:protected()
  if done == nil then
    if trial and code == "not_finite" then trial.failed("train: " .. message) end
    return nil, message, code
  end
  if self.pruned then
    local epoch = self.step // self.per_epoch
    return nil, ("train: ended by the scheduler after epoch %d of %d"):format(epoch, o.epochs), "pruned"
  end
  local last = self.history[#self.history]
  return {
    epochs = self.step // self.per_epoch, steps = self.step, seconds = lip.time() - self.started,
    loss = last and last.loss, history = self.history, stopped = not done or nil, resumed = self.resumed,
  }
end

return require "lip.arguments".checked("lip.train", "net net, data dataset, options options?", train)
