-- Tables whose metamethods change them while they are read: every function that takes a table, and every method, is
-- called with such tables in place of honest ones. A call returns or raises; it never crashes, and it reads no memory
-- that was given back (which shows under LIP_SANITIZE). What is tested is found by walking `lip` and its types; a
-- function that takes options by name also needs a sound call in `calls` below: its tables are read to the end.
--
-- After a crash, LIPWB_TRACE=1 shows the call that was being tested.
local lu = require "luaunit"
local lip = require "lip"

local T = {}

-- Not called with anything at hand: name = reason.
local skip = {
  ["lip.process.sleep"] = "sleeps as long as it is told", ["lip.process.signals"] = "changes what Ctrl-C does",
  ["lip.process.follow_parent"] = "asks the system to end this program", ["lip.sweep"] = "starts programs",
  ["lip.file.temporary"] = "leaves a folder each time", ["lip.file.remove_tree"] = "removes what it is told",
  ["lip.file.mkdir"] = "makes folders", ["lip.file.rename"] = "moves what it is told",
  ["lip.plot"] = "starts programs", ["lip.tensorboard"] = "writes for as long as a script runs",
  ["lip.strict"] = "changes the globals of the tests", ["lip.args"] = "reads the command line of the tests",
  ["lip.params"] = "another name of lip.args", ["lip.help"] = "prints", ["lip.program.show"] = "prints",
  ["lip.program.finish"] = "ends the program", ["lip.reproduce.main"] = "starts programs",
  ["lip.bench.main"] = "measures for a minute", ["lip.check.main"] = "prints", ["lip.doc"] = "writes a book",
  ["lip.data.download"] = "reaches out of the machine", ["lip.data.mnist"] = "may download",
  ["lip.data.fashion_mnist"] = "may download", ["lip.data.main_dataset"] = "may download",
  ["lip.data.cifar10"] = "may download",
  ["lip.data.cifar100"] = "may download", ["lip.data.idx"] = "prints", ["lip.trial"] = "belongs to workers",
  ["lip.trial_notes"] = "belongs to workers",
  ["lip.bench"] = "measures for a minute", ["lip.check"] = "prints", ["lip.reproduce"] = "starts programs",
}

local folder
function T.setUp()
  folder = assert(lip.file.temporary())
  assert(lip.file.mkdir(folder .. "/kept"))
  assert(lip.file.write(folder .. "/kept/w", "some text"))
  assert(lip.file.write(folder .. "/a.csv", "first column of the file,second,third\n1,2,0\n3,4,1\n5,6,0\n"))
end
function T.tearDown()
  debug.sethook()
  collectgarbage "incremental"
  assert(lip.file.remove_tree(folder))
end

-- A text of its own: no constant of this file keeps it alive ("ab|cd" stands for "abcd").
local function text(pattern)
  return (pattern:gsub("|", ""))
end

-- ---- hostile tables ----

local function garbage()
  collectgarbage()
  collectgarbage()
  local waste = {}
  for i = 1, 20 do waste[i] = ("x"):rep(40) .. i .. math.random() end
end

local function drop_list(t)
  for i = #t, 1, -1 do rawset(t, i, nil) end
  garbage()
end

local function drop_all(t)
  for key in next, t do rawset(t, key, nil) end
  garbage()
end

-- A value in a form that keeps none of its texts alive, and back: new texts and lists each time.
local function encoded(value)
  if type(value) == "string" then return { text = value:reverse() .. "~" } end
  if type(value) ~= "table" or getmetatable(value) then return { plain = value } end
  local copy = {}
  for key, v in next, value do copy[key] = encoded(v) end
  return { copy = copy }
end

local function decoded(value)
  if not value then return nil end
  if value.text then return value.text:sub(1, -2):reverse() end
  if not value.copy then return value.plain end
  local copy = {}
  for key, v in next, value.copy do copy[key] = decoded(v) end
  return copy
end

-- Fields stay in the table; absent ones are asked for.
local function keeps(on_ask)
  return function(t) return setmetatable(t, { __index = on_ask }) end
end

-- Named fields come from __index, each time anew.
local function moves(answer, more)
  return function(t)
    local shadow, asked = {}, 0
    for key, value in next, t do
      if type(key) == "string" then shadow[key] = encoded(value) end
    end
    for key in next, shadow do t[key] = nil end
    local meta = { __index = function(self, key)
      asked = asked + 1
      return answer(self, decoded(shadow[key]), asked, key)
    end }
    for name, f in next, more or {} do meta[name] = f end
    return setmetatable(t, meta)
  end
end

-- A finaliser that changes the table, again and again.
local function finalised(change)
  return function(t)
    local weak = setmetatable({ t }, { __mode = "v" })
    local armed = true
    local function arm()
      setmetatable({}, { __gc = function()
        if not armed or not weak[1] then return end
        armed = false
        change(weak[1])
        armed = true
        if weak[1] then arm() end
      end })
    end
    arm()
    return t
  end
end

local others = { 1, "x", false, {}, 0 / 0, print, -3, 2 ^ 60, lip.zeros(2), math.huge }

local ways = {
  drops_list = keeps(drop_list), drops_all = keeps(drop_all), collects = keeps(garbage),
  answers_fresh = moves(function(_, value) garbage() return value end),
  answers_and_drops = moves(function(t, value) drop_list(t) return value end),
  alternates = moves(function(_, value, n)
    if value == nil or n % 2 == 0 then return value end
    return others[n % #others + 1]
  end),
  alternates_later = moves(function(_, value, n, key)
    if value == nil or n % 7 ~= 0 then return value end
    return others[#key % #others + 1]
  end),
  answers_everything = moves(function(_, value, n) return value or others[n % #others + 1] end),
  raises = moves(function(_, value, n) if n > 3 then error "raised by __index" end return value end),
  raises_no_text = moves(function(_, value, n) if n > 2 then error {} end return value end),
  grows = keeps(function(t) for i = 1, 50 do rawset(t, #t + 1, i) end end),
  removed_by_a_finaliser = finalised(drop_all), shortened_by_a_finaliser = finalised(drop_list),
  filled_by_a_finaliser = finalised(function(t) for i = 1, 9 do rawset(t, i, text "fil|led") end garbage() end),
}
for name, length in pairs {
  negative = -5, huge = math.maxinteger, least = math.mininteger, nan = 0 / 0, broken = 1.5, large = 2.0 ^ 62,
  text = "7", none = false,
} do
  ways["length_" .. name] = function(t)
    return setmetatable(t, { __len = function() return length end, __index = function() return nil end })
  end
end
ways.pairs_lie = moves(function(_, value) return value end, {
  __pairs = function() return function(_, key) return (key or 0) + 1, {} end end,
  __name = setmetatable({}, { __tostring = error }), __tostring = function() return 7 end,
  __call = error, __eq = error, __lt = error, __le = error, __concat = error,
})
ways.strange_name = moves(function(_, value) return value end, { __name = ("%s%n"):rep(300), __tostring = false })

-- All fields come from __index; when `key` is asked for, the list goes, or everything that was answered before.
local function at(key)
  return {
    moves(function(t, value, _, asked) if asked == key then drop_list(t) end return value end),
    moves(function(_, value, _, asked) if asked == key then garbage() end return value end),
    moves(function(t, value, n, asked) -- answers are fields for a while
      if asked == key then drop_all(t) elseif n < 40 then rawset(t, asked, value) end
      return value
    end),
  }
end

local way_names = {}
for name in pairs(ways) do way_names[#way_names + 1] = name end
table.sort(way_names)

-- ---- objects ----

local net_of, images, labels
function net_of()
  return lip.net { input = 4, norm = "inf", budget = 4, seed = 1, lip.dense { out = 5 }, lip.relu {},
    lip.dense { out = 3 } }
end
function images() return lip.rand(1, { 6, 4 }) end
function labels() return { 0, 1, 2, 0, 1, 2 } end
local function data() return lip.dataset_tensors(images(), labels()) end

local make = {
  ["lip.tensor"] = function() return lip.rand(1, { 3, 4 }) end, ["lip.rng"] = function() return lip.rng(1) end,
  ["lip.spec"] = function() return lip.dense { out = 3 } end, ["lip.net"] = net_of,
  ["lip.projection"] = function() return lip.projection(function(w) return w end) end,
  ["lip.layer"] = function()
    return lip.layer { name = "itself", options = { beta = 1, mode = { "fast", "slow" } },
      forward = function(x) return x end, backward = function(_, _, dy) return dy end }
  end,
  ["lip.loss"] = function() return lip.loss.cross_entropy() end,
  ["lip.optim"] = function() return lip.optim.sgd { lr = 0.1 } end,
  ["lip.schedule"] = function() return lip.schedule.constant() end, ["lip.dataset"] = data,
  ["lip.bound"] = function() return net_of():bound() end, ["lip.db"] = function() return lip.db.open ":memory:" end,
  ["lip.process"] = function() return assert(lip.process.spawn { "true" }) end,
  ["lip.loader"] = function() return data():batches { size = 2 } end,
}

-- ---- sound calls: name = function that returns the arguments, made anew (texts by `text`) ----

local calls = {
  ["lip.net"] = function()
    return { input = { 4 }, norm = { 1, "inf" }, budgets = { dense = 2 }, init = text "on_|ball",
      lip.dense { out = 5 },
      lip.relu(), lip.dense { out = 3 } }
  end,
  ["lip.chain"] = function() return { lip.relu(), lip.dense { out = 3 } } end,
  ["lip.residual"] = function() return { lip.dense { out = 4 }, lip.relu() } end,
  ["lip.rng"] = function() return lip.rng(1):state() end,
  ["lip.dataset_csv"] = function()
    return folder .. "/a.csv", { target = { text "first column| of the file", text "sec|ond" }, name = text "na|me",
      separator = text ",|", header = true, fill = 0 }
  end,
  ["lip.dataset_cifar"] = function() return "c", { folder .. text "/b|1", folder .. text "/b|2" }, 1, 10 end,
  ["lip.dataset_tensors"] = function() return images(), labels() end,
  ["lip.db.open"] = function() return folder .. "/a.db", { timeout = 1 } end,
  ["lip.process.run"] = function()
    return { text "tr|ue", text "some longer argument| of the program which nothing else holds",
      input = text "in|put",
      cwd = folder .. text "/|.", env = { A = text "some longer value |of a variable" }, timeout = 20, limit = 100 }
  end,
  ["lip.process.spawn"] = function()
    return { text "tr|ue", text "argu|ment", stdout = folder .. text "/o|ut", stderr = folder .. text "/er|r",
      cwd = folder .. text "/|.", env = { A = text "b|c" }, append = true }
  end,
  ["lip.process.wait_any"] = function() return { make["lip.process"](), make["lip.process"]() }, 5 end,
  ["lip.attack"] = function()
    return net_of(), images(), labels(), { method = text "pg|d", p = text "in|f", eps = 0.1, steps = 2,
      targets = text "al|l",
      box = { 0, 1 }, limit = 4, batch = 2 }
  end,
  ["lip.tensor"] = function() return { { 1, 2 }, { 3, 4 } } end,
  ["lip.zeros"] = function() return { 2, 3 } end, ["lip.full"] = function() return { 2, 3 }, 1 end,
  ["lip.to_json"] = function() return { a = { 1, { b = text "c|d" } }, c = text "longer |text of its own" } end,
  ["lip.train"] = function() return net_of(), data(), { epochs = 1, batch = 3, validation = data() } end,
  ["lip.net:bound"] = function(net)
    return net, { method = text "recur|sion", p = text "in|f", lower = true, points = 4, data = images(),
      pairs = true }
  end,
  ["lip.net:bound local"] = function(net)
    return net, { method = text "lo|cal", x = images()[1], eps = 0.1, box = { 0, 1 }, global = text "recur|sion" }
  end,
  ["lip.net:certify"] = function(net)
    return net, images(), labels(), { method = text "recur|sion", eps = { 0.1, 0.2 }, arithmetic = text "re|al",
      table = true }
  end,
  ["lip.net:certify local"] = function(net)
    return net, images(), labels(), { method = text "lo|cal", eps = { 0.1, 0.2 }, global = text "recur|sion",
      box = { 0, 1 }, halvings = 2 }
  end,
  ["lip.net:certificate"] = function(net)
    return net, folder .. "/c", images(), labels(), { method = text "recur|sion", arithmetic = text "re|al",
      eps = { 0.1 } }
  end,
  ["lip.net:evaluate"] = function(net) return net, data(), { batch = 2, loss = lip.loss.cross_entropy() } end,
  ["lip.net:forward"] = function(net) return net, images(), { arithmetic = text "dou|ble" } end,
  ["lip.net:predict"] = function(net) return net, images(), { arithmetic = text "dou|ble" } end,
  ["lip.net:project"] = function(net) return net, { exact = true } end,
  ["lip.net:step"] = function(net) return net, images(), labels(), lip.optim.adam(), lip.loss.cross_entropy() end,
  ["lip.net:backward"] = function(net)
    net:forward(images(), true)
    return net, lip.rand(1, { 6, 3 }), { input_gradient = true }
  end,
  ["lip.file.write"] = function() return folder .. "/kept/w", "text", { below = text(folder .. "/|kept") } end,
  ["lip.file.append"] = function()
    return folder .. "/kept/w", "text", { sync = false, below = text(folder .. "/|kept") }
  end,
  ["lip.file.read"] = function() return folder .. "/kept/w", 0, { below = text(folder .. "/|kept") } end,
  ["lip.file.tail"] = function() return folder .. "/kept/w", 3, { below = text(folder .. "/|kept") } end,
  ["lip.file.stat"] = function() return folder .. "/kept/w", { follow = false, below = text(folder .. "/|kept") } end,
  ["lip.file.exists"] = function() return folder .. "/kept/w", { below = text(folder .. "/|kept") } end,
  ["lip.file.list"] = function() return folder .. "/kept", { below = text(folder .. "/|kept") } end,
  ["lip.file.is_left"] = function() return folder .. "/kept/w", { below = text(folder .. "/|kept") } end,
  ["lip.data.npy"] = function()
    assert(lip.save_npy(folder .. "/x.npy", lip.rand(1, { 6, 4 })))
    return folder .. "/x.npy", nil, { channels = text "fir|st" }
  end,
  ["lip.load"] = function()
    local path = folder .. "/loaded.safetensors"
    assert(net_of():save(path))
    return path, { resume = true }
  end,
  ["lip.net:save"] = function(net)
    return net, folder .. "/n", { optimizer = lip.optim.adam(), progress = { step = 1,
      text = text "some |longer text" } }
  end,
  ["lip.net:load_weights"] = function(net)
    local path, map = folder .. "/state.safetensors", {}
    assert(net:save(path))
    for name in pairs(assert(lip.tensors(path))) do map[name] = name:find "%.warm%." == nil and name end
    return net, path, { map = map, strict = false }
  end,
  ["lip.net:export"] = function(net)
    return net, { onnx = text(folder .. "/ex|port.onnx"), c = text(folder .. "/ex|port"), name = text "ne|t" }
  end,
  ["lip.dataset:batches"] = function(d) return d, { size = 2, shuffle = true, drop_last = true } end,
  ["lip.onnx"] = function()
    local path = folder .. "/net.onnx"
    assert(lip.net { input = { 1, 2, 2 }, norm = 2, lip.flatten(), lip.dense { out = 2 } }:export { onnx = path })
    return path, { input = { 1, 2, 2 }, norm = text "in|f", round = true, drop_softmax = true }
  end,
  ["lip.property.vnnlib"] = function()
    return { text = text "(declare-const X_0 Real)(declare-const Y_0 Real)(assert |(<= X_0 Y_0))" }
  end,
  ["lip.net:decide"] = function(net)
    local shape = net.input_shape or { 4 }
    local low = lip.zeros(table.unpack(shape))
    return net, { input = { { x = low, eps = 0.1, box = { 0, 1 } } }, spec = { between = { -1, 1 } } }, { nodes = 3, attack = false }
  end,
  ["lip.layer:__call"] = function(d) return d, { beta = 2, mode = text "sl|ow" } end,
  ["lip.layer"] = function()
    local function same(_, _, dy) return dy end
    return { name = text "some|_name", help = text "one l|ine", options = { mode = { text "fa|st", text "sl|ow" } },
      parameters = { gain = { 3, 4, decay = true } }, lipschitz = 1, deviation = 0.5, forward = same, backward = same }
  end,
  ["lip.dataset:batch"] = function(d) return d, { 1, 2, 3 } end,
  ["lip.rng:state"] = function(rng) return rng, rng:state() end,
  ["lip.process:signal"] = function(p) return p, text "TE|RM", { group = false } end,
  ["lip.db:rows"] = function(db) return db, text "select :first| as a, :second as b", { first = text "x|y",
    second = 2 } end,
  ["lip.db:row"] = function(db) return db, text "select :first| as a", { first = text "x|y" } end,
  ["lip.db:exec"] = function(db) return db, text "create table if not exists t| (a)" end,
  ["lip.loss:value"] = function(l) return l, lip.rand(1, { 6, 3 }), labels() end,
  ["lip.loss:gradient"] = function(l) return l, lip.rand(1, { 6, 3 }), labels() end,
  ["lip.tensor:copy"] = function(t) return t, { { 1, 2, 3, 4 }, { 1, 2, 3, 4 }, { 1, 2, 3, 4 } } end,
  ["lip.tensor:reshape"] = function(t) return t, { 4, 3 } end,
}

-- ---- one call ----

local function too_long() error("the test ends what a made-up length goes on with", 0) end

local function attempt(label, f, ...)
  if os.getenv "LIPWB_TRACE" == "1" then io.stderr:write(label, "\n") end
  debug.sethook(too_long, "", 2000000) -- a loop of Lua code; one in C would stop the test
  local ok, message, second = pcall(f, ...)
  debug.sethook()
  if ok and message == nil and second ~= nil then lu.assertEquals(type(second), "string", label) end
  if not ok and type(message) == "string" then
    lu.assertNotEquals(message, "", label)
    lu.assertNil(message:find("(null)", 1, true), label)
    lu.assertNil(message:find("#-", 1, true), label .. ": " .. message)
  end
  return ok, message
end

-- Every table in the arguments, one after the other; those inside of it as well.
local function places(arguments)
  local list = {}
  local function add(value, path)
    if type(value) ~= "table" or getmetatable(value) then return end
    list[#list + 1] = path
    for key, v in next, value do
      local inside = { table.unpack(path) }
      inside[#inside + 1] = key
      add(v, inside)
    end
  end
  for i = 1, arguments.n do add(arguments[i], { i }) end
  return list
end

local function try_way(label, f, arguments_of, way)
  for number = 1, #places(table.pack(arguments_of())) do
    local arguments = table.pack(arguments_of())
    local found = places(arguments)
    table.sort(found, function(a, b) return table.concat(a, ".") < table.concat(b, ".") end)
    local value = arguments
    for _, key in ipairs(found[number]) do value = value[key] end
    ways[way](value)
    attempt(label .. " " .. way .. " " .. table.concat(found[number], "."), f, table.unpack(arguments, 1,
      arguments.n))
  end
end

-- The names of options that f knows, by its own complaint about another one; { } when it takes none.
local function options_of(f, arguments)
  for i = 1, arguments.n do
    local list = table.pack(table.unpack(arguments, 1, arguments.n))
    if type(list[i]) == "table" and not getmetatable(list[i]) then
      list[i] = setmetatable({ no_such_option = 1 }, nil)
      local ok, message = pcall(f, table.unpack(list, 1, list.n))
      local known = not ok and type(message) == "string"
        and message:match "unknown option 'no_such_option' %(known: ([^)]*)%)"
      if known then
        local names = {}
        for name in known:gmatch "[%w_]+" do names[#names + 1] = name end
        return i, names
      end
    end
  end
  return nil, {}
end

-- ---- what there is ----

local functions = {} -- name -> function that takes a self (a method) or none

local function add_module(t, path, seen)
  if seen[t] then return end
  seen[t] = true
  for key, value in next, t do
    local name = path .. "." .. tostring(key)
    if type(value) == "table" and not skip[name] then add_module(value, name, seen) end
    if type(value) == "function" and not skip[name] then functions[name] = value end
  end
end

-- The modules written in Lua load when they are named.
for _, file in ipairs(assert(lip.file.list(package.searchpath("lip.train", package.path):match "^(.*)/"))) do
  local name = file:match "^([%w_]+)%.lua$"
  if name and name ~= "init" and not skip["lip." .. name] then local _ = lip[name] end
end
add_module(lip, "lip", {})

for name, meta in pairs(debug.getregistry()) do
  if type(name) == "string" and name:find "^lip%." and type(meta) == "table" and meta.__name == name then
    local index = rawget(meta, "__methods") or rawget(meta, "__index")
    for method, f in pairs(type(index) == "table" and index or {}) do functions[name .. ":" .. method] = f end
    if not name:find "^lip%.db%." then
      for _, event in ipairs { "__call", "__add", "__eq", "__newindex" } do
        if rawget(meta, event) then functions[name .. ":" .. event] = rawget(meta, event) end
      end
    end
  end
end

local function self_of(name)
  local kind = name:match "^(.-):"
  if kind then
    lu.assertNotNil(make[kind], "a maker is missing for " .. kind)
    return make[kind]
  end
end

-- ---- tests ----

for name, arguments_of in pairs(calls) do
  local key = name:match "^%S+"
  T["test_" .. name:gsub("[^%w]", "_")] = function()
    local f, self = functions[key], self_of(key)
    lu.assertNotNil(f, key)
    local function arguments() return arguments_of(self and self()) end
    -- the cifar files are not there; what matters is the reading of their names
    local ok, message = attempt(name, f, arguments())
    lu.assertTrue(ok, tostring(message)) -- the honest call works, or the rest would test nothing
    for _, way in ipairs(way_names) do
      if way:find "finaliser" then collectgarbage("setpause", 0) collectgarbage("setstepmul", 1000) end
      try_way(name, f, arguments, way)
      collectgarbage("setpause", 200)
      collectgarbage("setstepmul", 100)
    end
    local place, names = options_of(f, table.pack(arguments()))
    for _, option in ipairs(names) do
      for i, change in ipairs(at(option)) do
        local list = table.pack(arguments())
        change(list[place])
        attempt(("%s at %s %d"):format(name, option, i), f, table.unpack(list, 1, list.n))
      end
    end
  end
end

-- Wherever a table could stand, whatever the function expects.
function T.test_any_place()
  local names = {}
  for name in pairs(functions) do names[#names + 1] = name end
  table.sort(names)
  lu.assertTrue(#names > 150)
  for _, name in ipairs(names) do
    local f, self = functions[name], self_of(name)
    for _, way in ipairs(way_names) do
      for position = 1, 3 do
        local function arguments()
          local list = { images(), labels(), 1 }
          list[position] = { 0, 1, 2, 0, 1, 2, input = 4, norm = "inf", eps = 0.1, out = 3 }
          if self then return self(), table.unpack(list) end
          return table.unpack(list)
        end
        local list = table.pack(arguments())
        ways[way](list[position + (self and 1 or 0)])
        attempt(name .. " " .. way .. " " .. position, f, table.unpack(list, 1, position + (self and 1 or 0)))
      end
    end
  end
end

-- ---- constructors: their options as the engine lists them ----

local function constructors()
  local list = {}
  for _, row in ipairs(lip.layers()) do list["lip." .. row.name] = row end
  for family, plural in pairs { loss = "losses", optim = "optims", schedule = "schedules" } do
    for _, row in ipairs(lip[plural]()) do list[("lip.%s.%s"):format(family, row.name)] = row end
  end
  return list
end

function T.test_constructors()
  local n = 0
  for name, row in pairs(constructors()) do
    local function arguments()
      local options = {}
      for _, option in ipairs(row.options) do
        options[option.name] = option.default == nil and 3 or decoded(encoded(option.default))
        if option.type == "number[]" then options[option.name] = { 1, 2 } end
        if option.type == "lip.projection" then options[option.name] = lip.projection(function(w) return w end) end
      end
      return options
    end
    for _, way in ipairs(way_names) do try_way(name, functions[name], arguments, way) end
    n = n + 1
  end
  lu.assertTrue(n > 25)
end

-- A C function that complains about an unknown option takes a table of options: it needs a call above.
function T.test_every_table_of_options_has_a_call()
  local known, found = {}, 0
  for name in pairs(constructors()) do known[functions[name]] = true end
  for name in pairs(calls) do known[functions[name:match "^%S+"]] = true end
  for name, f in pairs(functions) do
    local self = self_of(name)
    local fillers = { { images(), labels() }, { net_of(), data() }, { net_of(), images() }, { data() },
      { folder .. "/x", folder .. "/y" },
      { lip.rand(1, { 6, 3 }) }, {} }
    for _, filler in ipairs(debug.getinfo(f, "S").what == "C" and fillers or {}) do
      for n = 0, #filler do
        local list = { table.unpack(filler, 1, n) }
        if self then table.insert(list, 1, self()) end
        list[#list + 1] = { no_such_option = 1 }
        local ok, message = attempt(name, f, table.unpack(list))
        if not ok and type(message) == "string" and message:find("unknown option 'no_such_option'", 1, true) then
          found = found + 1
          lu.assertTrue(known[f], name .. " takes a table of options: add a call of it to this test")
        end
      end
    end
  end
  lu.assertTrue(found > 30)
end

-- ---- cases that were faults ----

-- The names of columns were read from a list that only __index had.
function T.test_columns_that_nothing_else_holds()
  local pause, multiplier = collectgarbage("setpause", 1), collectgarbage("setstepmul", 1000)
  for _ = 1, 100 do
    local options = setmetatable({}, { __index = function(_, key)
      if key ~= "target" then return nil end
      local list = {}
      for i = 1, 200 do list[i] = ("a"):rep(56) .. i end
      return list
    end })
    local ok, message = pcall(lip.dataset_csv, folder .. "/a.csv", options)
    lu.assertFalse(ok)
    lu.assertStrContains(message, "has no column '" .. ("a"):rep(56) .. "1'")
  end
  collectgarbage("setpause", pause)
  collectgarbage("setstepmul", multiplier)
end

-- Words of a program were taken from a list that __index had emptied.
function T.test_a_program_whose_words_go()
  for i = 1, 20 do
    local plan = setmetatable({ folder .. "/" .. ("n"):rep(60) .. i }, { __index = function(t, key)
      if key == "env" then drop_list(t) end
    end })
    local result, message, code = lip.process.run(plan)
    lu.assertNil(result)
    lu.assertStrContains(message, ("n"):rep(60) .. i .. ":")
    lu.assertEquals(code, "not_found")
  end
end

function T.test_a_database_closed_by_a_finaliser()
  for _ = 1, 30 do
    local db = lip.db.open ":memory:"
    db:exec "create table t (a)"
    collectgarbage("setpause", 0)
    setmetatable({}, { __gc = function() db:close() end })
    attempt("exec", db.exec, db, 12345.25)
    attempt("exec", db.exec, db, "insert into t values (:a)", { a = 1 })
    attempt("rows", db.rows, db, "select * from t")
    collectgarbage("setpause", 200)
  end
end

-- The text of a bound has as many rows as the list in it has elements.
function T.test_a_bound_with_a_made_up_length()
  local bound = net_of():bound()
  local lines = select(2, tostring(bound):gsub("\n", ""))
  setmetatable(bound.layers, { __len = function() return 1 << 40 end })
  lu.assertEquals(select(2, tostring(bound):gsub("\n", "")), lines)
end

return T
