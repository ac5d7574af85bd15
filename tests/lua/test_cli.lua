-- The program from outside: options, exit status, settings, a session through a pipe, Ctrl-C.
local lu = require "luaunit"
local lip = require "lip"

local outside = require "support_program"
local program, quote = outside.program, outside.quote

local slurp, spill, shell, run, run_script = outside.slurp, outside.spill, outside.shell, outside.start, outside.script

-- Starts the program on `code`, which prints "ready" once it is where it should be stopped; sends SIGINT `times` times.
local function interrupt(code, times)
  local script, out, err = spill(code), os.tmpname(), os.tmpname()
  local command = ([[
    %s %s >%s 2>%s & pid=$!
    (i=0
     while kill -0 $pid; do
       sleep 0.1
       i=$((i + 1))
       if [ $i -ge 1000 ]; then kill -9 $pid; fi
     done) >/dev/null 2>&1 &
    n=0
    while [ $n -lt %d ]; do
      n=$((n + 1))
      until [ "$(grep -c ready %s)" -ge $n ] || ! kill -0 $pid 2>/dev/null; do sleep 0.05; done
      kill -INT $pid
    done
    wait $pid; status=$?
    exit $status]]):format(quote(program), script, out, err, times or 1, out)
  local _, _, status = os.execute("sh -c " .. quote(command) .. " 2>/dev/null")
  os.remove(script)
  return status, slurp(out), slurp(err)
end

local tests = {}

function tests.test_help_of_a_script_without_settings()
  local status, out = run_script("print 'ran'", "--help")
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "declares no settings (lip.args); it was not run\n")
end

function tests.test_version_and_help()
  local status, out = run "--version"
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "lipwb " .. lip.version)
  lu.assertStrContains(out, "Lua 5.4")
  lu.assertStrContains(out, lip.arch)
  status, out = run "--help"
  lu.assertEquals(status, 0)
  for _, option in ipairs { "--set", "--data", "--plot", "--threads", "--version", "-e", "-i" } do lu.assertStrContains(out, option) end
end

function tests.test_wrong_usage()
  for _, words in ipairs { "--nonsense", "-e", "--set novalue", "--set =1", "--threads 0", "--threads 65", "--threads two",
    "--threads", "--seed -1", "-x" } do
    local status, out, err = run(words)
    lu.assertEquals(status, 2, words)
    lu.assertEquals(out, "", words)
    lu.assertStrContains(err, "usage: lipwb", false, words)
  end
end

function tests.test_exit_status()
  lu.assertEquals(run "-e 'x = 1'", 0)
  lu.assertEquals(run "-e 'os.exit(7)'", 7)
  local status, _, err = run "-e 'error(\"boo\")'"
  lu.assertEquals(status, 1)
  lu.assertStrContains(err, "boo")
  lu.assertStrContains(err, "stack traceback")
  status, _, err = run "-e 'x ='"
  lu.assertEquals(status, 1)
  lu.assertStrContains(err, "near <eof>")
  status, _, err = run "/nowhere/at/all.lua"
  lu.assertEquals(status, 1)
  lu.assertStrContains(err, "/nowhere/at/all.lua")
  status, _, err = run "-e 'error(setmetatable({}, {__tostring = function() return \"an object\" end}))'"
  lu.assertEquals(status, 1)
  lu.assertStrContains(err, "an object")
  status, _, err = run "-e 'error()'"
  lu.assertEquals(status, 1)
  lu.assertStrContains(err, "nil value")
end

function tests.test_output_that_cannot_be_written()
  lu.skipIf(not io.open("/dev/full", "w"), "no /dev/full")
  lu.assertEquals(shell(quote(program) .. " -e 'print(1)' >/dev/full"), 1)
end

function tests.test_the_state_is_closed()
  local _, out = run "-e 'keep = setmetatable({}, {__gc = function() print \"closed\" end})'"
  lu.assertEquals(out, "closed\n")
end

function tests.test_arguments()
  local status, out, _, path = run_script("print(arg[0], #arg, ...)", "one --two 'three four' -- --threads 2")
  lu.assertEquals(status, 0)
  lu.assertEquals(out, path .. "\t5\tone\t--two\tthree four\t--threads\t2\n")
  status, out = run("- a b", "print(#arg, ...)")
  lu.assertEquals(status, 0)
  lu.assertEquals(out, "2\ta\tb\n")
end

-- A chunk before the script may put anything into the global.
function tests.test_arguments_that_are_none()
  for _, code in ipairs { "arg = 'abc'", "arg = 7", "arg = nil", "arg = print" } do
    local status, out, err = run(("-e %s - a b"):format(quote(code)), "print 'started'")
    lu.assertEquals({ status, out }, { 1, "" }, code)
    lu.assertStrContains(err, "'arg' is no table")
  end
  for _, length in ipairs { "-5", "1 << 40", "0 / 0" } do
    local code = ("setmetatable(arg, { __len = function() return %s end })"):format(length)
    local status, out = run(("-e %s - a b"):format(quote(code)), "print(...)")
    lu.assertEquals({ status, out }, { 0, "a\tb\n" }, code)
  end
end

function tests.test_threads()
  local code = "print(require 'lip'.threads())"
  local _, out = run_script(code, "--threads 3")
  lu.assertEquals(out, "3\n")
  _, out = run("--threads=5 -e " .. quote(code))
  lu.assertEquals(out, "5\n")
  local before = lip.threads()
  lu.assertEquals(lip.threads(2), 2)
  lu.assertEquals(lip.info().threads, 2)
  for _, bad in ipairs { 0, 65, -1, 1.5, "x", {} } do lu.assertFalse((pcall(lip.threads, bad))) end
  lu.assertEquals(lip.threads(), 2)
  lip.threads(before)
end

function tests.test_kernels()
  local _, out = shell("LIPWB_KERNELS=plain " .. quote(program) .. " --version")
  lu.assertStrContains(out, "plain loops")
  lu.skipIf(not lip.info().blas:find "blis", "no BLIS in this build")
  _, out = shell("LIPWB_KERNELS=generic " .. quote(program) .. " --version")
  lu.assertStrMatches(out:match "blas +([^\n]*)", "blis %S+ generic")
  _, out = shell("LIPWB_KERNELS=abacus " .. quote(program) .. " --version")
  lu.assertStrMatches(out:match "blas +([^\n]*)", "blis %S+ %S+ %(LIPWB_KERNELS ignored%)")
end

function tests.test_data_folder()
  local code = "print(require 'lip'.settings.data)"
  local _, out = shell("LIPWB_DATA=/a/b " .. quote(program) .. " -e " .. quote(code))
  lu.assertEquals(out, "/a/b\n")
  _, out = shell("LIPWB_DATA=/a/b " .. quote(program) .. " --data / -e " .. quote(code))
  lu.assertEquals(out, "/\n")
  local status, _, err = run "--data /no/such/folder -e 'print(1)'"
  lu.assertEquals(status, 2)
  lu.assertStrContains(err, "--data expects a folder, got: /no/such/folder")
end

-- ---- settings ----

local script = [[
  local lip = require "lip"
  local args = lip.args {
    epochs = { 8, "passes over the data", min = 1, whole = true },
    budget = { 4, "total bound" }, preset = { "default", "what to aim at", choices = { "default", "robust" } },
    compare = false, name = "plain", widths = { 256, 128 }, seed = 1,
  }
  print(args.epochs, args.budget, args.preset, args.compare, args.name, table.concat(args.widths, "/"), args.seed)
]]

local function settings(words)
  local status, out, err = run_script(script, words)
  return status, out, err
end

function tests.test_settings_have_the_type_of_their_default()
  local cases = {
    { "", "8\t4\tdefault\tfalse\tplain\t256/128\t1\n" },
    { "--set epochs=20 --set budget=0.5", "20\t0.5\tdefault\tfalse\tplain\t256/128\t1\n" },
    { "--set budget=inf --set compare=true", "8\tinf\tdefault\ttrue\tplain\t256/128\t1\n" },
    { "--set budget=1e-3 --set compare=off", "8\t0.001\tdefault\tfalse\tplain\t256/128\t1\n" },
    { "--set name=8 --set preset=robust", "8\t4\trobust\tfalse\t8\t256/128\t1\n" },
    { "--set name=a=b --set widths=1,2,3", "8\t4\tdefault\tfalse\ta=b\t1/2/3\t1\n" },
    { "--set 'widths={64, 32}' --seed 7", "8\t4\tdefault\tfalse\tplain\t64/32\t7\n" },
    { "--set name= --seed 7 --set seed=9 --set epochs=2.0", "2\t4\tdefault\tfalse\t\t256/128\t9\n" },
  }
  for _, case in ipairs(cases) do
    local status, out, err = settings(case[1])
    lu.assertEquals(out, case[2], case[1] .. err)
    lu.assertEquals(status, 0)
  end
  local path = spill(script)
  local _, out = run("--set epochs=3 " .. path .. " --set epochs=5")
  os.remove(path)
  lu.assertStrContains(out, "5\t4\t")
end

function tests.test_wrong_settings()
  local cases = {
    { "epocs=3", "did you mean 'epochs'?" }, { "zzzzzz=1", "known: budget, compare, epochs, name, preset, seed, widths" },
    { "epochs=many", "expected a number, got 'many'" }, { "epochs=nan", "expected a number" },
    { "budget=-nan", "expected a number" }, { "epochs=", "expected a number" }, { "epochs=2.5", "whole number" },
    { "epochs=0", "at least 1" }, { "compare=maybe", "true or false" }, { "preset=best", "default, robust" },
    { "widths=1,x", "expected a number, got 'x'" },
  }
  for _, case in ipairs(cases) do
    local status, out, err = settings("--set " .. case[1])
    lu.assertEquals(status, 2, case[1])
    lu.assertEquals(out, "", case[1])
    lu.assertStrContains(err, case[2], false, case[1])
    lu.assertNotStrContains(err, "traceback")
  end
end

function tests.test_a_script_with_settings_refuses_other_options()
  for words, message in pairs { ["--epochs 3"] = "--epochs; settings are written --set epochs=VALUE",
    ["--nonsense"] = "unknown option: --nonsense (settings: budget, compare", ["1 -x"] = "unknown option: -x" } do
    local status, out, err = settings(words)
    lu.assertEquals(status, 2, words)
    lu.assertEquals(out, "", words)
    lu.assertStrContains(err, message, false, words)
  end
  for _, words in ipairs { "word", "-3", "-- --epochs 3" } do lu.assertEquals(settings(words), 0, words) end
end

function tests.test_where_the_figure_goes()
  local path = spill "local lip = require 'lip'; print(lip.args{ plot = {'a.png', 'a figure'}, data = 'x' }.plot)"
  for words, want in pairs { [""] = "a.png", ["--plot b.svg"] = "b.svg", ["--plot=c.pdf"] = "c.pdf", ["--plot="] = "",
    ["--plot b.svg --set plot=d.svg"] = "d.svg" } do
    local status, out, err = run(path .. " " .. words)
    lu.assertEquals({ status, out }, { 0, want .. "\n" }, err)
  end
  lu.assertEquals(select(2, run("--plot b.svg " .. path)), "b.svg\n")
  -- refused before anything is computed
  for words, expected in pairs { ["--plot b.jpg"] = "--plot: cannot draw 'b.jpg': the name must end in .png",
    ["--plot no/where/b.svg"] = "there is no folder 'no/where'", ["--set plot=b.gif"] = "--set plot: cannot draw",
    ["--plot /tmp/b"] = "must end in" } do
    local refused, said, complaint = run(path .. " " .. words)
    lu.assertEquals({ refused, said }, { 2, "" })
    lu.assertStrContains(complaint, expected)
  end
  os.remove(path)
  path = spill "print(require 'lip'.args{ plot = { 'loss', 'what to draw' } }.plot)" -- no file
  lu.assertEquals(select(2, run(path .. " --set plot=clean")), "clean\n")
  os.remove(path)
  local status, out, err = settings "--plot b.svg"
  lu.assertEquals({ status, out }, { 2, "" })
  lu.assertStrContains(err, "--plot: this script draws no figure (settings: budget, ")
  path = spill "print 'done'"
  status, out, err = run(path .. " --plot b.svg")
  os.remove(path)
  lu.assertEquals({ status, out }, { 0, "done\n" })
  lu.assertStrContains(err, "no figure was drawn")
end

function tests.test_settings_under_the_stock_interpreter()
  lu.skipIf(not os.execute "command -v lua5.4 >/dev/null", "no lua5.4")
  local path, here = spill(script), debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
  here = here .. "/../../scripts"
  local module = program:match "^(.*)/[^/]*$" .. "/lib/?.so"
  local function stock(words)
    return shell(("LUA_PATH='%s/?.lua;%s/?/init.lua;;' LUA_CPATH=%s lua5.4 %s %s"):format(here, here, quote(module),
      path, words))
  end
  local status, out, err = stock "--set epochs=3 --set=budget=inf --seed 7 word -- --epochs"
  if err:find "module 'lip.core' not found" or err:find "ASan" then
    os.remove(path)
    lu.skip "no module for lua5.4 here"
  end
  lu.assertEquals({ status, out }, { 0, "3\tinf\tdefault\tfalse\tplain\t256/128\t7\n" }, err)
  for words, message in pairs { ["--set epocs=3"] = "did you mean 'epochs'?", ["--epochs 3"] = "--set epochs=VALUE",
    ["--set novalue"] = "NAME=VALUE", ["--set"] = "needs a value", ["--seed x"] = "whole number",
    ["--plot x.svg"] = "draws no figure", ["--plot"] = "needs a value" } do
    status, out, err = stock(words)
    lu.assertEquals({ status, out }, { 1, "" }, words)
    lu.assertStrContains(err, message, false, words)
  end
  status, out = stock "--help"
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "passes over the data")
  os.remove(path)
end

function tests.test_wrong_declarations()
  for _, bad in ipairs { { 1 }, { a = print }, { a = { 1, "help", minimum = 2, min = 0 } }, { a = 0 / 0 }, { ["a b"] = 1 },
    { a = { 5, "too large", max = 4 } } } do
    lu.assertFalse((pcall(lip.args, bad)))
  end
  lu.assertFalse((pcall(lip.args)))
  lu.assertFalse((pcall(lip.args, 3)))
end

-- What the world outside refuses comes back as nil and a message: as a script's last word it is a failure.
function tests.test_a_script_that_was_refused()
  local status, out, err = run_script 'return require "lip".load "/nonexistent.safetensors"'
  lu.assertEquals({ status, out }, { 1, "" })
  lu.assertStrContains(err, "/nonexistent.safetensors")
  lu.assertEquals(run_script "return nil", 0)
end

function tests.test_help_of_a_script()
  local status, out = settings "--help"
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "epochs=8")
  lu.assertStrContains(out, "passes over the data")
  lu.assertStrContains(out, "widths=256,128")
  lu.assertNotStrContains(out, "\t") -- the script itself did not run on
end

function tests.test_result_row()
  local path = os.tmpname()
  local code = 'return { data = "mnist", accuracy = 0.5, certified = { [0.03] = 0.25 }, list = { 1, 2.5 }, bad = 0 / 0, '
    .. 'top = math.huge, yes = true, empty = {} }'
  local status, _, err = run_script(code, "--json " .. path)
  lu.assertEquals(status, 0, err)
  local _, about = run "--version"
  lu.assertStrContains(about, lip.arch)
  lu.assertEquals(slurp(path), '{"accuracy":0.5,"bad":"nan","certified":{"0.03":0.25},"data":"mnist","empty":{},'
    .. ('"kernels":"%s","lipwb":"%s","list":[1,2.5],"top":"inf","yes":true}\n'):format(lip.arch, lip.version))
  lu.assertEquals(run_script("return { 1, 2 }", "--json " .. path), 0)
  lu.assertEquals(slurp(path), "[1,2]\n")
  status, _, err = run_script("return 3", "--json " .. path)
  lu.assertEquals(status, 1)
  lu.assertStrContains(err, "no result row")
  -- before anything has run
  status, _, err = run_script("print 'ran' return {}", "--json /nowhere/at/all")
  lu.assertEquals(status, 2)
  lu.assertStrContains(err, "--json expects a file in a folder that one may write to, got: /nowhere/at/all")
  status, _, err = run_script("return {}", "--json /")
  lu.assertEquals(status, 2)
  lu.assertStrContains(err, "--json expects a file")
  -- a row that cannot be written after all is told
  assert(lip.file.mkdir(path .. ".d"))
  status, _, err = run_script("os.remove(arg[1]) return { clean = 0.5 }", ("--json %s.d/row %s.d"):format(path, path))
  lu.assertEquals(status, 1)
  lu.assertStrContains(err, '"clean":0.5')
  -- a pipe stays one
  local _, out = run_script("return { clean = 0.5 }", "--json /dev/stdout")
  lu.assertStrContains(out, '"clean":0.5')
  local loop = {}
  loop.loop = loop
  lu.assertFalse((pcall(lip.to_json, loop)))
  lu.assertFalse((pcall(lip.to_json, "\xff")))
  lu.assertFalse((pcall(lip.to_json)))
  lu.assertFalse((pcall(lip.to_json, { setmetatable({}, { __tostring = error }), print, io.stdout, "\xff" })))
  lu.assertEquals(lip.to_json { b = 1, a = { c = "x\ny" } }, '{"a":{"c":"x\\ny"},"b":1}')
end

function tests.test_settings_nobody_declared()
  local status, _, err = run_script("print(1)", "--set a=1")
  lu.assertEquals(status, 0)
  lu.assertStrContains(err, "declares no settings")
end

-- ---- subcommands ----

function tests.test_bench()
  local path = os.tmpname()
  local status, out, err = run("bench --set quick=true --threads 2 --json " .. path)
  lu.assertEquals({ status, err }, { 0, "" })
  local row = slurp(path)
  lu.assertStrContains(out, "limit, one thread: ")
  for _, cell in ipairs { "S +relu", "S +maxmin", "C +relu" } do
    local lines = 0
    for us, share in out:gmatch("\n" .. cell .. " +32 +([%d.]+) +([%d.]+)") do
      lines = lines + 1
      lu.assertTrue(tonumber(us) > 0 and tonumber(share) >= 0)
    end
    lu.assertEquals(lines, 2, out) -- one thread, two threads
  end
  for _, projection in ipairs(require "lip.bench".projections) do
    lu.assertEquals(select(2, out:gsub("\n" .. projection[1] .. " +[%d.]+ +[%d.]+", "")), 2, projection[1])
  end
  lu.assertEquals(select(2, row:gsub('"us":', "")), 18)
  status, out = run "bench --set quick=true --set limit=50 --threads 1"
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "50.0 Gflop/s, as given")
  lu.assertNotStrContains(out, "2 threads")
  status, out, err = run "bench --set quik=true"
  lu.assertEquals({ status, out }, { 2, "" })
  lu.assertStrContains(err, "did you mean 'quick'?")
  status, out = run "bench --help"
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "settings of bench")
end

function tests.test_bench_counts_the_products_of_a_step()
  local bench = require "lip.bench"
  lu.assertEquals(bench.flops("M", 1), 2 * (2 * 784 * 256 + 3 * 256 * 256 + 3 * 256 * 10))
  lu.assertEquals(bench.flops("C", 2), 2 * 2 * (2 * 32 * 784 * 9 + 3 * (32 * 196 * 32 * 16 + 64 * 196 * 32 * 9
    + 64 * 49 * 64 * 16 + 3136 * 512 + 512 * 10)))
  lu.assertEquals({ bench.median { 3, 1, 2 }, bench.median { 4, 1, 2, 3 }, bench.median { 5 } }, { 2, 2.5, 5 })
  local visits = 0 -- a disturbed contestant is visited again, a calm one is not
  local function of(values)
    visits = 0
    return function()
      visits = visits + 1
      return values[visits]
    end
  end
  lu.assertEquals({ bench.take_turns({ of { 10, 10.5, 10.2 } }, 3) }, { { 10.2 }, true })
  lu.assertEquals(visits, 3)
  lu.assertEquals({ bench.take_turns({ of { 30, 10, 20, 10, 10, 10 } }, 3) }, { { 10 }, false })
  lu.assertEquals(visits, 6)
end

-- ---- a session through a pipe ----

function tests.test_session()
  local status, out, err = run("", table.concat({
    "1 + 1", "_ * 10", "for i = 1, 2 do", "print(i)", "end", "x = 5", "x", "'text'", "nil, 3", "error 'boo'", "x = = 2",
    "{1, 2, {a = 'b'}}", "local s = [[", "two lines]] print(s)", "function f()", "  return 7", "end", "f()",
  }, "\n"))
  lu.assertEquals(status, 0)
  lu.assertEquals(out, '2\n20\n1\n2\n5\ntext\nnil\t3\n{ 1, 2, { a = "b" } }\ntwo lines\n7\n')
  lu.assertStrContains(err, "boo")
  lu.assertStrContains(err, "unexpected symbol near '='")
end

function tests.test_session_shows_a_bounded_part()
  local _, out = run("", "local t = {} for i = 1, 1e5 do t[i] = i end return t\n"
    .. "local t = {} t.t = t return t\nlocal t = {} for i = 1, 50 do t = {t} end return t\n"
    .. "return ('x'):rep(1e6) , 1\n")
  lu.assertTrue(#out < 2000)
  lu.assertStrContains(out, "(100000 in all)")
  lu.assertStrContains(out, "this table again")
  lu.assertStrContains(out, "(1000000 bytes)")
end

function tests.test_session_has_help_and_lip()
  local status, out, err = run("", "lip.version\nhelp()\n")
  lu.assertEquals(status, 0)
  lu.assertEquals(err, "")
  lu.assertStrContains(out, lip.version)
  lu.assertTrue(#out > 200)
  local _, after = run("-i -e 'y = 4'", "y\n")
  lu.assertEquals(after, "4\n")
end

function tests.test_unfinished_statement_at_the_end()
  local status, _, err = run("", "for i = 1, 2 do\n")
  lu.assertEquals(status, 0)
  lu.assertStrContains(err, "<eof>")
end

function tests.test_completion()
  local complete = require "lip.program".complete
  lu.assertEquals(complete "string.re", { "rep", "reverse" })
  lu.assertEquals(complete "x = 1 + string.rever", { "reverse" })
  lu.assertEquals(complete "whi", { "while" })
  lu.assertEquals(complete "nothing_of.this.kind", {})
  lu.assertEquals(complete "", {})
  rawset(_G, "test_value", "text")
  lu.assertEquals(complete "test_value:uppe", { "upper" })
  rawset(_G, "test_value", nil)
  local words, typed = complete "string.rev"
  lu.assertEquals({ words, typed }, { { "reverse" }, 3 })
  rawset(_G, "test_value", lip)
  lu.assertEquals(complete "test_value.inter", { "interrupted" })
  lu.assertEquals(complete "test_value.settings.se", { "set" })
  lu.assertEquals(complete "test_value.hel", { "help" }) -- a module that may not be loaded yet
  lu.assertEquals(complete "test_value:vers", {}) -- no method
  rawset(_G, "test_value", nil)
end

-- ---- Ctrl-C ----

function tests.test_interrupt_stops_a_loop()
  local status, _, err = interrupt "print 'ready' io.stdout:flush() while true do end"
  lu.assertEquals(status, 130)
  lu.assertStrContains(err, "interrupted")
end

function tests.test_interrupt_stops_a_loop_in_a_coroutine()
  local status, _, err = interrupt [[
    local inner = coroutine.wrap(function() print 'ready' io.stdout:flush() while true do end end)
    local outer = coroutine.create(function() inner() end)
    local ok, message = coroutine.resume(outer)
    error(message)]]
  lu.assertEquals(status, 130)
  lu.assertStrContains(err, "interrupted")
end

function tests.test_interrupt_between_coroutines()
  local status = interrupt [[
    print 'ready' io.stdout:flush()
    while true do
      for i in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) do local _ = i end
    end]]
  lu.assertEquals(status, 130)
end

function tests.test_clean_up_runs_after_an_interrupt()
  local status, out = interrupt [[
    local lip = require "lip"
    local ok, message = pcall(function() print 'ready' io.stdout:flush() while true do end end)
    print(ok, message:match "interrupted", lip.interrupted())]]
  lu.assertEquals(status, 130)
  lu.assertStrContains(out, "false\tinterrupted\ttrue")
end

function tests.test_interrupt_stops_an_attack()
  local status, _, err = interrupt [[
    local lip = require "lip"
    local net = lip.net { input = 400, norm = 2, lip.dense { out = 200 }, lip.relu {}, lip.dense { out = 10 } }
    print 'ready' io.stdout:flush()
    lip.attack(net, lip.rand(1, { 500, 400 }), { eps = 1e-6, steps = 1000000 })]]
  lu.assertEquals(status, 130)
  lu.assertStrContains(err, "interrupted")
end

function tests.test_second_interrupt_leaves_at_once()
  local status = interrupt([[
    while true do pcall(function() print 'ready' io.stdout:flush() while true do end end) end]], 2)
  lu.assertEquals(status, 130)
end

function tests.test_interrupt_stops_training()
  lu.skipIf(not (rawget(lip, "net") and rawget(lip, "optim")), "no nets in this build")
  local status, _, err = interrupt [[
    local lip = require "lip"
    local net = lip.net { input = 64, norm = "inf", budget = 4, lip.dense { out = 64 }, lip.relu(), lip.dense { out = 4 } }
    local x, y, opt, loss = lip.rand(32, 64), {}, lip.optim.adam { lr = 1e-3 }, lip.loss.cross_entropy {}
    for i = 1, 32 do y[i] = i % 4 end
    assert(net:step(x, y, opt, loss))
    print 'ready' io.stdout:flush()
    while true do net:step(x, y, opt, loss) end]]
  lu.assertEquals(status, 130)
  lu.assertStrContains(err, "interrupted")
end

-- the replaced coroutine functions behave as Lua's own
function tests.test_coroutines()
  local status, out, err = run_script [[
    local co = coroutine.create(function(...) local a = coroutine.yield(...) return a, "end" end)
    print(coroutine.resume(co, 1, nil, 3))
    print(coroutine.resume(co, "back"))
    print(coroutine.resume(co))
    print(coroutine.status(co))
    print(coroutine.resume(coroutine.running()))
    print(pcall(coroutine.resume, 1))
    local w = coroutine.wrap(function() error "inside" end)
    print(pcall(w))
    print(pcall(w))
    print(pcall(coroutine.wrap(function() error {1} end)))
    print(pcall(coroutine.wrap, 1))
    local closed = {}
    local c = coroutine.wrap(function()
      local x <close> = setmetatable({}, { __close = function() closed[1] = "closed" end })
      error "after"
    end)
    pcall(c)
    print(closed[1])
    local function deep(n) if n == 0 then return 0 end return coroutine.wrap(function() return 1 + deep(n - 1) end)() end
    print(deep(100), pcall(deep, 1e6))
    print(select("#", coroutine.resume(coroutine.create(function() return table.unpack({}, 1, 1000) end))))]]
  lu.assertEquals(status, 0, err)
  local expected = {
    "^true\t1\tnil\t3$", "^true\tback\tend$", "^false\tcannot resume dead coroutine$", "^dead$",
    "^false\tcannot resume non%-suspended coroutine$", "^false\tbad argument #1 to 'coroutine.resume' %(coroutine expected",
    "^false\t.*inside$", "^false\t.*cannot resume dead coroutine$", "^false\ttable: ",
    "^false\tbad argument #1 to 'coroutine.wrap' %(function expected", "^closed$", "^100\tfalse\t.*C stack overflow", "^1001$",
  }
  local i = 0
  for line in out:gmatch "[^\n]+" do
    i = i + 1
    lu.assertStrMatches(line, (expected[i] or "nothing"):gsub("^%^", ""):gsub("%$$", "") .. (expected[i]:find "%$$" and "" or ".*"))
  end
  lu.assertEquals(i, #expected)
end

-- Every command tells of wrong words in the same way, and none of them hands on what moves a terminal's cursor.
function tests.test_complaints_of_commands()
  for _, name in ipairs { "runs ls", "report", "reproduce", "sweep", "sweep status", "check x.cert" } do
    local command = name:match "%w+"
    local status, out, err = run(name .. " " .. quote "--there-is-no-such\27[2J\7\ttab")
    lu.assertTrue(status == 1 or status == 2, name .. ": " .. status)
    lu.assertEquals(out, "", name)
    lu.assertEquals(err:sub(1, #command + 8), "lipwb " .. command .. ": ", name)
    lu.assertNil(err:find "[^%g \n]", name .. ": " .. err)
  end
  for _, name in ipairs { "runs", "report --there-is-no-such", "reproduce", "sweep", "sweep status", "check x" } do
    local status, _, err = run(name)
    lu.assertEquals(status, 2, name)
    lu.assertStrContains(err:lower(), "usage: lipwb " .. name:match "%w+")
  end
end

return tests
