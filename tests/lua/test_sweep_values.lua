-- Values of a sweep on their way to a trial: what stands in the sweep file is what lip.args gives the script, whatever
-- stands in texts and lists, and what cannot travel is refused before the start.
local lu = require "luaunit"
local lip = require "lip"
local decimal = require "lip.decimal"
local support = require "support_sweep"

local T = support.fixture {}

-- The row tells what came, each value with its type.
local SCRIPT = [[
local lip = require "lip"
local a = lip.args { text = "x", number = 0.5, flag = false, texts = { { "a", "b" }, "some texts" },
  numbers = { 1, 2 } }
local function typed(v)
  if type(v) ~= "table" then return math.type(v) == "float" and ("%a"):format(v) or tostring(v), type(v) end
  local list = {}
  for i, x in ipairs(v) do list[i] = { x, type(x) } end
  return list, #v
end
local row = {}
for name, v in pairs(a) do row[name] = { typed(v) } end
return row
]]

local function typed(v)
  if type(v) ~= "table" then return { math.type(v) == "float" and ("%a"):format(v) or tostring(v), type(v) } end
  local list = {}
  for i, x in ipairs(v) do list[i] = { x, type(x) } end
  return { list, #v }
end

-- A Lua text of a value.
local function source(v)
  if type(v) == "string" then return ("%q"):format(v) end
  if type(v) ~= "table" then return ("%q"):format(v) end
  local parts = {}
  for i, x in ipairs(v) do parts[i] = source(x) end
  return "{" .. table.concat(parts, ", ") .. "}"
end

-- Runs a sweep over the lists of configurations; the records.
function T:send(configs, words, name)
  local parts = {}
  for i, config in ipairs(configs) do
    local fields = {}
    for key, v in pairs(config) do fields[#fields + 1] = key .. " = " .. source(v) end
    parts[i] = "{ " .. table.concat(fields, ", ") .. " }"
  end
  self:write("t.lua", SCRIPT)
  name = name or "s"
  self:write(name .. ".lua", ('return require "lip".sweep { script = "t.lua", list = {\n%s } }'):format(
    table.concat(parts, ",\n")))
  local status, said = self:sweep(name .. ".lua", "-j", "2", table.unpack(words or {}))
  return status == 0 and self:records(name) or status, said
end

local TEXTS = { "007", "1e5", "0.1", "true", "inf", "nan", "", " ", "a b", "a,b", "{a}", "{ 1, 2 }", "a;b",
  "my data/x.npy", "--set", "a=b", "'", '"', "\\", "$HOME", "`id`", "line\nbreak", "\ttab", "grün", "\u{1F600}", ("long "):rep(500),
  "nil", "0x10", "-0", "[1]", "null" }

function T:test_texts_and_lists()
  local configs = {}
  for i, text in ipairs(TEXTS) do
    configs[i] = { text = text, texts = { text, "b", text, "" }, number = i }
  end
  local records, said = self:send(configs)
  lu.assertIsTable(records, said)
  for i, r in ipairs(records) do
    lu.assertEquals(r.row.text, typed(TEXTS[i]))
    lu.assertEquals(r.row.texts, typed { TEXTS[i], "b", TEXTS[i], "" })
    lu.assertEquals(r.config, configs[i])
  end
end

function T:test_numbers()
  local rng, configs = lip.rng(3), {}
  local list = { 0.1, -0.1, 1 / 3, 5e-324, 1.7976931348623157e308, 2 ^ 53, math.maxinteger, math.mininteger,
    -(1 << 53) - 1, (1 << 53) + 1, 1e15, 0, -7 }
  while #list < 40 do list[#list + 1] = (rng:uniform() - 0.5) * 10.0 ^ (rng:below(600) - 300) end
  for i, x in ipairs(list) do configs[i] = { number = x, text = x, numbers = { x, -0.25 }, texts = { x } } end
  local records, said = self:send(configs)
  lu.assertIsTable(records, said)
  for i, r in ipairs(records) do
    local x = math.tointeger(list[i]) or list[i]
    lu.assertEquals(r.row.number, typed(x))
    lu.assertEquals(r.row.text, { decimal.text(x), "string" })
    lu.assertEquals(r.row.texts, { { { decimal.text(x), "string" } }, 1 })
    lu.assertEquals(r.row.numbers, { { { x, "number" }, { -0.25, "number" } }, 2 })
  end
end

-- One kind where the script has another: as the word that people would write.
function T:test_other_kinds()
  local records, said = self:send { { number = "inf", text = true, flag = 1, numbers = 64, texts = "a, b" },
    { number = "-inf", text = "inf", flag = "no", numbers = { "inf", 2 }, texts = {} },
    { number = "1e3", flag = true, numbers = "3 4", texts = { true, 2 } } }
  lu.assertIsTable(records, said)
  local rows = {}
  for i, r in ipairs(records) do rows[i] = r.row end
  lu.assertEquals(rows[1].text, { "true", "string" })
  lu.assertEquals(rows[1].number, { "inf", "number" })
  lu.assertEquals(rows[1].flag, { "true", "boolean" })
  lu.assertEquals(rows[1].numbers, typed { 64 })
  lu.assertEquals(rows[1].texts, typed { "a", "b" })
  lu.assertEquals(rows[2].number, { "-inf", "number" })
  lu.assertEquals(rows[2].flag, { "false", "boolean" })
  lu.assertEquals(rows[2].numbers, { { { "inf", "number" }, { 2, "number" } }, 2 })
  lu.assertEquals(rows[2].texts, typed {})
  lu.assertEquals(rows[3].number, { "1000", "number" })
  lu.assertEquals(rows[3].numbers, typed { 3, 4 })
  lu.assertEquals(rows[3].texts, typed { "true", "2" })
end

function T:test_what_the_script_cannot_take()
  for message, config in pairs { ["text: expected a string, got a list"] = { text = { "a" } },
    ["number: expected a number, got 'x'"] = { number = "x" },
    ["number: expected a number, got 'true'"] = { number = true },
    ["flag: expected true or false, got '2'"] = { flag = 2 }, ["numbers: expected a number, got 'a b'"] =
    { numbers = { 1, "a b" } } } do
    local status, said = self:send({ config }, { "--store", "none.db" })
    lu.assertEquals(status, 2)
    lu.assertStrContains(said, "t.lua: " .. message)
  end
  lu.assertFalse(lip.file.exists(self.dir .. "/none.db"))
end

-- Two trials of one run.
function T:test_values_that_are_one()
  local function refused(words, search)
    self:write("t.lua", SCRIPT)
    self:write("s.lua",
      ('local lip = require "lip" return lip.sweep { script = "t.lua", maximise = "v", %s }'):format(search))
    for _, more in ipairs { "--dry-run", "--retries=0" } do
      local status, said = self:sweep("s.lua", more)
      lu.assertEquals(status, 2, search)
      lu.assertStrContains(said, words, false, search)
    end
    lu.assertFalse(lip.file.exists(self.dir .. "/runs.db"))
  end
  refused([[setting 'text': 2 and "2" are one value of it]], 'grid = { text = { 2, 3, "2" } }')
  refused([[setting 'number': 2 and "2.0" are one]], 'grid = { number = { 2, "2.0" } }')
  refused([[setting 'flag': true and "yes" are one]], 'random = { flag = { true, "yes" } }, n = 2')
  refused([[setting 'flag': 0 and false are one]], 'tpe = { flag = lip.choice { 0, false }, number = 1 }, n = 1')
  refused([[setting 'numbers': 64 and [64] are one]], 'grid = { numbers = { 64, { 64 } } }')
  refused([[setting 'texts': "a,b" and ["a","b"] are one]], 'grid = { texts = { "a,b", { "a", "b" } } }')
  refused([[trials 1 and 3 are the same: setting 'text': 2 and "2" are one]],
    'list = { { text = 2 }, { text = "3" }, { text = "2" } }')
  -- beside others they may stand; a function tells them apart
  local records, said = self:send { { text = 2, number = 1 }, { text = "2", number = 2 } }
  lu.assertIsTable(records, said)
  self:write("f.lua",
    'return require "lip".sweep { grid = { a = { 2, "2" } }, run = function(c) return { t = type(c.a) } end }')
  lu.assertEquals((self:sweep "f.lua"), 0)
  records = self:records "f"
  lu.assertEquals({ records[1].row.t, records[2].row.t }, { "number", "string" })
end

function T.test_what_cannot_travel()
  local function no(words, value)
    for _, given in ipairs { { script = "x", grid = { a = { value } } }, { script = "x", list = { { a = value } } },
      { script = "x", grid = { b = { 1 } }, set = { a = value } }, { run = print, grid = { a = { value } } } } do
      local ok, message = pcall(lip.sweep, given)
      lu.assertFalse(ok, words)
      lu.assertStrContains(message, words)
    end
  end
  no("NaN", 0 / 0)
  no("got a function", print)
  no("got a userdata", lip.zeros(2))
  no("got a thread", coroutine.create(print))
  no("got the key x", { x = 1 })
  no("got the key 1.5", { 1, [1.5] = 2 })
  no("got a table", { { { 1 } } })
  no("NaN", { 1, 0 / 0 })
  no("got a function", { print })
  no("UTF-8", "\xff")
  no("UTF-8", "\u{D800}")
  no("zero byte", "a\0b")
  no("zero byte", { "\0" })
  local gap = { 1, 2, 3, 4 }
  gap[2] = nil
  no("gap", gap)
  local silent = { __len = function() return 0 end, __pairs = function() return next, {} end }
  no("got the key x", setmetatable({ x = 1 }, silent))
end

-- ---- words of the command line ----

function T:test_words_of_people()
  self:write("t.lua", SCRIPT)
  self:write("s.lua", 'return require "lip".sweep { script = "t.lua", grid = { flag = { false } } }')
  local function given(name, ...)
    local words = {}
    for _, word in ipairs { ... } do table.move({ "--set", word }, 1, 2, #words + 1, words) end
    local status, said = self:sweep("s.lua", "--name", name, table.unpack(words))
    lu.assertEquals(status, 0, said)
    return self:records(name)[1]
  end
  local r = given("a", "text=007", "number=007", "texts=1e5 b", "numbers=1e5")
  lu.assertEquals(r.row.text, { "007", "string" })
  lu.assertEquals(r.row.number, { "7", "number" })
  lu.assertEquals(r.row.texts, typed { "1e5", "b" })
  lu.assertEquals(r.row.numbers, typed { 100000 })
  lu.assertEquals(r.config, { flag = false, text = "007", number = 7, texts = "1e5 b", numbers = 100000 })
  for i, text in ipairs { "1e5", "0.10", "2.0", "0x10", "true", "-0", "a b,c", "inf" } do
    lu.assertEquals(given("t" .. i, "text=" .. text).row.text, { text, "string" })
  end
  local status, said = self:sweep("s.lua", "--set", "text=\xff")
  lu.assertEquals(status, 2)
  lu.assertStrContains(said, "--set.text: a text that is not UTF-8")
end

-- ---- older stores ----

function T:described(name)
  local text = assert(lip.file.read(self.dir .. "/runs.db.d/sweeps/" .. name .. ".json"))
  return lip.from_json(text).description
end

-- Keys are those of before: SHA-256 of the script's and the configuration, by a program of its own.
function T:test_keys()
  local function key(config)
    local text = ('{"config":%s,"script":"%s"}'):format(config, lip.sha256(SCRIPT))
    self:write("identity", text)
    return require "support_program".output("sha256sum < " .. self.dir .. "/identity"):sub(1, 16)
  end
  local records = self:send { { number = 0.1, text = "inf", numbers = { 64, 0.5 }, texts = { "a", "b.c" } } }
  lu.assertEquals(records[1].key,
    key '{"number":0.10000000000000001,"numbers":[64,0.5],"text":"inf","texts":["a","b.c"]}')
  records = self:send({ { flag = true } }, { "--set", "number=1e-3", "--set", "text=12", "--set", "numbers=64,2" }, "u")
  lu.assertEquals(records[1].key, key '{"flag":true,"number":0.001,"numbers":"64,2","text":12}')
  -- where an older version handed on something else, its result is another's
  records = self:send({ { texts = { "a b" } } }, {}, "v")
  lu.assertNotEquals(records[1].key, key '{"texts":["a b"]}')
  for name, format in pairs { s = 1, u = 1, v = 2 } do
    lu.assertEquals(self:described(name).format, format)
  end
end

-- A sweep of before whose lists were cut is another now; trials whose lists were not keep their results.
function T:test_a_sweep_of_before()
  local list = { { texts = { "a b" } }, { texts = { "p", "q" } }, { number = 0.5 } }
  local records = self:send(list)
  do -- as an older program left it
    local store <close> = assert(require "lip.sweep.store".open(self.dir .. "/runs.db"))
    local description = assert(store:describe "s")
    description.format = 1
    assert(store:replace_description("s", description))
    assert(store.db:exec("UPDATE trials SET key = ? WHERE key = ?", ("0"):rep(16), records[1].key))
  end
  local status, said = self:sweep("s.lua", "-j", "1")
  lu.assertEquals(status, 2)
  lu.assertStrContains(said, "format: 1 -> 2")
  lu.assertStrContains(said, "older programs cut the texts in lists")
  status, said = self:sweep("s.lua", "-j", "1", "--accept")
  lu.assertEquals(status, 0, said)
  lu.assertStrContains(said, "1 trial left the sweep")
  lu.assertEquals(#self:records "s", 3)
  lu.assertEquals(self:records "s"[1].row.texts, typed { "a b" })
end

-- A run of before is run again as it was.
function T:test_reproduce()
  local records, said = self:send { { text = 0.1, texts = { "a b", "c,d" }, numbers = { 1, 2 } } }
  lu.assertIsTable(records, said)
  local folder = self.dir .. "/runs.db.d/trials/" .. records[1].key
  local function reproduce()
    local result = assert(lip.process.run { support.program, "reproduce", "s/1", cwd = self.dir,
      env = { LIPWB_STORE = false } })
    return result.exit, result.output .. result.errors
  end
  local status, text = reproduce()
  lu.assertEquals(status, 0, text)
  lu.assertStrContains(text, '"text":0.1,')
  local told = assert(lip.file.read(folder .. "/trial.json"))
  lu.assertStrContains(told, '"format":2,')
  assert(lip.file.write(folder .. "/trial.json", (told:gsub('"format":2,', '"format":1,'))))
  status, text = reproduce()
  lu.assertEquals(status, 1)
  lu.assertStrContains(text, "row.text[1]")
  local lines = assert(lip.file.read(folder .. "/journal.jsonl"))
  local before = lines:gsub('"text":%["0.1","string"%]', '"text":["0.10000000000000001","string"]'):gsub(
    '"texts":%[%[.-%]%],2%]', '"texts":[[["a","string"],["b","string"],["c","string"],["d","string"]],4]')
  lu.assertNotEquals(before, lines)
  assert(lip.file.write(folder .. "/journal.jsonl", before))
  status, text = reproduce()
  lu.assertEquals(status, 0, text)
end

return T
