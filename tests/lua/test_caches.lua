-- What only saves time may be damaged: it is set aside or made anew, the user is told, and work begins again. What a
-- checkpoint says about its run is proved before it is used.
local lu = require "luaunit"
local lip = require "lip"
local store = require "lip.sweep.store"
local support = require "support_sweep"

local T = support.fixture {}

-- ---- lip.train{ resume = true } ----

local function net() return lip.net { input = 4, norm = "2", budget = 2, seed = 1, lip.dense { out = 4 }, lip.maxmin(),
  lip.dense { out = 3 } } end

local function points()
  local labels = {}
  for i = 1, 20 do labels[i] = i % 3 end
  return lip.data.tensors(lip.rand(lip.rng(1), 20, 4), labels)
end

function T:train(epochs, more)
  local options = { epochs = epochs, batch = 6, opt = lip.optim.adam { lr = 0.01 }, checkpoint = self.dir .. "/run.x",
    resume = true }
  for name, v in pairs(more or {}) do options[name] = v end
  local result, message, code = lip.train(net(), points(), options) -- no tail call: errors name this line
  return result, message, code
end

local ODD = { 0, 1, -1, 1e308, 2 ^ 53, math.maxinteger, math.mininteger, "x", "inf", "nan", {}, { 1, 2 }, { a = 1 },
  true, false, 0.5, 100000, "0x1p4" }
local WHOLE = { 0, 1, 2, 3, 5, 8, math.maxinteger, 1 << 40 }
local TEXTS = { "", "{}", "[]", "null", "1", "x", "[1]", '{"history":[{}]}', ("["):rep(3000) }

local function changed(v)
  if type(v) ~= "table" then return math.random() < 0.3 and ODD[math.random(#ODD)] or v end
  local t = {}
  for name, x in next, v do
    local r = math.random()
    if r < 0.2 then t[name] = ODD[math.random(#ODD)] elseif r > 0.3 then t[name] = changed(x) end
  end
  return t
end

function T:test_any_progress()
  math.randomseed(5)
  assert(self:train(2))
  local path = self.dir .. "/run.x"
  local saved, opt, progress = lip.load(path)
  local before = assert(lip.file.read(path))
  local taken = 0
  for _ = 1, 500 do
    local t = lip.from_json(progress.text)
    if math.random(9) > 1 then t = changed(t) end
    local q = { text = math.random(6) == 1 and TEXTS[math.random(#TEXTS)] or lip.to_json(t) }
    -- the name of the run is looked at first: mostly it is right
    if math.random(3) > 1 and q.text:sub(1, 1) == "{" then
      t = lip.from_json(q.text)
      t.run = lip.from_json(progress.text).run
      q.text = lip.to_json(t)
    end
    for _, name in ipairs { "step", "epoch", "next", "seed" } do
      q[name] = math.random(8) == 1 and WHOLE[math.random(#WHOLE)] or progress[name]
    end
    assert(saved:save(path, { optimizer = opt, progress = q }))
    local ok, result, message, code = pcall(self.train, self, 2)
    lu.assertTrue(ok, tostring(result) .. " for " .. lip.to_json(q))
    if result then
      taken = taken + 1
      lu.assertEquals(result.steps, 8)
      lu.assertEquals(#result.history, 2)
    else
      lu.assertEquals(code, "format", message)
      lu.assertStrContains(message, "run.x: what it says about its run is damaged")
    end
  end
  lu.assertTrue(taken > 0) -- odd values may be the right ones
  assert(lip.file.write(path, before))
  lu.assertTrue(self:train(2).resumed)
end

-- Each value alone, and what is said of it.
function T:test_contradictions()
  assert(self:train(2))
  local path = self.dir .. "/run.x"
  local saved, opt, progress = lip.load(path)
  local function refused(text, change)
    local q, t = {}, lip.from_json(progress.text)
    for name, v in pairs(progress) do q[name] = v end
    change(q, t)
    q.text = lip.to_json(t)
    assert(saved:save(path, { optimizer = opt, progress = q }))
    local result, message, code = self:train(3)
    lu.assertNil(result, text)
    lu.assertEquals(code, "format")
    lu.assertStrContains(message, text)
  end
  refused("its step (the optimiser has done 8 updates) is 9", function(q) q.step = 9 end)
  refused("its epoch is 1, expected 2", function(q) q.epoch = 1 end)
  refused("its epoch is 2, expected 1", function(q) q.step = 7 end)
  refused("its next sample is 6, expected 0", function(q) q.next = 6 end)
  refused("its seed is 2, expected 1", function(q) q.seed = 2 end)
  refused("ended is 3, expected 1 to 2", function(_, t) t.ended = 3 end)
  refused("ended is nil", function(_, t) t.ended = nil end)
  refused("epoch_rows is 19, expected 20", function(_, t) t.epoch_rows = 19 end)
  refused("epoch_sum is inf", function(_, t) t.epoch_sum = "inf" end)
  refused("epoch_lr is a table", function(_, t) t.epoch_lr = {} end)
  refused("stopped is 0", function(_, t) t.stopped = 0 end)
  refused("its history has 1 entries, 2 epochs have ended", function(_, t) t.history[2] = nil end)
  refused("its history has 3 entries", function(_, t) t.history[3] = t.history[2] end)
  refused("epoch 2 of its history: epoch is 1", function(_, t) t.history[2].epoch = 1 end)
  refused("epoch 1 of its history: step is 8, expected 4", function(_, t) t.history[1].step = 8 end)
  refused("epoch 2 of its history: total is 9", function(_, t) t.history[2].total = 9 end)
  refused("epoch 1 of its history: loss is low", function(_, t) t.history[1].loss = "low" end)
  refused("epoch 1 of its history: validation is 5", function(_, t) t.history[1].validation = 5 end)
  refused("validation accuracy is x", function(_, t) t.history[1].validation = { accuracy = "x" } end)
  refused("about its run is damaged", function(_, t) t.run = "n=20" end)
  -- a run of another kind is misuse, told on the line that asked for it
  assert(saved:save(path, { optimizer = opt, progress = progress }))
  local ok, message = pcall(self.train, self, 2, { batch = 5 })
  lu.assertFalse(ok)
  lu.assertStrMatches(message, ".*test_caches.lua:%d+: train: .*belongs to another run .n=20 batch=6.*")
end

-- ---- a trial's own checkpoint ----

local SWEEP = [[
local lip = require "lip"
return lip.sweep { name = "s", grid = { lr = { 0.1 } }, maximise = "v", run = function(c, t)
  local labels = {}
  for i = 1, 20 do labels[i] = i % 3 end
  local data = lip.data.tensors(lip.rand(lip.rng(1), 20, 4), labels)
  local net = lip.net { input = 4, norm = "2", budget = 2, seed = 1, lip.dense { out = 3 } }
  local r = assert(lip.train(net, data, { epochs = 3, batch = 6, opt = lip.optim.sgd { lr = c.lr } }))
  return { v = r.loss, resumed = r.resumed or false, weight = net:parameters()[1].value:get(1, 1) }
end }
]]

function T:again()
  local s <close> = assert(store.open(self.dir .. "/runs.db", {}))
  assert(s:requeue(s:trials { number = 1 }[1]))
end

function T:test_damaged_checkpoints_of_trials()
  self:write("s.lua", SWEEP)
  local status, said = self:sweep("s.lua", "-j", "1")
  lu.assertEquals(status, 0, said)
  local first = self:records("s")[1]
  local folder = ("%s/runs.db.d/trials/%s"):format(self.dir, first.key)
  local path = folder .. "/train.safetensors"
  local whole, secret = assert(lip.file.read(path)), self.dir .. "/secret"
  assert(lip.file.write(secret, "of somebody"))
  local damages = {
    empty = function() assert(lip.file.write(path, "")) end,
    cut = function() assert(lip.file.write(path, whole:sub(1, #whole // 2))) end,
    short = function() assert(lip.file.write(path, whole:sub(1, -2))) end,
    noise = function() assert(lip.file.write(path, ("\255\3x"):rep(500))) end,
    other_run = function() assert(lip.file.write(path, (whole:gsub("n=20", "n=21")))) end,
    other_net = function()
      os.remove(path)
      assert(lip.train(lip.net { input = 4, norm = "2", budget = 2, lip.dense { out = 5 } }, points(),
        { epochs = 3, batch = 6, opt = lip.optim.sgd(), checkpoint = path }))
    end,
    no_run = function() assert(lip.load(path):save(path)) end,
    link = function() assert(os.execute(("ln -sf %s %s"):format(secret, path))) end,
    pipe = function() assert(os.execute(("rm %s && mkfifo %s"):format(path, path))) end,
    folder = function() assert(os.execute(("rm %s && mkdir %s"):format(path, path))) end,
  }
  for name, damage in pairs(damages) do
    self:again()
    assert(lip.file.remove_tree(path .. ".damaged"))
    assert(lip.file.write(path, whole))
    damage()
    status, said = self:sweep("s.lua", "-j", "1")
    local output = lip.file.read(folder .. "/output.txt") or ""
    lu.assertEquals({ name, status }, { name, 0 }, said .. output)
    local now = self:records("s")[1]
    lu.assertEquals({ name, now.row.v, now.row.weight, now.row.resumed },
      { name, first.row.v, first.row.weight, false })
    local aside = output:match("set aside as (" .. path:gsub("%p", "%%%0") .. "%.[%l%d-]+)")
    lu.assertNotNil(aside, name .. output)
    lu.assertNotNil(lip.file.stat(aside, { follow = false }), name)
    if name ~= "link" and name ~= "pipe" then lu.assertStrContains(output, ".damaged; training begins again") end
    lu.assertTrue(lip.file.read(path) == whole, name)
  end
  lu.assertEquals(lip.file.read(secret), "of somebody")
  -- and what is whole is gone on from
  self:again()
  lu.assertEquals(self:sweep("s.lua", "-j", "1"), 0)
  lu.assertTrue(self:records("s")[1].row.resumed)
end

-- A checkpoint that the user has named is the user's: it is never moved.
function T:test_checkpoints_of_users_stay()
  assert(lip.file.write(self.dir .. "/run.x", "damaged"))
  local result, message, code = self:train(1)
  lu.assertNil(result)
  lu.assertEquals(code, "format", message)
  lu.assertEquals(lip.file.read(self.dir .. "/run.x"), "damaged")
end

-- ---- files that a trial writes under names of its own ----

function T:test_names_for_files_lead_nowhere()
  self:write("s.lua", [[
local lip = require "lip"
return lip.sweep { name = "s", grid = { a = { 1 } }, run = function(_, t)
  assert(lip.file.write(t.file("figure", "x.svg"), "drawn"))
  return { v = 1 }
end }]])
  lu.assertEquals(self:sweep("s.lua"), 0)
  local folder = ("%s/runs.db.d/trials/%s"):format(self.dir, self:records("s")[1].key)
  self:write("secret", "of somebody")
  self:again()
  assert(os.execute(("ln -sf %s/secret %s/x.svg"):format(self.dir, folder)))
  lu.assertEquals(self:sweep("s.lua"), 0)
  lu.assertEquals(lip.file.read(self.dir .. "/secret"), "of somebody")
  lu.assertEquals(lip.file.read(folder .. "/x.svg"), "drawn")
  lu.assertEquals(lip.file.stat(folder .. "/x.svg", { follow = false }).kind, "file")
end

-- ---- texts of a store ----

function T:test_damaged_objects_are_written_again()
  local s <close> = assert(store.open(self.dir .. "/runs.db", { create = true }))
  local sha = assert(s:put_object "a text")
  local path = ("%s/runs.db.d/objects/%s.gz"):format(self.dir, sha)
  local whole = assert(lip.file.read(path))
  for _, bad in ipairs { "", whole:sub(1, 10), "noise", lip.deflate "another text" } do
    assert(lip.file.write(path, bad))
    lu.assertNil((s:object(sha)))
    lu.assertEquals(s:put_object "a text", sha)
    lu.assertEquals(s:object(sha), "a text")
  end
end

-- ---- data sets ----

-- The four files of a small MNIST, in a cache.
local function fill_cache(folder)
  assert(lip.file.mkdir(folder))
  for _, part in ipairs { "train", "t10k" } do
    local pixels = string.pack(">I4I4I4I4", 0x803, 3, 28, 28) .. ("\7"):rep(3 * 784)
    assert(lip.file.write(("%s/%s-images-idx3-ubyte.gz"):format(folder, part), lip.deflate(pixels)))
    assert(lip.file.write(("%s/%s-labels-idx1-ubyte.gz"):format(folder, part),
      lip.deflate(string.pack(">I4I4", 0x801, 3) .. "\0\1\2")))
  end
end

function T:test_damaged_downloads()
  local cache = self.dir .. "/lipwb/mnist"
  fill_cache(cache)
  local bad = cache .. "/t10k-images-idx3-ubyte.gz"
  local whole = assert(lip.file.read(bad))
  assert(lip.file.write(bad, whole:sub(1, #whole // 2)))
  local function load()
    return assert(lip.process.run { support.program, "-e", "print(lip.data.mnist())", timeout = 60,
      env = { XDG_CACHE_HOME = self.dir, LIPWB_OFFLINE = "1", LIPWB_DATA = false } })
  end
  local r = load()
  lu.assertStrContains(r.errors, ("set aside as %s.damaged"):format(bad))
  lu.assertStrContains(r.output, "MNIST not found: looked in " .. cache)
  lu.assertFalse(lip.file.exists(bad))
  assert(lip.file.write(bad, whole))
  r = load()
  lu.assertStrContains(r.output, "data: MNIST from " .. cache)
end

return { TestCaches = T }
