-- Texts for machines are the same whatever os.setlocale was told: every writer runs under a decimal comma and without
-- one, and the bytes are compared. What the user's own code prints stays the user's.
local lu = require "luaunit"
local lip = require "lip"
local support = require "support_program"

local file, quote = lip.file, support.quote

local T = {}

function T:setupClass()
  self.dir = assert(file.temporary())
  local _, made = support.run(("localedef -i de_DE -f UTF-8 %s 2>&1"):format(quote(self.dir .. "/de_DE.UTF-8")))
  self.made = made
end

function T:teardownClass()
  file.remove_tree(self.dir)
end

function T:setUp()
  if not self.made then lu.skip "localedef cannot make a locale with a decimal comma (Debian: package locales)" end
end

-- Runs `text` in a folder of its own, once for each locale; what it printed and wrote: { name = contents }.
function T:both(text, words)
  local seen = {}
  for i, locale in ipairs { "C", "de_DE.UTF-8" } do
    local folder = ("%s/%d"):format(self.dir, i)
    file.remove_tree(folder)
    assert(file.mkdir(folder))
    assert(file.write(folder .. "/chunk.lua", ("local comma = %q ~= 'C'\nassert(os.setlocale(%q))\n"):format(locale,
      locale) .. (words and "" or "assert(('%.1f'):format(0.5) == (comma and '0,5' or '0.5'))\n") .. text))
    local output, ok = support.run(("cd %s && LOCPATH=%s %s %s 2>&1"):format(quote(folder), quote(self.dir),
      quote(support.program), words or "chunk.lua"))
    lu.assertTrue(ok, output)
    seen[i] = { ["standard output"] = output }
    for _, name in ipairs(file.list(folder)) do
      if name ~= "chunk.lua" and file.stat(folder .. "/" .. name).kind == "file" then
        seen[i][name] = assert(file.read(folder .. "/" .. name))
      end
    end
  end
  return seen[1], seen[2]
end

function T:same(text)
  local plain, comma = self:both(text)
  local names = {}
  for name, contents in pairs(plain) do
    names[#names + 1] = name
    lu.assertTrue(comma[name] == contents, ("%s differs: %s"):format(name, (comma[name] or "nothing"):match "[^\n]*%d,%d[^\n]*"
      or "elsewhere"))
  end
  return names
end

local head = [[
  local lip = require "lip"
  local x = lip.rand and lip.rand(lip.rng(1), 40, 3) or lip.randn(lip.rng(1), 40, 3)
  local labels = {}
  for i = 1, 40 do labels[i] = i % 3 end
  local set = lip.data.tensors(x, labels)
  local net = lip.net{ input = 3, norm = 2, budget = 2.5, seed = 1,
    lip.dense{ out = 4 }, lip.leaky_relu{ slope = 0.25 }, lip.dense{ out = 3 } }
]]

function T:test_nets_and_what_is_proved_of_them()
  local names = self:same(head .. [[
    local seen = {}
    assert(lip.train(net, set, { epochs = 2, batch = 8, validation = set, checkpoint = "run.st",
      on_epoch = function() seen[#seen + 1] = ("%.1f"):format(0.5) end }))
    assert(seen[1] == (comma and "0,5" or "0.5")) -- a callback is the user's
    net:project()
    assert(net:save "net.st")
    assert(net:certificate("net.cert", set, { eps = 0.125 }))
    local bound = net:bound()
    print(net, bound, x, lip.dense{ out = 3 }, lip.leaky_relu{ slope = 0.25 })
    print(lip.inspect "net.st".metadata.bound)
    print(lip.to_json{ [0.5] = 1, a = 0.25, b = { 1e-300, 1.5 }, [1.25] = { x = 2.5 } })
    local _, message = pcall(lip.dense, { out = 2.5 })
    print((message:gsub("^.-: ", "")))
    print(select(3, lip.load "run.st").text)
    assert(lip.train(net, set, { epochs = 3, batch = 8, validation = set, checkpoint = "run.st", resume = true,
      verbose = false }) or true)
    assert(("%.1f"):format(0.5) == (comma and "0,5" or "0.5"))
  ]])
  table.sort(names)
  lu.assertEquals(names, { "net.cert", "net.st", "run.st", "standard output" })
end

function T:test_readers()
  self:same [[
    local lip = require "lip"
    assert(lip.file.write("t.csv", "a,b\n0.5,1.25\n-2e-1,3\n"))
    local set = assert(lip.data.csv "t.csv")
    local x = set:batch(1, 2)
    assert(x:totable()[1][1] == 0.5 and x:totable()[2][2] == 3)
    assert(lip.from_json '{"a": [0.5, 1.5e300]}'.a[2] == 1.5e300)
    local ok = lip.data.csv("t.csv", { separator = ";" })
    print(ok)
    local f = io.open("comma.csv", "w") f:write "0,5;1\n" f:close()
    print(lip.data.csv("comma.csv", { separator = ";", header = false }))
  ]]
end

function T:test_queries()
  self:same(head .. [[
    local q = assert(lip.property.vnnlib{ text = "(declare-const X_0 Real)(declare-const Y_0 Real)"
      .. "(assert (or (<= X_0 0.1) (and (>= (* 2.5 Y_0) 1.25e-1) (<= Y_0 1e9))))" })
    print(q, q:text(), q:text{ version = 2 }, (q:box()), q:holds(lip.tensor{ 0.125 }, lip.tensor{ 0.05 }))
    print(lip.to_json(q:spec(2)))
  ]])
end

function T:test_figures()
  if not select(2, support.run "gnuplot --version 2>&1") then lu.skip "gnuplot is not installed" end
  self:same(head .. [[
    assert(lip.plot{ file = "a.svg", title = "t", logx = true, yrange = { 0.25, 2.5 },
      series = { { x = { 0.5, 1.5, 2.5 }, y = { 0.25, 0.75, 1.5 }, low = { 0.1, 0.2, 0.3 }, high = { 0.4, 1.2, 2 } } },
      levels = { { y = 0.5 } }, verticals = { { x = 0.75 } }, notes = { { x = 1.5, y = 0.5, text = "n" } } })
    local function draw(name, fig) fig.file = name assert(lip.plot(fig)) end
    draw("weights.svg", lip.figures.weights(net))
    draw("singular.svg", lip.figures.singular(net))
    draw("bounds.svg", lip.figures.bounds{ lip.figures.moment(net, 1), lip.figures.moment(net, 2) })
    local records = {}
    for i = 1, 4 do
      records[i] = { state = "done", seed = 1, config = { budget = i / 2 }, row = { clean = i / 10, cost = 1.5 / i } }
    end
    draw("budget.svg", lip.figures.budget(records))
    draw("pareto.svg", lip.figures.pareto(records, "cost", "clean"))
    print((lip.plot{ inline = true, series = { { y = { 0.5, 1.5 } } } }))
    lip.plot{ file = "-", series = { { y = { 0.5, 1.5 } } } }
  ]])
end

function T:test_texts_of_the_system()
  self:same [[
    local lip = require "lip"
    assert(lip.file.write("number", 0.5))
    assert(lip.file.append("number", 1.5))
    local db = assert(lip.db.open "rows.db")
    assert(db:exec "create table t (x)")
    assert(db:exec("insert into t values (?)", 0.5))
    print(lip.to_json(db:row "select x, x || '' as text, printf('%g', x) as p from t"))
    db:close()
    os.remove "rows.db"
  ]]
end

-- A sweep file may set the locale; what the sweep stores and exports does not follow.
function T:test_a_sweep()
  local text = [[
    local lip = require "lip"
    return lip.sweep{ grid = { budget = { 0.5, 1.5 } },
      run = function(config)
        assert(os.setlocale(comma and "de_DE.UTF-8" or "C"))
        return { clean = config.budget / 4, ["certified@0.1"] = 0.125, [0.25] = 1 }
      end }
  ]]
  local seen = {}
  for i in ipairs { self:both(text, "sweep chunk.lua --store runs.db -j 1 >/dev/null && cd . ") } do
    seen[i] = support.output(("cd %s/%d && %s runs export csv - --store runs.db 2>&1"):format(quote(self.dir), i,
      quote(support.program)))
  end
  local function kept(csv)
    local names, lines = {}, {}
    for line in csv:gmatch "[^\n]+" do lines[#lines + 1] = line end
    for name in ((lines[1] or "") .. ","):gmatch "([^,]*)," do names[#names + 1] = name end
    return lines, names
  end
  local lines, names = kept(seen[2])
  lu.assertEquals(#lines, 3, seen[2])
  lu.assertEquals(select(2, kept(seen[1])), names)
  for _, line in ipairs(lines) do -- as many fields everywhere: no comma came in
    local _, n = line:gsub(",", "")
    lu.assertEquals(n + 1, #names, line)
  end
end

return T
