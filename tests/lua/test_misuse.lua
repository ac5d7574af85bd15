-- Nothing a script does may crash the process: every C function reachable from `lip`, and every method and
-- metamethod of every type it registers, is called with wrong values in every position. Each call must return or
-- raise a proper message. What is tested is found by walking the tables, so new functions are covered at once; a new
-- type needs a line in `make` below.
--
-- After a crash, LIPWB_TRACE=1 shows the function that was being tested.
local lu = require "luaunit"
local lip = require "lip"

local T = {}

-- What must not be called here (it would block, exit or reach out of the machine): name = reason.
local skip = {
  sleep = "sleeps as long as it is told", wait_any = "waits as long as it is told", temporary = "leaves a folder each time",
  mkdir = "makes the folders that other calls must not find",
}

-- Seconds of processor time after which a slow function (one that makes data, say) has been tried enough.
local patience = 1.0
local random_calls = 200

-- ---- sound objects, one maker per type ----

local function images() return lip.rand(1, {6, 4}) end

local make = {
  ["lip.tensor"] = function() return lip.rand(1, {3, 4}) end,
  ["lip.rng"] = function() return lip.rng(1) end,
  ["lip.spec"] = function() return lip.dense {out = 3} end,
  ["lip.vnnlib"] = function()
    return lip.property.vnnlib {text = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 Y_0))"}
  end,
  ["lip.projection"] = function() return lip.projection(function(w) return w end) end,
  ["lip.layer"] = function()
    return lip.layer {name = "itself", forward = function(x) return x end, backward = function(_, _, dy) return dy end}
  end,
  ["lip.net"] = function()
    local hidden = lip.dense {out = 5}
    return lip.net {input = 4, norm = "inf", budget = 4, seed = 1, hidden, lip.relu {}, lip.dense {out = 3}}
  end,
  ["lip.loss"] = function() return lip.loss.cross_entropy {} end,
  ["lip.optim"] = function() return lip.optim.sgd {lr = 0.1} end,
  ["lip.schedule"] = function() return lip.schedule.constant {} end,
  ["lip.dataset"] = function() return lip.dataset_tensors(images(), {0, 1, 2, 0, 1, 2}) end,
  ["lip.bound"] = function() return lip.net {input = 2, norm = "inf", lip.dense {out = 2}}:bound() end,
  ["lip.certified"] = function()
    local net = lip.net {input = 4, norm = "inf", lip.dense {out = 3}}
    return net:certify(images(), {0, 1, 2, 0, 1, 2}, {eps = 0.1}).certified
  end,
  ["lip.db"] = function() return lip.db.open ":memory:" end,
  ["lip.process"] = function() return assert(lip.process.spawn {"true"}) end,
  ["lip.loader"] = function()
    return lip.dataset_tensors(images(), {0, 1, 2, 0, 1, 2}):batches {size = 2}
  end,
}

-- ---- wrong values ----

local hostile = setmetatable({}, {
  __index = function() error "hostile table" end,
  __len = function() return -7 end,
  __tostring = function() return nil end,
})

local function values()
  local list = {
    false, true, 0, 1, -1, 3, 0.5, 2 ^ 53, 0 / 0, math.huge, -math.huge, math.mininteger, math.maxinteger,
    "", "abc", "3", "no such folder/file", ("x"):rep(1000), {}, {1, 2}, {{1, 2}, {3}}, {{}, 1}, {input = 4},
    {[1] = 2 ^ 53, size = -1, out = "x"}, hostile, print, function() return 1 end, error,
    coroutine.create(function() end), io.stdout, lip.zeros(0), lip.zeros(2, 3), lip.rand(1, {2, 2, 2, 2}),
    lip.full({}, 1), lip.tensor(0 / 0, 1, 2):slice(1, 1, 3, 2),
  }
  for name, maker in pairs(make) do
    if debug.getregistry()[name] then list[#list + 1] = maker() end
  end
  return list -- nil and "nothing" come from the gaps and the short argument lists
end

-- ---- one call, many calls ----

local function call(label, f, n, args)
  local ok, first, second = pcall(f, table.unpack(args, 1, n))
  if not ok then
    -- hostile callbacks may raise anything; the functions themselves raise text
    if type(first) == "string" then
      lu.assertNotEquals(first, "", label)
      lu.assertNil(first:find("(null)", 1, true), label)
    end
  elseif first == nil and second ~= nil then
    lu.assertEquals(type(second), "string", label .. ": nil must be followed by a message")
  end
end

-- Calls f(prefix..., up to 4 more). `self` makes the prefix (nil: no prefix).
local function battery(label, f, self)
  if os.getenv "LIPWB_TRACE" == "1" then io.stderr:write(label, "\n") end
  local all, start = values(), os.clock()
  local fillers = {1, all[#all], lip.rand(1, {3, 4}), {}}
  local fixed = self and 1 or 0
  local args = {self and self()}
  local function tired() return os.clock() - start > patience end
  call(label, f, fixed, args)
  for n = 1, 4 do
    for position = 1, n do
      for filler = 0, #fillers do -- 0: nil
        for value = 0, #all do
          for i = 1, n do args[fixed + i] = fillers[filler] end
          args[fixed + position] = all[value]
          call(label, f, fixed + n, args)
          if tired() then return end
        end
      end
    end
  end
  for _ = 1, random_calls do
    for i = 1, 4 do args[fixed + i] = all[math.random(0, #all)] end
    call(label, f, fixed + math.random(0, 4), args)
    if tired() then return end
  end
  args[1] = nil
end

-- Functions that write files accept numbers and words as names: remove what they left, keep what was there.
local litter = {}
for _, value in ipairs {"0", "1", "-1", "3", "0.5", "9.007199254741e+15", "9.0071992547410e+15", "nan", "-nan", "inf",
  "-inf", "abc", ("x"):rep(1000), tostring(2 ^ 53), tostring(math.mininteger), tostring(math.maxinteger)} do
  local file = io.open(value, "r")
  if file then file:close() else litter[#litter + 1] = value end
end

function T.tearDown()
  for _, name in ipairs(litter) do os.remove(name) end
end

-- ---- what there is ----

local function is_c(f)
  return type(f) == "function" and debug.getinfo(f, "S").what == "C"
end

local function methods_of(meta)
  local found = {}
  local index = rawget(meta, "__methods") or rawget(meta, "__index")
  if type(index) == "table" then
    for name, f in pairs(index) do
      if type(f) == "function" then found[name] = f end
    end
  end
  for name, f in pairs(meta) do
    if type(f) == "function" and type(name) == "string" and name:find "^__" then found[name] = f end
  end
  return found
end

local function types()
  local found = {}
  for name, meta in pairs(debug.getregistry()) do
    if type(name) == "string" and name:find "^lip%." and type(meta) == "table" and meta.__name == name then
      found[name] = meta
    end
  end
  return found
end

local function sorted(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- ---- the tests: one per function, three per type ----

local seen, functions = {}, 0

local function add_functions(t, path)
  if seen[t] then return end
  seen[t] = true
  for key, value in pairs(t) do
    local label = path .. "." .. tostring(key)
    if type(value) == "table" then
      add_functions(value, label)
    elseif is_c(value) and not skip[key] then
      functions = functions + 1
      T["test_" .. label:gsub("%.", "_")] = function()
        math.randomseed(1)
        battery(label, value)
      end
    end
  end
end
add_functions(lip, "lip")

local found = types()
for name, meta in pairs(found) do
  local short = name:gsub("%.", "_")
  local ends, held = {__gc = true, __close = true}, false
  for method in pairs(methods_of(meta)) do held = held or not ends[method] end

  T["test_" .. short .. "_with_a_wrong_self"] = function()
    math.randomseed(1)
    local wrong = {}
    for _, value in ipairs(values()) do
      if debug.getmetatable(value) ~= meta then wrong[#wrong + 1] = value end
    end
    for method, f in pairs(methods_of(meta)) do
      for i = 0, #wrong do
        for n = 0, 4 do call(name .. ":" .. method, f, n, {wrong[i], 1, wrong[i], 2}) end
      end
    end
  end

  if held then -- a type that can only be collected guards memory inside C: no script holds one
    T["test_" .. short .. "_sound"] = function()
      lu.assertNotNil(make[name], "a maker is missing for " .. name)
      math.randomseed(1)
      local methods = methods_of(meta)
      for _, method in ipairs(sorted(methods)) do
        if not ends[method] then battery(name .. ":" .. method, methods[method], make[name]) end
      end
    end

    T["test_" .. short .. "_after_its_end"] = function()
      math.randomseed(1)
      local methods = methods_of(meta)
      for _, method in ipairs(sorted(methods)) do
        local function ended()
          local object = make[name]()
          if meta.__gc then
            meta.__gc(object)
            meta.__gc(object)
          end
          if meta.__close then meta.__close(object) end
          lu.assertEquals(type(tostring(object)), "string")
          return object
        end
        battery(name .. " (ended):" .. method, methods[method], ended)
      end
    end
  end
end

function T.test_something_was_found()
  lu.assertTrue(functions >= 10)
  lu.assertNotNil(found["lip.tensor"])
  lu.assertTrue(#sorted(methods_of(found["lip.tensor"])) > 50)
end

-- A result that is a table can be changed by the script before it comes back.
function T.test_tampered_results()
  for name, maker in pairs(make) do
    local sound = found[name] and maker()
    for key in pairs(type(sound) == "table" and sound or {}) do
      for _, value in ipairs(values()) do
        local object = maker()
        object[key] = value
        call(name, tostring, 1, {object})
      end
      local object = maker()
      object[key] = nil
      call(name, tostring, 1, {object})
    end
  end
end

-- What lends memory may be finalised (by a script that asks for it) before what shows it.
function T.test_the_end_of_what_lies_beneath()
  local function finish(object) debug.getmetatable(object).__gc(object) end
  local net, labels = make["lip.net"](), {0, 1, 2, 0, 1, 2}
  local function check(what, beneath, object, method, ...)
    finish(beneath)
    local ok, message = pcall(object[method], object, ...)
    lu.assertFalse(ok, what)
    lu.assertStrContains(message, "bad argument", false, what)
    lu.assertEquals(type(tostring(object)), "string", what)
  end
  local data = lip.dataset_tensors(images(), labels)
  local loader = data:batches {size = 2}
  lu.assertEquals(#loader:next(), 2)
  check("loader", data, loader, "next")
  local x = images()
  data = lip.dataset_tensors(x, labels)
  check("data set of a tensor", x, data, "batch", 1, 2)
  data = lip.dataset_tensors(net:weights(1), {0, 1, 2, 0, 1})
  check("data set of a view", net, data, "batch", 1, 2)
  local digits = lip.data.digits {n = 8}
  loader = digits:subset(2, 7):batches {size = 3}
  check("subset", digits, loader, "next")
  loader = lip.dataset_tensors(images(), labels):batches {size = 2}
  finish(loader:next())
  lu.assertErrorMsgContains("tensors are gone", loader.next, loader)
end

-- Lengths and elements come from the table itself: a metamethod could make up a length of 2^61, or layers that only
-- the call holds.
function T.test_elements_are_read_raw()
  local layer = lip.dense {out = 3}
  local function made_up(length, value)
    return {
      __len = function() return length end,
      __index = function(_, i) return math.type(i) == "integer" and i < 5000 and value() or nil end,
    }
  end
  local same, fresh = function() return layer end, function() collectgarbage() return lip.dense {out = 3} end
  for _, meta in ipairs {made_up(1 << 61, same), made_up(300, fresh)} do
    lu.assertErrorMsgContains("has no layers", lip.net, setmetatable({input = 4, norm = "inf"}, meta))
    lu.assertEquals(#lip.chain(setmetatable({layer}, meta)):children(), 1)
  end
  local eps = setmetatable({0.1}, made_up(1 << 61, function() return 0.2 end))
  local net = make["lip.net"]()
  local certified = net:certify(images(), {0, 1, 2, 0, 1, 2}, {eps = eps}).certified
  lu.assertEquals(type(certified[0.1]), "number")
  lu.assertNil(rawget(certified, 0.2))
end

-- Any allocation may run a script's finalisers, and those may use the net that a call is working with: its
-- activations are overwritten, or move.
function T.test_finalisers_that_use_the_net()
  local net = lip.net {input = 4, norm = "inf", seed = 1, lip.dense {out = 40}, lip.relu {}, lip.dense {out = 3}}
  local opt, loss = lip.optim.adam {lr = 0}, lip.loss.cross_entropy {}
  local x, rows, armed = lip.rand(1, {8, 4}), 1, true
  local labels = {0, 1, 2, 0, 1, 2, 0, 1}
  local dz = lip.rand(1, {8, 3})
  local logits, value, found = net:forward(x), net:step(x, labels, opt, loss), net:predict(x)
  net:forward(x, true)
  local dx = net:backward(dz, {input_gradient = true})
  local function arm()
    setmetatable({}, {__gc = function()
      if not armed then return end
      armed = false
      rows = rows + 3
      local other = {}
      for i = 1, rows do other[i] = 2 end
      net:step(lip.full({rows, 4}, 100), other, opt, loss)
      armed = true
      arm()
    end})
  end
  local pause, multiplier = collectgarbage("setpause", 0), collectgarbage("setstepmul", 1000)
  arm()
  local turns = 0
  while rows < 100 and turns < 5000 do
    turns = turns + 1
    lu.assertTrue(net:forward(x):equal(logits))
    lu.assertEquals(net:step(x:transpose():clone():transpose(), labels, opt, loss), value)
    lu.assertEquals(net:predict(x), found)
    net:forward(x, true)
    -- a finaliser in between is the script's own doing: an error, or the right gradient
    local ok, got = pcall(net.backward, net, dz:transpose():clone():transpose(), {input_gradient = true})
    if ok then lu.assertTrue(got:equal(dx)) end
  end
  armed = false
  collectgarbage("setpause", pause)
  collectgarbage("setstepmul", multiplier)
  lu.assertTrue(rows > 1)
end

-- ---- metatables and names are out of a script's reach ----

function T.test_metatables_are_hidden()
  for name in pairs(make) do
    if found[name] then
      local object = make[name]()
      lu.assertEquals(getmetatable(object), name)
      lu.assertFalse(pcall(setmetatable, object, {}))
    end
  end
end

-- ---- files: a number is a path to a function that takes one, so the calls above may have written some ----

local litter, there = {"-1", "0", "0.5", "1", "1.5", "inf", "-inf", "nan", "x"}, {}

local function exists(path)
  local file = io.open(path, "rb")
  return file ~= nil and file:close()
end

for _, path in ipairs(litter) do there[path] = exists(path) end

function T.test_zz_clean_up()
  for _, path in ipairs(litter) do
    if not there[path] then os.remove(path) end
    lu.assertEquals(exists(path), there[path])
  end
end

return T
