-- The rules of the house that a machine can check: who includes and calls whom, where foreign headers live, what stands
-- at the top level, how long files are, what the engine exports.
local lu = require "luaunit"

local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$" or "."
local root = here .. "/../.."

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function lines_of(command)
  local pipe = assert(io.popen("cd " .. quote(root) .. " && " .. command))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  local ok = pipe:close()
  return lines, ok
end

local function read(path)
  local file = assert(io.open(root .. "/" .. path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local sources = lines_of "find core bindings -name '*.[ch]' | LC_ALL=C sort"
local scripts = lines_of "find scripts experiments tests -type f ! -name '*.npy' 2>/dev/null | LC_ALL=C sort"

-- { {file, header, quoted}, ... }
local function includes()
  local list = {}
  for _, path in ipairs(sources) do
    for open, header in read(path):gmatch '#%s*include%s*([<"])([^>"]+)[>"]' do
      list[#list + 1] = { path, header, open == '"' }
    end
  end
  return list
end

local function set(text)
  local s = {}
  for word in text:gmatch "%S+" do s[word] = true end
  return s
end

-- what a folder of core/ may include beside itself
local left_of = {
  base = set "",
  tensor = set "base",
  norm = set "base tensor",
  layer = set "base tensor norm",
  net = set "base tensor norm layer",
  affine = set "base tensor norm layer net",
  bound = set "base tensor norm layer net affine",
  attack = set "base tensor norm layer net",
  io = set "base tensor norm layer net",
  cert = set "base tensor norm layer net affine bound attack",
  exchange = set "base tensor data norm layer net affine bound attack cert io", -- so no room sees it, bindings alone
  data = set "base tensor",
  check = set "base",
}

local function step_fault(path, header)
  local folder = path:match "^core/([^/]+)/"
  local target = header:match "^core/([^/]+)/"
  if path == "core/lip.h" then
    return not target and "includes something that is no public header"
  elseif path:match "^bindings/" then
    local room = header:match "^bindings/([^/]+)/"
    if room == "program" and not path:match "^bindings/program/" then return "reaches into the program" end
    return not header:match "^core/" and not header:match "^bindings/" and "includes something of neither side"
  elseif not folder then
    return "stands outside the folders of core/"
  elseif not left_of[folder] then
    return "stands in a folder that house rules do not know"
  elseif not target then
    return "includes something that is not below core/"
  elseif target ~= folder and not left_of[folder][target] then
    return "steps to the right"
  end
end

-- the one file that may include each foreign header, or the few that a pattern names
local homes = {
  ["blis.h"] = "^core/tensor/[%w_]*blis[%w_]*%.c$",
  ["zlib.h"] = "^core/data/gz%.c$",
  ["sqlite3.h"] = "^bindings/system/db%.c$",
  ["jansson.h"] = "^core/io/json%.c$",
  ["lapacke.h"] = "^core/tensor/linalg%.c$",
  ["onnx.pb-c.h"] = { "^core/exchange/graph_read[%w_]*%.c$", "^core/exchange/onnx_write[%w_]*%.c$" },
  ["zip.h"] = "^core/exchange/npz%.c$",
  ["histedit.h"] = "^bindings/program/line%.c$",
}

local tests = {}

function tests.test_the_tree_was_found()
  lu.assertTrue(#sources > 20, "sources were found in " .. root)
  lu.assertTrue(#includes() > 50)
end

function tests.test_includes_go_one_way()
  local faults = {}
  for _, inc in ipairs(includes()) do
    local path, header, quoted = inc[1], inc[2], inc[3]
    if quoted then
      local fault = step_fault(path, header)
      if fault then faults[#faults + 1] = ("%s: \"%s\" %s"):format(path, header, fault) end
    end
  end
  lu.assertEquals(faults, {})
end

function tests.test_the_check_sees_a_wrong_step()
  lu.assertEquals(step_fault("core/layer/dense.c", "core/net/net.h"), "steps to the right")
  lu.assertEquals(step_fault("core/bound/bound.c", "core/io/checkpoint.h"), "steps to the right")
  lu.assertEquals(step_fault("core/check/check.c", "core/bound/bound.h"), "steps to the right")
  lu.assertEquals(step_fault("core/bound/lower.c", "core/cert/relax.h"), "steps to the right")
  lu.assertEquals(step_fault("core/affine/wide.c", "core/bound/lmi.h"), "steps to the right")
  lu.assertEquals(step_fault("core/affine/walk.c", "core/attack/attack.h"), "steps to the right")
  lu.assertEquals(step_fault("core/attack/pgd.c", "core/affine/walk.h"), "steps to the right")
  for folder in pairs(left_of) do
    if folder ~= "exchange" then
      lu.assertEquals(step_fault("core/" .. folder .. "/a.c", "core/exchange/onnx.h"), "steps to the right")
    end
  end
  lu.assertNil(step_fault("core/exchange/onnx.c", "core/data/gz.h")) -- packed files
  lu.assertNil(step_fault("core/exchange/onnx.c", "core/cert/certify.h"))
  lu.assertNil(step_fault("core/exchange/onnx.c", "core/io/json.h"))
  lu.assertNotNil(step_fault("core/net/net.c", "core/lip.h"))
  lu.assertNotNil(step_fault("bindings/bind.c", "tests/c/support.h"))
  lu.assertNotNil(step_fault("bindings/system/file.c", "bindings/program/program.h"))
  lu.assertNotNil(step_fault("core/net/net.c", "bindings/bind.h"))
  lu.assertNil(step_fault("core/net/net.c", "core/layer/layer.h"))
end

-- ---- circles ----

--- The circles of a graph { node = { other = true } }: a list of sorted lists of nodes that all reach each other
-- (Tarjan 1972).
local function circles(graph)
  local index, low, stack, on, n, found = {}, {}, {}, {}, 0, {}
  local function visit(v)
    n = n + 1
    index[v], low[v], on[v] = n, n, true
    stack[#stack + 1] = v
    for w in pairs(graph[v] or {}) do
      if not index[w] then
        visit(w)
        low[v] = math.min(low[v], low[w])
      elseif on[w] then
        low[v] = math.min(low[v], index[w])
      end
    end
    if low[v] ~= index[v] then return end
    local circle = {}
    repeat
      local w = table.remove(stack)
      on[w] = nil
      circle[#circle + 1] = w
    until w == v
    table.sort(circle)
    if #circle > 1 then found[#found + 1] = circle end
  end
  for v in pairs(graph) do
    if not index[v] then visit(v) end
  end
  return found
end

--- What nm says of the members of a library, or of object files: { { name =, defines = {}, needs = {} }, ... }.
local function objects(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do
    local header = line:match "^(%S.*):$"
    if header then list[#list + 1] = { name = header:gsub("%.o$", ""), defines = {}, needs = {} } end
    local kind, symbol = line:match "^%x*%s+(%a) (%S+)$"
    local this = list[#list]
    if this and kind == "U" then
      this.needs[symbol] = true
    elseif this and (kind == "i" or kind and kind:find "[A-TVX-Z]") then
      this.defines[symbol] = true
    end
  end
  return list
end

-- Members of an archive have no folder, and some have the same name: archives keep the order of the sources.
local function name_members(list, folder)
  local taken = {}
  for _, object in ipairs(list) do
    local n = 0
    taken[object.name] = (taken[object.name] or 0) + 1
    for _, path in ipairs(sources) do
      if path:find(folder, 1, true) == 1 and path:match "[^/]*$" == object.name then
        n = n + 1
        if n == taken[object.name] then object.name = path break end
      end
    end
  end
  return list
end

-- { file = { file that it calls = a symbol } }
local function calls(list)
  local home, graph = {}, {}
  for _, object in ipairs(list) do
    graph[object.name] = {}
    for symbol in pairs(object.defines) do home[symbol] = object.name end
  end
  for _, object in ipairs(list) do
    for symbol in pairs(object.needs) do
      local target = home[symbol]
      if target and target ~= object.name then graph[object.name][target] = symbol end
    end
  end
  return graph
end

local build
do
  local i = 0
  while arg[i - 1] do i = i - 1 end
  build = arg[i]:gsub("[^/]*$", "")
end

--- What nm prints of files in the build; nil and the reason where it cannot be asked.
local function symbols(files)
  local folder = quote(build == "" and "." or build)
  local pipe = assert(io.popen(("cd %s && nm %s 2>/dev/null"):format(folder, files)))
  local text = pipe:read "a"
  pipe:close()
  if not text:find "%x %a %S" then return nil, ("no nm, or no %s beside the program"):format(files) end
  return text
end

-- The circles among `graph` as texts.
local function circle_faults(graph)
  local faults = {}
  for _, circle in ipairs(circles(graph)) do faults[#faults + 1] = "call each other: " .. table.concat(circle, " ") end
  return faults
end

function tests.test_the_check_sees_a_circle()
  local text = [[

a.c.o:
0000000000000000 T lip_a
                 U lip_b
                 U memcpy

b.c.o:
0000000000000000 i lip_b
0000000000000010 t lip_c
                 U lip_table

c.c.o:
0000000000000000 R lip_table
                 U lip_a

d.c.o:
0000000000000000 T lip_c
                 U lip_a
]]
  local list = objects(text)
  lu.assertEquals(#list, 4)
  lu.assertEquals(circles(calls(list)), { { "a.c", "b.c", "c.c" } })
  list[3].needs.lip_a = nil
  lu.assertEquals(circles(calls(list)), {})
  lu.assertEquals(circles { a = { b = true }, b = { a = true }, c = { d = true }, d = {} }, { { "a", "b" } })
end

-- A block that has taken in others holds its matrix rounded (core/affine/affine.h): who reads it as it stands knows that.
function tests.test_matrices_of_blocks_are_read_through_one_function()
  local knows = { ["core/cert/relax.c"] = true, ["core/cert/relax_slab.c"] = true }
  local faults, seen = {}, 0
  for _, folder in ipairs { "core/bound", "core/cert", "core/attack", "bindings" } do
    for _, name in ipairs(lines_of("ls " .. quote(root .. "/" .. folder))) do
      local path = folder .. "/" .. name
      for line in (path:find "%.c$" and read(path) or ""):gmatch "[^\n]+" do
        local reads = line:find "%f[%w_]b%->W%f[^%w_]" or line:find "block%->W%f[^%w_]"
        if reads then seen = seen + 1 end
        if reads and not knows[path] then faults[#faults + 1] = path .. ": " .. line end
      end
    end
  end
  lu.assertEquals(faults, {})
  lu.assertTrue(seen > 1)
end

-- Also the tables of kinds are no exception: a row calls what its file needs, never the file that holds its table.
function tests.test_the_core_has_no_circles()
  local text, why = symbols "liblipcore.a"
  lu.skipIf(not text, why)
  local list = name_members(objects(text), "core/")
  lu.assertTrue(#list > 80, #list .. " members")
  for _, object in ipairs(list) do -- made of the schema at build time
    if object.name == "onnx.pb-c.c" then object.name = "core/exchange/onnx.pb-c.c" end
  end
  local graph, steps, faults = calls(list), 0, {}
  for path, targets in pairs(graph) do
    lu.assertStrContains(path, "core/")
    for target, symbol in pairs(targets) do
      steps = steps + 1
      local fault = step_fault(path, target)
      if fault then faults[#faults + 1] = ("%s: %s of %s %s"):format(path, symbol, target, fault) end
    end
  end
  lu.assertTrue(steps > 200, steps .. " steps")
  lu.assertEquals(faults, {})
  lu.assertEquals(circle_faults(graph), {})
end

function tests.test_the_bindings_have_no_circles()
  local text, why = symbols "liblipbind.a"
  lu.skipIf(not text, why)
  local list = name_members(objects(text), "bindings/")
  lu.assertTrue(#list > 20, #list .. " members")
  local graph = calls(list)
  lu.assertNotNil(graph["bindings/bind_net.c"])
  lu.assertEquals(circle_faults(graph), {})
end

function tests.test_the_program_has_no_circles()
  local text, why = symbols "CMakeFiles/lipwb.dir/bindings/*.o CMakeFiles/lipwb.dir/bindings/program/*.o"
  lu.skipIf(not text, why)
  local list = objects(text)
  for _, object in ipairs(list) do object.name = object.name:match "bindings/.*" end
  lu.assertTrue(#list >= 4, #list .. " objects")
  local graph = calls(list)
  lu.assertEquals(graph["bindings/program/main.c"]["bindings/module.c"], "luaopen_lip_core")
  lu.assertEquals(circle_faults(graph), {})
end

function tests.test_headers_have_no_circles()
  local graph = {}
  for _, inc in ipairs(includes()) do
    local path, header, quoted = inc[1], inc[2], inc[3]
    if path:match "%.h$" and quoted then
      graph[path] = graph[path] or {}
      graph[path][header] = true
    end
  end
  lu.assertNotNil(graph["core/lip.h"]["core/net/net.h"])
  lu.assertEquals(circles(graph), {})
end

-- ---- what else ----

-- Elapsed time is read in one place, from a clock that nobody can set.
function tests.test_there_is_one_clock()
  local faults = {}
  for _, path in ipairs(lines_of "find core bindings tests -name '*.[ch]' | LC_ALL=C sort") do
    local code = read(path):gsub("/%*.-%*/", ""):gsub("//[^\n]*", ""):gsub('"[^"\n]*"', '""')
    for _, name in ipairs { "clock_gettime", "gettimeofday", "clock", "timespec_get", "ftime" } do
      if path ~= "core/base/clock.c" and code:find("%f[%w_]" .. name .. "%s*%(") then
        faults[#faults + 1] = path .. " calls " .. name
      end
    end
  end
  lu.assertEquals(faults, {})
end

function tests.test_foreign_headers_have_one_home()
  local faults, found = {}, {}
  for _, inc in ipairs(includes()) do
    local path, header = inc[1], inc[2]:match "[^/]*$"
    local home = homes[header]
    if type(home) == "table" then
      local one
      for _, pattern in ipairs(home) do one = one or path:match(pattern) end
      if not one then faults[#faults + 1] = path .. " includes " .. header end
    elseif home then
      if not path:match(home) then faults[#faults + 1] = path .. " includes " .. header end
      found[header] = found[header] or path
      if found[header] ~= path and header ~= "blis.h" then
        faults[#faults + 1] = header .. " has two homes: " .. found[header] .. " and " .. path
      end
    end
  end
  lu.assertEquals(faults, {})
end

function tests.test_only_bindings_know_lua()
  local faults = {}
  for _, inc in ipairs(includes()) do
    if inc[1]:match "^core/" and set "lua.h lauxlib.h lualib.h lua.hpp"[inc[2]:match "[^/]*$"] then
      faults[#faults + 1] = inc[1] .. " includes " .. inc[2]
    end
  end
  lu.assertEquals(faults, {})
end

-- the core returns a status: it does not print, exit or raise
function tests.test_the_core_is_silent()
  local faults = {}
  for _, path in ipairs(sources) do
    if path:match "^core/.*%.c$" then
      local code = read(path):gsub("/%*.-%*/", ""):gsub("//[^\n]*", ""):gsub('"[^"\n]*"', '""')
      for _, name in ipairs { "printf", "puts", "putchar", "exit", "_exit", "abort", "longjmp", "perror" } do
        if code:find("%f[%w_]" .. name .. "%s*%(") then faults[#faults + 1] = path .. " calls " .. name end
      end
      if code:find "%f[%w_]stdout%f[^%w_]" or code:find "%f[%w_]stderr%f[^%w_]" then
        faults[#faults + 1] = path .. " names a standard stream"
      end
    end
  end
  lu.assertEquals(faults, {})
end

-- Words of the command line are read, and complaints made, in one place.
function tests.test_commands_read_words_in_one_place()
  local found = {}
  for _, path in ipairs(scripts) do
    if path:match "^scripts/.*%.lua$" and read(path):find ":p?parse[%s({]" then found[#found + 1] = path end
  end
  lu.assertEquals(found, { "scripts/lip/command.lua" })
end

function tests.test_top_level()
  local allowed = set [[core bindings scripts experiments tests CMakeLists.txt README.md LICENSE CHANGELOG.md
    .clang-format .editorconfig .gitignore .luacheckrc .ci]]
  local names, from_git = lines_of "git ls-files 2>/dev/null | cut -d/ -f1 | sort -u"
  if not from_git or #names == 0 then
    names = lines_of "ls -A | grep -vE '^(build.*|\\.git|\\.deps-ok|compile_commands\\.json)$'"
  end
  lu.assertTrue(#names > 5)
  local faults = {}
  for _, name in ipairs(names) do
    if not allowed[name] then faults[#faults + 1] = name end
  end
  lu.assertEquals(faults, {})
end

function tests.test_files_are_short()
  local faults = {}
  local function check(path)
    local _, n = read(path):gsub("\n", "")
    if n > 600 then faults[#faults + 1] = ("%s has %d lines: a design question over about 600"):format(path, n) end
  end
  for _, path in ipairs(sources) do check(path) end
  for _, path in ipairs(scripts) do
    local written = path:match "^scripts/" or path:match "^experiments/"
    if written and not path:match "%.svg$" then check(path) end -- figures are drawn by the scripts
  end
  lu.assertEquals(faults, {})
end

function tests.test_nothing_is_left_for_later()
  local faults = {}
  local marks = { "TO" .. "DO", "FIX" .. "ME", "X" .. "XX" }
  local function check(path)
    local text = read(path)
    for _, mark in ipairs(marks) do
      if text:find("%f[%w]" .. mark .. "%f[%W]") then faults[#faults + 1] = path .. ": " .. mark end
    end
    if text:find("../sha" .. "red", 1, true) then faults[#faults + 1] = path .. " reaches out of the tree" end
  end
  for _, path in ipairs(sources) do check(path) end
  for _, path in ipairs(scripts) do check(path) end
  lu.assertEquals(faults, {})
end

-- exported names start with lip_: the library can be linked with anything
function tests.test_exported_names()
  local text, why = symbols "-g --defined-only liblipcore.a"
  lu.skipIf(not text, why)
  local faults, n = {}, 0
  for kind, name in text:gmatch "%x+ (%a) (%S+)" do
    if kind and not name:find "^__" then -- names of the compiler's own
      n = n + 1
      if not name:find "^lip_" then faults[#faults + 1] = name end
    end
  end
  lu.assertTrue(n > 300, n .. " names")
  lu.assertEquals(faults, {})
end

return tests
