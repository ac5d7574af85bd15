-- Numbers at the border between Lua and the engine. 2.0 is welcome wherever 2 is: sizes come out of divisions. NaN and
-- what is no whole number are refused by messages that name the option and show "nan", never "-nan".
local lu = require "luaunit"
local lip = require "lip"

local T = {}

local folder
function T.setUp() folder = assert(lip.file.temporary()) end
function T.tearDown() assert(lip.file.remove_tree(folder)) end

-- ---- values ----

-- The same with floats for integers, at every depth.
local function floated(value)
  if math.type(value) == "integer" then return value + 0.0 end
  if type(value) ~= "table" or getmetatable(value) then return value end
  local copy = {}
  for key, v in pairs(value) do copy[key] = floated(v) end
  return copy
end

-- Times and sizes of processes differ from call to call.
local passing = { seconds = true, rate = true, memory = true }

-- What a result says, without times and addresses.
local function plain(value)
  local meta = debug.getmetatable(value)
  local name = type(value) == "userdata" and meta and meta.__name
  if name == "lip.tensor" then return { shape = value:shape(), values = value:totable() } end
  if name == "lip.net" then
    local shape = value:info().input
    return { plain(value:info()), plain(value:predict(lip.rand(1, { 3, table.unpack(shape) }))) }
  end
  if name == "lip.dataset" then return plain(value:info()) end
  if name == "lip.rng" then return value:state() end
  if name then return tostring(value):gsub("0x%x+", "") end
  if type(value) ~= "table" then return value == value and value or "nan" end
  local copy = {}
  for key, v in pairs(value) do
    if not passing[key] then copy[key] = plain(v) end
  end
  return copy
end

local function results(f, arguments)
  local list = table.pack(f(table.unpack(arguments, 1, arguments.n)))
  for i = 1, list.n do list[i] = plain(list[i]) or false end
  return list
end

-- f(...) with integers and with floats: the same.
local function same(label, f, arguments_of)
  local whole, float = table.pack(arguments_of()), table.pack(arguments_of())
  for i = 1, float.n do float[i] = floated(float[i]) end
  local ok, wanted = pcall(results, f, whole)
  lu.assertTrue(ok, label .. ": " .. tostring(wanted))
  local also, got = pcall(results, f, float)
  lu.assertTrue(also, label .. " with floats: " .. tostring(got))
  lu.assertEquals(got, wanted, label)
end

-- ---- objects ----

local function net()
  return lip.net { input = 4, norm = "inf", budget = 4, seed = 1, lip.dense { out = 5 }, lip.relu {},
    lip.dense { out = 3 } }
end
local function x() return lip.rand(1, { 6, 4 }) end
local function labels() return { 0, 1, 2, 0, 1, 2 } end
local function data() return lip.data.tensors(x(), labels()) end

-- ---- options that the engine lists ----

-- { { label, constructor, row of options }, ... }
local function constructors()
  local list = {}
  for _, row in ipairs(lip.layers()) do list[#list + 1] = { "lip." .. row.name, lip[row.name], row.options } end
  for family, plural in pairs { loss = "losses", optim = "optims", schedule = "schedules" } do
    for _, row in ipairs(lip[plural]()) do
      list[#list + 1] = { ("lip.%s.%s"):format(family, row.name), lip[family][row.name], row.options }
    end
  end
  return list
end

-- A whole number that the option takes, or nil.
local function whole_for(make, options, option)
  for _, v in ipairs { math.tointeger(option.default) or 2, 2, 1, 3, 0 } do
    local given = { [option.name] = v }
    for _, other in ipairs(options) do
      if other.required and other ~= option then given[other.name] = 2 end
    end
    if pcall(make, given) then return given end
  end
end

local function options_of(object)
  return object:options()
end

function T.test_options_of_constructors()
  local tried = 0
  for _, c in ipairs(constructors()) do
    local label, make, options = table.unpack(c)
    for _, option in ipairs(options) do
      if option.type == "integer" or option.type == "number" or option.type == "number[]" then
        local given = whole_for(make, options, option)
        if given then
          same(label .. "." .. option.name, function(t) return options_of(make(t)) end, function() return given end)
          tried = tried + 1
        end
      end
      if option.type == "string" then -- a choice that is a number as well, such as a norm
        for _, word in ipairs(option.choices) do
          local v = math.tointeger(tonumber(word))
          if v then
            same(label .. "." .. option.name, function(t) return options_of(make(t)) end,
              function() return { [option.name] = v } end)
            tried = tried + 1
          end
        end
      end
    end
  end
  lu.assertTrue(tried > 40, tried)
end

function T.test_options_of_nets()
  local tried = 0
  local function make(option, value)
    local given = { input = 4, norm = 2, seed = 1, lip.dense { out = 5 }, lip.dense { out = 3 } }
    given[option] = value
    return given
  end
  local values = { input = 6, budget = 3, budgets = { 1, 2 }, project_every = 2, seed = 7, norm = 1 }
  for _, option in ipairs(lip.net_options()) do
    if option.type ~= "string" then
      lu.assertNotNil(values[option.name], "a value is missing for the option " .. option.name)
      same("net." .. option.name, lip.net, function() return make(option.name, values[option.name]) end)
      tried = tried + 1
    end
  end
  lu.assertTrue(tried >= 6)
  same("net.input", lip.net, function() return { input = { 1, 6, 6 }, norm = 2, lip.flatten(),
    lip.dense { out = 2 } } end)
  same("net.norm", lip.net, function() return { input = 4, norm = { 1, 2, 2 }, lip.dense { out = 3 },
    lip.dense { out = 2 } } end)
  same("net.budgets", lip.net, function() return { input = 4, norm = 2, budgets = { dense = 2 },
    lip.dense { out = 3 } } end)
end

-- ---- norms ----

function T.test_norms()
  local w = lip.rand(1, { 3, 4 })
  for _, norm in ipairs { 1, 2, math.huge } do
    local text = norm == math.huge and "inf" or tostring(norm)
    for _, name in ipairs { "opnorm_upper", "opnorm_lower", "opnorm_estimate" } do
      local value = lip[name](w, text)
      lu.assertEquals(lip[name](w, norm), value, name)
      lu.assertEquals(lip[name](w, norm * 1.0), value, name)
      lu.assertEquals(lip[name](w, 2 * norm / 2), value, name)
    end
    local a, b = w:clone(), w:clone()
    lip.project_(a, text, 1)
    lip.project_(b, norm * 1.0, 1)
    lu.assertTrue(a:equal(b))
    lu.assertEquals(w:norm(norm * 1.0), w:norm(norm))
    for _, path in ipairs { norm, { norm, norm, norm }, { norm, math.huge, math.huge } } do
      same("net.norm", lip.net, function() return { input = 4, norm = path, lip.dense { out = 3 },
        lip.dense { out = 2 } } end)
    end
    same("bound.p", net().bound, function() return net(), { p = norm } end)
    same("certify.p", net().certify, function() return net(), x(), labels(), { p = norm } end)
    same("attack.p", lip.attack, function() return net(), x(), labels(), { p = norm, eps = 1, steps = 3 } end)
    same("certificate.p", net().certificate, function() return net(), folder .. "/c", data(), { p = norm } end)
  end
  for _, wrong in ipairs { 3, 2.5, 0, -1, 0 / 0, -(0 / 0), -math.huge, 1e300 } do
    for _, f in ipairs { function() return lip.opnorm_upper(w, wrong) end, function() return lip.project_(w, wrong,
      1) end,
      function() return w:norm(wrong) end, function() return net():bound { p = wrong } end,
      function() return lip.attack(net(), x(), { p = wrong, eps = 1 }) end,
      function() return lip.net { input = 4, norm = wrong, lip.dense { out = 3 } } end } do
      local ok, message = pcall(f)
      lu.assertFalse(ok)
      lu.assertNil(message:find("-nan", 1, true), message)
    end
  end
end

-- ---- every other function that takes numbers ----

local calls = {
  ["lip.zeros"] = function() return 2, 3 end, ["lip.ones"] = function() return { 2, 3 } end,
  ["lip.full"] = function() return { 2, 3 }, 1 end, ["lip.eye"] = function() return 3, 2 end,
  ["lip.arange"] = function() return 1, 9, 2 end, ["lip.linspace"] = function() return 0, 1, 5 end,
  ["lip.rand"] = function() return 3, { 2, 2 } end, ["lip.randn"] = function() return 3, { 2, 2 } end,
  ["lip.rng"] = function() return 3, 2 end, ["lip.tensor"] = function() return { { 1, 2 }, { 3, 4 } } end,
  ["lip.dataset_digits"] = function() return 8, 2 end, ["lip.crc32"] = function() return "text", 7 end,
  ["lip.inflate"] = function() return lip.deflate "text", 100 end,
  ["lip.opnorm_estimate"] = function() return lip.rand(1, { 3, 3 }), "2", 9 end,
  ["lip.file.read"] = function() return folder .. "/a.csv", 3 end,
  ["lip.file.tail"] = function() return folder .. "/a.csv", 3 end,
  ["lip.process.alive"] = function() return lip.process.self().pid, lip.process.self().start end,
  ["lip.process.signal_name"] = function() return 15 end,
  ["lip.attack"] = function()
    return net(), x(), labels(), { eps = 1, steps = 3, restarts = 2, targets = 2, limit = 5, batch = 2, seed = 3,
      box = { 0, 1 } }
  end,
  ["lip.verify"] = function() return net(), data(), { eps = 1, limit = 4 } end,
  ["lip.train"] = function()
    return net(), data(), { epochs = 2, batch = 3, seed = 5, checkpoint_every = 2, checkpoint = folder .. "/t" }
  end,
  ["lip.dataset_csv"] = function() return folder .. "/a.csv", { label = 3, fill = 0, name = "a" } end,
  ["lip.data.csv"] = function() return folder .. "/a.csv", { target = { 1, 2 }, name = "a" } end,
  ["lip.data.digits"] = function() return { n = 6, seed = 2 } end,
  ["lip.dataset_tensors"] = function() return x(), labels() end,
  ["lip.sobol"] = function() return 3, 7 end, ["lip.asha"] = function() return { max = 9, min = 1, eta = 3 } end,
  ["lip.median"] = function() return { min = 2, every = 1, trials = 3, max = 9 } end,
  ["lip.integer"] = function() return 1, 8 end,
  ["lip.uniform"] = function() return 1, 8 end, ["lip.logspace"] = function() return 1, 8, 4 end,
  ["lip.process.run"] = function() return { "true", timeout = 20, limit = 100 } end,
}

local methods = {
  ["lip.tensor"] = {
    lip.rand(1, { 3, 4 }), slice = { 1, 2, 3, 1 }, select = { 1, 2 }, shape = { 2 }, get = { 1, 2 },
      transpose = { 1, 2 },
    reshape = { 4, 3 }, sum = { 1 }, mean = { 2 }, max = { 1 }, argmax = { 2 }, sort = { 1 }, norm = { 2, 1 },
      add = { 2 },
    clamp = { 0, 1 }, set = { 1, 2, 7 }, fill = { 3 },
  },
  ["lip.rng"] = { lip.rng(1), below = { 9 }, permutation = { 5 } },
  ["lip.net"] = {
    net(), weights = { 1 }, bias = { 2 }, deviation = { 2 }, reset = { 3 }, evaluate = { data(), { batch = 2,
      limit = 5 } },
    bound = { { lower = true, points = 4 } }, certify = { data(), { eps = { 1 }, batch = 2, limit = 5 } },
    certificate = { "certificate", data(), { eps = { 1 }, limit = 3, seconds = 9 } },
    save = { "net", { progress = { step = 3, epoch = 1, next = 2, seed = 4 } } },
  },
  ["lip.dataset"] = { data(), batch = { { 1, 3 } }, subset = { 2, 4 }, batches = { { size = 2, seed = 3,
    shift = 0 } } },
  ["lip.loader"] = { data():batches { size = 2 }, seek = { 1, 2 } },
  ["lip.loss"] = { lip.loss.cross_entropy(), value = { lip.rand(1, { 6, 3 }), labels() } },
  ["lip.schedule"] = { lip.schedule.cosine(), factor = { 3, 9, 3 } },
  ["lip.optim"] = { lip.optim.sgd(), lr = { 1 } },
}

function T.test_functions()
  assert(lip.file.write(folder .. "/a.csv", "1,2,0\n3,4,1\n5,6,0\n"))
  for name, arguments in pairs(calls) do
    local f = lip
    for part in name:gmatch "[%w_]+" do
      if part ~= "lip" then f = f[part] end
    end
    -- random numbers: from the same state each time
    same(name, f, arguments)
  end
end

function T.test_methods()
  for kind, list in pairs(methods) do
    for name, arguments in pairs(list) do
      if name ~= 1 then
        for i, v in ipairs(arguments) do
          if v == "net" or v == "certificate" then arguments[i] = folder .. "/" .. v end
        end
        local object = list[1]
        local state = kind == "lip.rng" and object:state()
        same(kind .. ":" .. name, function(...)
          if state then object:state(state) end
          return object[name](object, ...)
        end, function() return table.unpack(arguments) end)
      end
    end
  end
  local db = lip.db.open ":memory:"
  db:exec "create table t (a integer)"
  db:exec("insert into t values (?)", 2.0)
  lu.assertEquals(db:row("select a from t where a = ?", 2.0).a, 2)
  local t = lip.rand(1, { 2, 3 })
  lu.assertTrue(t[2.0]:equal(t[2]))
end

-- ---- what is no number of the kind ----

local strange = { 0 / 0, -(0 / 0), 1.5, -1, 2 ^ 60, math.huge, -math.huge, math.mininteger }

local function refused(label, name, f, ...)
  local ok, message = pcall(f, ...)
  if ok then return end
  lu.assertEquals(type(message), "string", label)
  lu.assertNil(message:find("-nan", 1, true), message)
  lu.assertNil(message:find("#-", 1, true), message)
  if name then lu.assertStrContains(message, name, false, label) end
end

-- NaN is no value of any option: the message names it.
function T.test_strange_numbers_in_options()
  for _, c in ipairs(constructors()) do
    local label, make, options = table.unpack(c)
    for _, option in ipairs(options) do
      for i, v in ipairs(strange) do
        local given = { [option.name] = v }
        for _, other in ipairs(options) do
          if other.required and other ~= option then
            given[other.name] = pcall(make, { [other.name] = 2 }) and 2 or 0.5
          end
        end
        refused(label, option.name, make, given)
        if i <= 2 then lu.assertFalse(pcall(make, given), label .. "." .. option.name .. " takes NaN") end
      end
    end
  end
  for _, option in ipairs(lip.net_options()) do
    for _, v in ipairs(strange) do
      local given = { input = 4, norm = 2, lip.dense { out = 3 } }
      given[option.name] = v
      refused("net", option.name, lip.net, given)
      given[option.name] = { v, v }
      refused("net", option.name, lip.net, given)
    end
  end
end

function T.test_strange_numbers_elsewhere()
  assert(lip.file.write(folder .. "/a.csv", "1,2,0\n3,4,1\n5,6,0\n"))
  local slow = { rand = true, randn = true, zeros = true, ones = true, full = true,
    eye = true } -- memory as asked for
  for name, arguments_of in pairs(calls) do
    local f = lip
    for part in name:gmatch "[%w_]+" do
      if part ~= "lip" then f = f[part] end
    end
    local n = table.pack(arguments_of()).n
    for i = 1, n do
      for k, v in ipairs(strange) do
        local arguments = table.pack(arguments_of())
        if type(arguments[i]) == "number" and (k < 5 or not slow[name:match "[%w_]+$"]) then
          arguments[i] = v
          refused(name, nil, f, table.unpack(arguments, 1, arguments.n))
        elseif type(arguments[i]) == "table" then
          for key, old in pairs(arguments[i]) do
            if type(old) == "number" and name ~= "lip.train" and (k < 5 or not slow[name:match "[%w_]+$"]) then
              arguments[i][key] = v
              refused(name, nil, f, table.unpack(arguments, 1, arguments.n))
              arguments[i][key] = old
            end
          end
        end
      end
    end
  end
  for _, option in ipairs { "epochs", "batch", "seed", "checkpoint_every", "shift" } do
    for i = 1, 2 do
      local ok, message = pcall(lip.train, net(), data(), { [option] = strange[i] })
      lu.assertFalse(ok)
      lu.assertStrContains(message, "got nan")
      lu.assertNil(message:find("-nan", 1, true))
    end
  end
  lu.assertErrorMsgContains("got nan", lip.optim.sgd().lr, lip.optim.sgd(), 0 / 0)
end

-- ---- values that are no arguments ----

function T.test_options_are_named_and_not_counted()
  local n, d = net(), data()
  local function complains(expected, f, ...)
    local ok, message = pcall(f, ...)
    lu.assertFalse(ok, expected)
    lu.assertStrContains(message, expected)
    lu.assertNil(message:find("bad argument", 1, true), message)
  end
  complains("evaluate: option 'loss' expects a loss such as", n.evaluate, n, d, { loss = lip.optim.sgd() })
  complains("save: option 'optimizer' expects an optimiser such as", n.save, n, folder .. "/n", { optimizer = 3 })
  complains("save: option 'progress' expects a table", n.save, n, folder .. "/n", { progress = 3 })
  complains("batch: element 2 is no number of a sample but the string", d.batch, d, { 1, "x" })
  complains("batch: element 1 is no number of a sample but the number 1.5", d.batch, d, { 1.5 })
  complains("bound: option 'data': inputs do not fit", n.bound, n, { lower = true, data = lip.zeros(5, 5) })
  complains("bound: option 'x': inputs do not fit", n.bound, n, { method = "local", eps = 1, x = lip.zeros(5) })
end

return T
