-- help(): nothing public is without its line, and what is shown comes from the tables of the engine.
local lu = require "luaunit"
local lip = require "lip"
local core = require "lip.core"
local help = require "lip.help"
local sections = require "lip.help_text"

-- what print writes while f runs
local function printed(f, ...)
  local lines, old = {}, print
  rawset(_G, "print", function(...)
    local parts = table.pack(...)
    for i = 1, parts.n do parts[i] = tostring(parts[i]) end
    lines[#lines + 1] = table.concat(parts, "\t")
  end)
  local ok, message = pcall(f, ...)
  rawset(_G, "print", old)
  if not ok then error(message, 0) end
  return table.concat(lines, "\n")
end

local tests = {}

function tests.test_every_function_has_a_line()
  local described = {}
  for _, registry in ipairs(help.registries()) do
    for _, row in ipairs(registry[3]) do described["lip " .. row.name] = registry[2] == "lip." end
  end
  help.each_line(function(section, name) described[section[3] .. " " .. name] = true end)
  local missing = {}
  for name, value in next, core do
    if type(value) == "function" and not described["lip " .. name] then missing[#missing + 1] = "lip." .. name end
  end
  for type_name in pairs(debug.getregistry()) do
    local methods = type(type_name) == "string" and type_name:find "^lip%." and help.methods_of(type_name)
    for name, value in next, methods or {} do
      if type(value) == "function" and not name:find "^__" and not described["type:" .. type_name .. " " .. name] then
        missing[#missing + 1] = type_name .. ":" .. name
      end
    end
  end
  table.sort(missing)
  lu.assertEquals(missing, {}, "add a line for each to scripts/lip/help_text.lua")
end

-- What completion offers comes from these lines: nothing that is not there, and nothing of the engine's twice.
function tests.test_names_that_may_be_loaded()
  local names = getmetatable(lip).__names()
  local offered = {}
  for _, name in ipairs(names) do
    lu.assertNil(offered[name], name)
    offered[name] = true
    local kind = type(lip[name])
    lu.assertTrue(kind == "function" or kind == "table", ("lip.%s is %s"):format(name, kind))
  end
  lu.assertTrue(#names < 60 and not offered.tensor and not offered.file, table.concat(names, " "))
  for name in ("train data sweep asha uniform figures trial help args"):gmatch "%w+" do
    lu.assertTrue(offered[name] or rawget(lip, name) ~= nil, name) -- completion sees what is loaded anyway
  end
  lu.assertEquals(getmetatable(lip).__names(), {}, "now all of them are loaded")
end

function tests.test_lines_are_well_formed()
  local n = 0
  for _, section in ipairs(sections) do
    lu.assertEquals(#section, 4)
    local seen = {}
    for line in section[4]:gmatch "[^\n]+" do
      local name = line:match "^([%w_]+)[({].* %-%- %S.*$"
      lu.assertNotNil(name, line)
      lu.assertNil(seen[name], line .. " stands twice")
      seen[name] = true
      n = n + 1
      lu.assertTrue(#line <= 110, line)
    end
  end
  lu.assertTrue(n > 50)
end

function tests.test_index()
  local text = printed(help)
  lu.assertStrContains(text, "lip.args{name = default, ...}")
  lu.assertStrContains(text, "lip.info()")
  for _, registry in ipairs(help.registries()) do
    for _, row in ipairs(registry[3]) do lu.assertStrContains(text, registry[2] .. row.name) end
  end
  lu.assertTrue(#text < 15000)
end

function tests.test_one_thing()
  lu.assertStrContains(printed(help, lip.info), "lip.info()")
  lu.assertStrContains(printed(help, "info"), "lip.info()")
  lu.assertStrContains(printed(help, "lip.threads"), "threads(n)")
  lu.assertStrContains(printed(help, "no such thing"), "nothing is known")
  lu.assertStrContains(printed(help, nil), "nothing is known")
  lu.assertStrContains(printed(help, "t[p%e"), "nothing is known")
  local tpe = printed(help, "tpe") -- an option, with those that belong to it
  lu.assertStrContains(tpe, "lip.sweep, option tpe")
  lu.assertStrContains(tpe, "startup = n / 4")
  lu.assertStrContains(tpe, "ahead = 4")
  lu.assertStrContains(printed(help, 12), "nothing is known")
  lu.assertStrContains(printed(help, io.stdout), "nothing is known")
  lu.assertEquals(printed(help, lip), printed(help))
end

-- Functions in tables of the module; words before letters.
function tests.test_functions_of_modules_and_words()
  lu.assertStrContains(printed(help, lip.trial.report), "lip.trial.report(step, values, total)")
  lu.assertStrContains(printed(help, lip.figures.pareto), "lip.figures.pareto(")
  lu.assertStrContains(printed(help, lip.file.read), "lip.file.read(")
  lu.assertNil(printed(help, "store"):find "restore")
  lu.assertStrContains(printed(help, "store"), "--store FILE")
  lu.assertStrContains(printed(help, "grid"), "lip.sweep, option grid")
  lu.assertStrContains(printed(help, "restor"), "lip.restore(")
end

function tests.test_layers_show_their_options()
  lu.skipIf(not rawget(lip, "layers"), "no layers in this build")
  for _, row in ipairs(lip.layers()) do
    local text = printed(help, lip[row.name])
    lu.assertStrContains(text, "lip." .. row.name .. "{...}")
    lu.assertEquals(printed(help, row.name):sub(1, #text), text)
    for _, option in ipairs(row.options) do
      lu.assertStrContains(text, option.name .. " = ")
      lu.assertStrContains(text, option.help)
    end
  end
end

-- Of exactly the layers that take one.
function tests.test_layers_show_their_projection()
  local own = lip.projection(function(w) return w end)
  for _, row in ipairs(lip.layers()) do
    local options = { projection = own }
    for _, o in ipairs(row.options) do
      if o.required then options[o.name] = o.choices and o.choices[1] or 4 end
    end
    local _, message = pcall(lip[row.name], options)
    local known = not tostring(message):find("unknown option 'projection'", 1, true)
    lu.assertEquals(printed(help, lip[row.name]):find("projection = none", 1, true) ~= nil, known, row.name)
    if row.name == "dense" or row.name == "conv2d" then lu.assertTrue(known, row.name) end
  end
  lu.assertErrorMsgContains("projection", lip.dense, { nothing = 1 })
  local text = printed(help, lip.projection)
  for _, part in ipairs { "(OUT, IN)", "(OUT, IN / groups, kh, kw)", "share", "project_every", "net:project()" } do
    lu.assertStrContains(text, part)
  end
end

function tests.test_weights_are_explained_where_they_are_taken()
  local dense, conv = printed(help, lip.dense), printed(help, lip.conv2d)
  for _, w in ipairs(lip.weights()) do
    lu.assertTrue(w.dense or w.conv)
    lu.assertEquals(dense:find(w.help, 1, true) ~= nil, w.dense, w.name)
    lu.assertEquals(conv:find(w.help, 1, true) ~= nil, w.conv, w.name)
  end
end

-- What stands in an option of something else leads there, whether something is called so or not.
function tests.test_choices_and_options_lead_to_what_takes_them()
  for _, w in ipairs(lip.weights()) do
    local text = printed(help, w.name)
    lu.assertStrContains(text, ("weight = %q: %s"):format(w.name, w.help))
    for layer, fits in pairs { ["lip.dense"] = w.dense, ["lip.conv2d"] = w.conv } do
      lu.assertEquals(text:find(layer, 1, true) ~= nil, fits, w.name)
    end
  end
  local bro = printed(help, "exponential") -- a schedule and a weight
  lu.assertStrContains(bro, "lip.schedule.exponential{...}")
  lu.assertStrContains(bro, 'weight = "exponential"')
  lu.assertStrContains(bro, "exponential 8.7") -- and what it costs
  lu.assertStrContains(printed(help, "nesterov"), "of: lip.optim.sgd")
  lu.assertStrContains(printed(help, "margin"), "of: lip.loss.hkr lip.loss.lse_hkr")
  lu.assertStrContains(printed(help, "rowwise"), "of: lip.net")
  lu.assertStrContains(printed(help, "seed"), "lip.train, option seed") -- of functions as before
  lu.assertStrContains(printed(help, "multiplier"), "one of lip.bound_methods()")
  local n, stride = 0, os.getenv "LIPWB_GC_STRESS" == "1" and 13 or 1 -- a merciless collector looks at some of them
  local function each_choice(owner, options)
    for _, o in ipairs(options) do
      for _, choice in ipairs(o.choices or {}) do
        n = n + 1
        if n % stride > 0 then goto next end
        local text = printed(help, choice)
        lu.assertStrContains(text, ("%s = %q"):format(o.name, choice))
        lu.assertStrContains(text, owner)
        ::next::
      end
    end
  end
  for _, registry in ipairs(help.registries()) do
    for _, row in ipairs(registry[3]) do each_choice(registry[2] .. row.name, row.options) end
  end
  each_choice("lip.net", lip.net_options())
end

-- Words of the field: each leads to names that help() knows, and none hides what is called so.
function tests.test_words_of_the_field()
  local seen, words, names, stride = {}, 0, 0, os.getenv "LIPWB_GC_STRESS" == "1" and 13 or 1
  for _, row in ipairs(require "lip.help_words") do
    lu.assertEquals(#row, 3)
    for word in row[1]:gmatch "%S+" do
      lu.assertNil(seen[word], word .. " stands twice")
      seen[word], words = true, words + 1
      if words % stride > 0 then goto next end
      local text = printed(help, word)
      lu.assertStrContains(text, word .. ": " .. row[2])
      for _, name in ipairs(row[3]) do
        lu.assertStrContains(text, " " .. name)
        lu.assertNil(printed(help, name):find("nothing is known about '" .. name, 1, true), name)
        names = names + 1
      end
      ::next::
    end
  end
  lu.assertTrue(names > 60 / stride)
  lu.assertStrContains(printed(help, "orthonormal"), "cayley")
  lu.assertStrContains(printed(help, "wasserstein"), "loss.hkr")
  lu.assertStrContains(printed(help, "robust"), "certify")
  lu.assertNil(printed(help, "obust"):find("robust:", 1, true)) -- whole words
end

-- help() and the functions themselves agree on the options: each is called with one that does not exist.
function tests.test_functions_show_their_options()
  lu.skipIf(not rawget(lip, "net"), "no nets in this build")
  local options = require "lip.options"
  local net = lip.net { input = 2, norm = 2, lip.dense { out = 2 } }
  local ds = lip.data.tensors(lip.zeros(2, 2), { 0, 1 })
  local wrong = { no_such_option = 1 }
  local calls = {
    ["lip.load"] = { lip.load, "none", wrong }, ["lip.lbdn"] = { lip.lbdn, wrong },
    ["lip.layer"] = { lip.layer, wrong },
    ["lip.train"] = { lip.train, net, ds, wrong }, ["lip.curve"] = { lip.curve, net:certify(ds), ds, wrong },
    ["lip.attack"] = { lip.attack, net, ds, wrong }, ["lip.verify"] = { lip.verify, net, ds, wrong },
    ["lip.sweep"] = { lip.sweep, wrong },
    ["lip.asha"] = { lip.asha, wrong }, ["lip.median"] = { lip.median, wrong },
    ["lip.plot"] = { lip.plot, { panels = {}, no_such_option = 1 } },
    ["lip.figures.budget"] = { lip.figures.budget, {}, wrong },
    ["lip.figures.pareto"] = { lip.figures.pareto, {}, "clean", "bound", wrong },
    ["lip.figures.radius"] = { lip.figures.radius, { x = {}, y = {} }, nil, wrong },
    ["lip.figures.certified"] = { lip.figures.certified, net, ds, net:certify(ds), wrong },
    ["lip.figures.losses"] = { lip.figures.losses, {}, wrong },
    ["lip.figures.bounds"] = { lip.figures.bounds, {}, wrong },
    ["lip.figures.weights"] = { lip.figures.weights, net, wrong },
    ["lip.figures.singular"] = { lip.figures.singular, net, wrong },
    ["lip.figures.images"] = { lip.figures.images, lip.zeros(1, 4), lip.zeros(1, 4), wrong },
    ["lip.figures.fit"] = { lip.figures.fit, { 0, 1 }, { 0, 1 }, net, 1, wrong },
    ["lip.tensorboard"] = { lip.tensorboard, wrong },
    ["lip.args"] = { lip.args, { a = { 1, "help", min = 0, no_such_option = 1 } } },
    ["lip.data.mnist"] = { lip.data.mnist, wrong }, ["lip.data.fashion_mnist"] = { lip.data.fashion_mnist, wrong },
    ["lip.data.main_dataset"] = { lip.data.main_dataset, wrong }, ["lip.data.digits"] = { lip.data.digits, wrong },
    ["lip.data.csv"] = { lip.data.csv, "none.csv", wrong },
    ["lip.data.idx"] = { lip.data.idx, "none.idx", "none.idx", wrong },
    ["lip.data.npy"] = { lip.data.npy, "none.npy", "none.npy", wrong },
    ["lip.data.tensors"] = { lip.data.tensors, lip.zeros(1, 2), { 0 }, wrong },
    ["lip.db.open"] = { lip.db.open, ":memory:", wrong },
    ["net:backward"] = { net.backward, net, net:forward(lip.zeros(1, 2)), wrong },
    ["net:forward"] = { net.forward, net, lip.zeros(1, 2), wrong },
    ["net:predict"] = { net.predict, net, lip.zeros(1, 2), wrong },
    ["net:project"] = { net.project, net, wrong }, ["net:evaluate"] = { net.evaluate, net, ds, wrong },
    ["net:bound"] = { net.bound, net, wrong }, ["net:certify"] = { net.certify, net, ds, wrong },
    ["net:ranges"] = { net.ranges, net, lip.zeros(1, 2), 1, wrong },
    ["net:decide"] = { net.decide, net, {}, wrong },
    ["net:jacobian"] = { net.jacobian, net, lip.zeros(1, 2), 1, wrong },
    ["net:certificate"] = { net.certificate, net, "none", ds, wrong },
    ["lip.onnx"] = { lip.onnx, "none", wrong },
    ["net:save"] = { net.save, net, "none", wrong }, ["net:export"] = { net.export, net, wrong },
    ["net:load_weights"] = { net.load_weights, net, "none", wrong },
    ["ds:batches"] = { ds.batches, ds, wrong },
  }
  for _, name in ipairs(options.names()) do
    lu.assertNotNil(calls[name], "add a call for " .. name)
    local ok, message = pcall(table.unpack(calls[name]))
    lu.assertFalse(ok, name)
    lu.assertStrContains(message, "'no_such_option'", false, name)
    local accepted, described = {}, {}
    for word in message:match "%(known: (.*)%)":gmatch "[%a_]+" do accepted[#accepted + 1] = word end
    local text = printed(help, name)
    for _, row in ipairs(options.of(name)[1]) do
      described[#described + 1] = row.name
      lu.assertStrContains(text, row.name .. " = " .. row.default)
      lu.assertStrContains(text, row.help)
    end
    lu.assertItemsEquals(described, accepted, name)
  end
  lu.assertErrorMsgContains("known: input, ", lip.net, { norms = 1 })
  lu.assertErrorMsgContains(", norm)", lip.net, { norms = 1 })
  lu.assertStrContains(printed(help, lip.net), "norm = required")
end

function tests.test_tables_show_what_they_hold()
  local text = printed(help, "loss")
  lu.assertStrContains(text, "lip.loss.mse")
  lu.assertStrContains(text, "loss:value(z, y)")
  lu.assertStrContains(printed(help, lip.optim), "lip.optim.sgd")
  lu.assertStrContains(printed(help, "data"), "lip.data.csv(path, options)")
  lu.assertStrContains(printed(help, lip.data.csv), "lip.data.csv(path, options)")
  lu.assertStrContains(printed(help, "ds"), "ds:batches(options)")
end

-- Examples are code that runs: the indented lines of a note up to its text.
function tests.test_notes()
  local notes, seen = require "lip.help_notes", 0
  local x, w, y = lip.rand(1, { 4, 3 }), lip.rand(2, { 3, 2 }), lip.tensor(0, 1, 0, 1)
  local train = lip.data.tensors(lip.rand(3, { 8, 1, 28, 28 }), lip.tensor(0, 1, 2, 3, 4, 5, 6, 9))
  local world = setmetatable({ lip = lip, train = train, x = x, w = w, labels = y, dy = lip.ones(4, 2), data = lip.data.tensors(x, y),
    net = lip.net { input = 3, norm = 2, lip.dense { out = 2 } } }, { __index = _G })
  help.each_line(function(section, name)
    local note = notes[section[2] .. name]
    if not note then return end
    lu.assertStrContains(printed(help, section[2] .. name), note:match "[^\n]+", false, name)
    local code = {}
    for line in note:gmatch "[^\n]+" do
      local goes_on = line:find "^  " or line:find "^local " or line:find "^lip%.train" or line:find "^end"
      if not goes_on then break end
      code[#code + 1] = line
    end
    assert(load(table.concat(code, "\n"), "=" .. name, "t", world))()
    seen = seen + 1
  end)
  for _, registry in ipairs(help.registries()) do -- these are words alone
    for _, row in ipairs(registry[3]) do
      local note = notes[registry[2] .. row.name]
      if note then
        lu.assertStrContains(printed(help, registry[2] .. row.name), note:match "[^\n]+")
        lu.assertStrContains(lip.doc(), note)
        seen = seen + 1
      end
    end
  end
  local all = 0
  for _ in pairs(notes) do all = all + 1 end
  lu.assertEquals(seen, all)
end

function tests.test_reference()
  local page, stubs = lip.doc(), lip.doc "stubs"
  lu.assertNotNil(load(stubs, "stubs", "t")) -- it is Lua
  local table_of_stubs = load(stubs)()
  lu.assertStrContains(page, "| `checkpoint_every` | 0 |")
  lu.assertStrContains(stubs, "---@param options? lip.train_options")
  for _, name in ipairs { "args", "info", "threads" } do lu.assertIsFunction(table_of_stubs[name]) end
  for _, registry in ipairs(help.registries()) do
    for _, row in ipairs(registry[3]) do
      lu.assertStrContains(page, "`" .. registry[2] .. row.name .. "{...}`")
      lu.assertStrContains(stubs, "function " .. registry[2] .. row.name .. "(options) end")
      for _, option in ipairs(row.options) do lu.assertStrContains(page, "`" .. option.name .. "`") end
    end
  end
  help.each_line(function(section, name)
    lu.assertStrContains(page, "`" .. section[2] .. name)
    lu.assertStrContains(stubs, name .. "(")
  end)
  lu.assertFalse((pcall(lip.doc, "poem")))
end

function tests.test_objects_show_their_methods()
  lu.skipIf(not rawget(lip, "rng"), "no generator in this build")
  local text = printed(help, lip.rng(1))
  lu.assertStrContains(text, "rng:uniform()")
  lu.assertStrContains(printed(help, "rng.below"), "rng:below(n)")
  lu.assertStrContains(printed(help, "rng:below"), "rng:below(n)")
end

return tests
