-- The mistakes of a first hour: each message names what was expected, what came and what to do, on the script's line.
local lu = require "luaunit"
local lip = require "lip"
local program = require "support_program".program
local folder_of_tests = debug.getinfo(1, "S").source:match "^@(.*)/" or "."

local here = debug.getinfo(1, "S").short_src
local tests = {}

-- f(...) must raise on the line that calls it, with all of the texts.
local function complains(texts, f, ...)
  local arguments = table.pack(...)
  local function call()
    local result = f(table.unpack(arguments, 1, arguments.n)) -- no tail call: this line is the script's
    return result
  end
  local ok, message = pcall(call)
  lu.assertFalse(ok, texts[1])
  for _, text in ipairs(texts) do lu.assertStrContains(message, text) end
  lu.assertStrContains(message, here .. ":")
end

local function net(outputs)
  return lip.net { input = 4, norm = "inf", lip.dense { out = 5 }, lip.relu(), lip.dense { out = outputs or 2 } }
end

local x = lip.rand(1, { 6, 4 })
local labelled, valued = lip.data.tensors(x, { 0, 1, 0, 1, 0, 1 }), lip.data.tensors(x, lip.rand(1, { 6, 2 }))

function tests.test_layers_that_are_none()
  complains({ "element 2", "not a layer but a function", "lip.relu()" }, lip.net,
    { input = 4, norm = 1, lip.dense { out = 2 }, lip.relu })
  complains({ "element 1", 'the string "relu"', "lip.relu()" }, lip.net, { input = 4, norm = 1, "relu" })
  complains({ "chain: element 1", "nil" }, lip.chain, { nil, lip.relu() })
end

function tests.test_norms()
  for _, norm in ipairs { 3, "3", "1>inf", "two" } do
    complains({ "'norm'", "norms are 1, 2 and inf", "1->inf", tostring(norm) }, lip.net,
      { input = 4, norm = norm, lip.dense { out = 2 } })
  end
  complains({ "'norm' is required" }, lip.net, { input = 4, lip.dense { out = 2 } })
  complains({ "2 steps", "1 weighted" }, lip.net, { input = 4, norm = "1->2->inf", lip.dense { out = 2 } })
end

function tests.test_options_of_training()
  complains({ "'loss'", "lip.loss.mse itself: call it, as in lip.loss.mse()" }, lip.train, net(), labelled,
    { loss = lip.loss.mse })
  complains({ "'opt'", "an optimiser such as", "lip.optim.adam itself" }, lip.train, net(), labelled,
    { opt = lip.optim.adam })
  complains({ "'schedule'", "a schedule such as", '"cosine"' }, lip.train, net(), labelled, { schedule = "cosine" })
  complains({ "'validation'", "a data set", "got table" }, lip.train, net(), labelled, { validation = {} })
end

function tests.test_data_that_does_not_fit_the_net()
  local others = lip.data.tensors(x, { 0, 1, 2, 3, 4, 5 })
  complains({ "labels from 0 to 5", "2 outputs", "count from 0" }, lip.train, net(), others)
  complains({ "'validation'", "labels from 0 to 5" }, lip.train, net(), labelled, { validation = others })
  local narrow = lip.data.tensors(lip.zeros(6, 3), { 0, 1, 0, 1, 0, 1 })
  complains({ "samples of 3", "the net takes 4" }, lip.train, net(), narrow)
  complains({ "has values", "cross_entropy needs labels", "lip.loss.mse()" }, lip.train, net(), valued)
  complains({ "has labels", "mse needs values", "lip.loss.cross_entropy()" }, lip.train, net(), labelled,
    { loss = lip.loss.mse() })
  complains({ "has labels", "mse needs values", "one output take lip.loss.hkr() or lip.loss.bce()" }, lip.train, net(1),
    labelled, { loss = lip.loss.mse() })
  local column, half = lip.tensor { { 0 }, { 1 }, { 1 }, { 0 }, { 1 }, { 0 } }, lip.full({ 6, 1 }, 0.5)
  complains({ "has values", "if these are labels, flatten them: y:flatten()" }, lip.train, net(),
    lip.data.tensors(x, column))
  complains({ "needs labels: take lip.loss.mse()\n" }, function(...) -- the end of the message
    local ok, message = pcall(lip.train, ...)
    if not ok then error(message .. "\n", 2) end
  end, net(), lip.data.tensors(x, half))
  lu.assertNotNil(lip.train(net(), lip.data.tensors(x, column:flatten()), { epochs = 1 }))
  local from_1 = lip.data.tensors(x, { 1, 2, 1, 2, 1, 2 })
  complains({ "labels from 1 to 2", "2 outputs", "count from 0" }, lip.train, net(), from_1)
  complains({ "labels from 1 to 2", "one output", "labels 0 and 1, or -1 and 1" }, lip.train, net(1), from_1,
    { loss = lip.loss.hkr() })
  complains({ "neither labels nor values" }, lip.train, net(), lip.data.tensors(x))
  complains({ "2 values", "3 outputs" }, lip.train, net(3), valued, { loss = lip.loss.mse() })
  -- what fits is taken, and what a function makes of the batch is its own affair
  lu.assertNotNil(lip.train(net(), valued, { epochs = 1, loss = lip.loss.mse(), validation = valued }))
  lu.assertNotNil(lip.train(net(1), labelled, { epochs = 1, loss = lip.loss.hinge() }))
  lu.assertNotNil(lip.train(net(), others, { epochs = 1, augment = function(a) return a, { 0, 1, 0, 1, 0, 1 } end }))
end

-- The same guess in C and in Lua, and all known names after it.
function tests.test_misspelt_options()
  complains({ "dense: unknown option 'wieght', did you mean 'weight'? (known: out, bias, weight, " }, lip.dense,
    { out = 2, wieght = "aol" })
  complains({ "hkr: unknown option 'margn', did you mean 'margin'? (known: alpha, margin)" }, lip.loss.hkr, { margn = 1 })
  complains({ "adam: unknown option 'lt', did you mean 'lr'? (known: lr, " }, lip.optim.adam, { lt = 1 })
  complains({ "cosine: unknown option 'warmap', did you mean 'warmup'?" }, lip.schedule.cosine, { warmap = 1 })
  complains({ "net: unknown option 'inptu', did you mean 'input'? (known: input, " }, lip.net, { inptu = 3 }) -- the binding's
  complains({ "net: unknown option 'budgte', did you mean 'budget'?" }, lip.net, { budgte = 3 }) -- and the engine's
  complains({ "cross_entropy: unknown option 'x' (known: temperature, offset)" }, lip.loss.cross_entropy, { x = 1 })
  local distant = ("out"):rep(100)
  complains({ "dense: unknown option 'outout", "out' (known: out, bias" }, lip.dense, { [distant] = 1 })
  local own = lip.layer { name = "softsign_of_messages", options = { scale = 1 }, forward = function(a) return a end }
  complains({ "unknown option 'scael', did you mean 'scale'? (known: scale)" }, own, { scael = 1 })
  complains({ "unknown option 'foward', did you mean 'forward'? (known: " }, lip.layer, { foward = 1 })
  complains({ "train: unknown option 'epoch', did you mean 'epochs'? (known: " }, lip.train, net(), labelled, { epoch = 3 })
  complains({ "csv: unknown option 'seperator', did you mean 'separator'? (known: " }, lip.data.csv, "x", { seperator = 1 })
  complains({ "lbdn: unknown option 'width', did you mean 'widths'?" }, lip.lbdn, { width = {} })
end

function tests.test_data_sets()
  complains({ "label 2", "0.5" }, lip.data.tensors, x, { 0, 0.5, 0, 0, 0, 0 })
  complains({ "6 labels", "got 2" }, lip.data.tensors, x, { 0, 1 })
  complains({ "unknown option 'seperator'" }, lip.data.csv, "none.csv", { seperator = ";" })
  complains({ "unknown option 'dir'", "folder" }, lip.data.mnist, { dir = "." })
  local found, message, code = lip.load(here)
  lu.assertNil(found)
  lu.assertStrContains(message, "not a safetensors file")
  lu.assertEquals(code, "format")
end

function tests.test_figures()
  complains({ "the figure", "unknown option 'panel'", "panels" }, lip.plot, { panel = {} })
  complains({ "panel 1", "unknown option 'titel'" }, lip.plot, { panels = { { titel = "x", series = {} } } })
  complains({ "series 1", "unknown option 'z'" }, lip.plot, { series = { { y = { 1 }, z = 1 } } })
  complains({ "series 1: y", "table or tensor", "got nil" }, lip.plot, { series = { { x = { 1 } } } })
  complains({ "unknown option 'maximum'" }, lip.curve, net():certify(labelled), labelled, { maximum = 1 })
end

-- Called through pcall, where Lua does not know what the caller calls it.
function tests.test_functions_in_tables_say_their_names()
  local function says(texts, f, ...)
    local ok, message = pcall(f, ...)
    lu.assertFalse(ok)
    for _, text in ipairs(texts) do lu.assertStrContains(message, text) end
  end
  for name, f in next, lip.file do
    if name ~= "cwd" and name ~= "temporary" then
      local first = name == "rename" and "from" or "path"
      for _, wrong in ipairs { {}, false, "", "a\0b" } do
        says({ "bad argument #1 to 'lip.file." .. name .. "'", first .. ": " }, f, wrong)
      end
    end
  end
  says({ "#2 to 'lip.file.rename'", "to: string expected, got boolean" }, lip.file.rename, "x", true)
  says({ "#2 to 'lip.file.write'", "text: string expected, got table" }, lip.file.write, "x", {})
  says({ "#2 to 'lip.file.append'", "text: string expected, got nil" }, lip.file.append, "x", nil)
  says({ "file.append: unknown option 'sunc', did you mean 'sync'? (known: sync, below)" }, lip.file.append, "x", "y", { sunc = true })
  says({ "file.append", "'sync'" }, lip.file.append, "x", "y", { sync = 1 })
  says({ "file.stat: unknown option 'links' (known: follow, below)" }, lip.file.stat, "x", { links = true })
  says({ "#1 to 'lip.process.spawn'" }, lip.process.spawn)
  says({ "#1 to 'lip.db.open'" }, lip.db.open, 3)
  says({ "#1 to 'lip.optim.adam'" }, lip.optim.adam, 3)
end

-- The example in README.md, on fewer samples.
function tests.test_the_example()
  local root = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
  local file = assert(io.open(root .. "/../../README.md"))
  local code = file:read("a"):match "\n```lua\n(.-)\n```\n"
  file:close()
  local saved, printed = os.tmpname(), {}
  local function replace(from, to)
    local n
    code, n = code:gsub(from, to)
    lu.assertEquals(n, 1, from)
  end
  replace("lip%.data%.mnist%(%)", "lip.data.digits{n = 600}, lip.data.digits{n = 100, seed = 2}")
  replace("epochs = %d+", "epochs = 1")
  replace("verbose = true", "verbose = false")
  replace('"mnist%.safetensors"', ("%q"):format(saved))
  local function print_to(...) printed[#printed + 1] = table.concat({ ... }, " ", 2, select("#", ...)) end
  assert(load(code, "=README.md", "t", setmetatable({ print = print_to }, { __index = _G })))()
  os.remove(saved)
  lu.assertEquals(#printed, 2)
  lu.assertTrue(tonumber(printed[2]) <= 1) -- the certified share
end

function tests.test_no_gnuplot()
  local out = os.tmpname()
  os.execute(("PATH=/nowhere '%s' -e 'print(lip.plot{series = {{y = {1, 2}}}})' >%s 2>/dev/null"):format(program,
    out))
  local file = assert(io.open(out))
  local text = file:read "a"
  file:close()
  os.remove(out)
  lu.assertEquals(text, "nil\tplot: gnuplot is not installed (package gnuplot-nox)\tnot_found\n")
end

-- Every documented function that is written in Lua, with nil, a number, a text, tables and a function for each of its
-- arguments: what is refused is refused on the script's line, and named.
function tests.test_functions_in_lua_name_their_arguments()
  local folder = lip.file.temporary()
  local script = lip.file.absolute(folder_of_tests .. "/arguments_run.lua")
  local ended = assert(lip.process.run { program, script, cwd = folder,
    env = { LIPWB_OFFLINE = "1", LIPWB_DATA = folder, HOME = folder }, timeout = 120 })
  local found = lip.file.read(folder .. "/wrong.json")
  lip.file.remove_tree(folder)
  lu.assertEquals(ended.exit, 0, ended.errors)
  found = assert(lip.from_json(found))
  lu.assertEquals(found.wrong, "")
  lu.assertTrue(found.calls > 400)
end

function tests.test_one_message_in_full()
  complains({ 'lip.curve: argument 1 (report) expects what net:certify returned, got nil' }, lip.curve)
  complains({ "lip.curve: argument 1 (report) expects what net:certify returned, got a table without tensors labels" },
    lip.curve, {}, labelled)
  complains({ 'lip.figures.budget: argument 1 (records) expects a list of tables, got element 2 that is a number' },
    lip.figures.budget, { {}, 7 })
  complains({ "lip.train: argument 1 (net) expects a net, got nil" }, lip.train)
end

-- Functions of the script: its file and the line where the function begins, not the line that called it.
function tests.test_callbacks_are_named()
  local entropy = lip.loss.cross_entropy()
  local function line_of(f)
    return f == math.floor and "written in C" or ("%s:%d"):format(here, debug.getinfo(f, "S").linedefined)
  end
  local function complains_about(what, texts, options, f)
    local ok, message = pcall(lip.train, net(), labelled, options)
    lu.assertFalse(ok, what)
    lu.assertStrContains(message, ("train: %s (%s)"):format(what, line_of(f)))
    for _, text in ipairs(texts) do lu.assertStrContains(message, text) end
    lu.assertNil(message:find("%.lua:%d+: "), message) -- no other position
  end
  local wrong_loss = {
    [function(z) return 1, lip.zeros(2, 2):add(0 * z:sum()) end] = "gradient does not fit",
    [function() return 1 end] = "must return a number and a tensor, got integer and nil",
    [function() error("my own words", 2) end] = "my own words",
  }
  for f, text in pairs(wrong_loss) do complains_about("the loss", { text }, { loss = f }, f) end
  local wrong_schedule = {
    [function() return "half" end] = "must return a number, got string", [function() return 0 / 0 end] = "got nan",
    [function() return -1 end] = "the learning rate must be a number",
    [function() error("my own words", 2) end] = "my own words",
  }
  for f, text in pairs(wrong_schedule) do complains_about("the schedule", { text }, { schedule = f }, f) end
  local function narrow() return lip.zeros(6, 3) end
  complains_about("augment", { "inputs do not fit" }, { augment = narrow }, narrow)
  complains_about("augment", { "inputs do not fit" },
    { augment = narrow, loss = function(z, y) return entropy:gradient(z, y) end }, narrow)
  local function lost() error("my own words", 2) end
  for _, name in ipairs { "augment", "on_batch", "on_epoch" } do
    complains_about(name, { "my own words" }, { [name] = lost }, lost)
    complains_about(name, { "bad argument #1" }, { [name] = math.floor }, math.floor)
  end
  -- errors with a position of their own pass as they are, and so do objects
  local own = { {}, "a text", 7 }
  for _, e in ipairs(own) do
    for _, name in ipairs { "loss", "schedule", "on_batch", "on_epoch", "augment" } do
      local ok, message = pcall(lip.train, net(), labelled, { [name] = function() error(e, 0) end })
      lu.assertEquals({ ok, message }, { false, e })
    end
  end
  local ok, message = pcall(lip.train, net(), labelled, { on_batch = function() local t = nil; return t.x end })
  lu.assertFalse(ok)
  lu.assertStrMatches(message, ".*test_messages%.lua:%d+: attempt to index a nil value.*")
end

-- Options that one function of lipwb hands on to another: the message names the one that was called, on its line.
function tests.test_options_that_are_handed_on()
  local flat = lip.data.tensors(lip.zeros(6, 4), { 0, 1, 0, 1, 0, 1 })
  local n = lip.net { input = 4, norm = 2, seed = 1, lip.dense { out = 2 } }
  for text, f in pairs {
    ["train: option 'shift' is for images"] = function() lip.train(n, flat, { shift = 2 }) end,
    ["train: option 'seed' expects"] = function() lip.train(n, flat, { seed = math.maxinteger }) end,
    ["train: option 'checkpoint' expects a file name"] = function() lip.train(n, flat, { checkpoint = "a\0b" }) end,
    ["verify: option 'eps' expects numbers"] = function() lip.verify(n, flat, { eps = -1 }) end,
    ["verify: option 'box' expects {from, to}"] = function() lip.verify(n, flat, { eps = 1, box = 3 }) end,
    ["verify: option 'eps' expects a finite"] = function() lip.verify(n, flat, { eps = math.huge }) end,
    ["verify: option 'seed' expects"] = function() lip.verify(n, flat, { eps = 100, seed = -1 }) end,
  } do
    local ok, message = pcall(f)
    lu.assertFalse(ok, text)
    lu.assertStrMatches(message, "[^:]*test_messages%.lua:%d+: " .. text:gsub("%p", "%%%0") .. ".*")
  end
end

return tests
