-- The rules of the house that a machine can check: who includes whom, where foreign headers live, what stands at the top
-- level, how long files are, what the engine exports.
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
  cert = set "base tensor norm layer net affine bound",
  attack = set "base tensor norm layer net",
  io = set "base tensor norm layer net",
  data = set "base tensor",
  check = set "base",
}

local function step_fault(path, header)
  local folder = path:match "^core/([^/]+)/"
  local target = header:match "^core/([^/]+)/"
  if path == "core/lip.h" then
    return not target and "includes something that is no public header"
  elseif not folder then
    return path:match "^core/" and "stands outside the folders of core/"
  elseif not left_of[folder] then
    return "stands in a folder that house rules do not know"
  elseif not target then
    return "includes something that is not below core/"
  elseif target ~= folder and not left_of[folder][target] then
    return "steps to the right"
  end
end

-- the one file (a pattern) that may include each foreign header
local homes = {
  ["blis.h"] = "^core/tensor/[%w_]*blis[%w_]*%.c$",
  ["zlib.h"] = "^core/data/gz%.c$",
  ["sqlite3.h"] = "^bindings/system/db%.c$",
  ["jansson.h"] = "^core/io/json%.c$",
  ["lapacke.h"] = "^core/tensor/linalg%.c$",
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
    if quoted and path:match "^core/" then
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
  lu.assertNotNil(step_fault("core/net/net.c", "bindings/bind.h"))
  lu.assertNil(step_fault("core/net/net.c", "core/layer/layer.h"))
end

function tests.test_foreign_headers_have_one_home()
  local faults, found = {}, {}
  for _, inc in ipairs(includes()) do
    local path, header = inc[1], inc[2]:match "[^/]*$"
    local home = homes[header]
    if home then
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
  local i = 0
  while arg[i - 1] do i = i - 1 end
  local library = arg[i]:gsub("[^/]*$", "") .. "liblipcore.a"
  local file = io.open(library, "rb")
  lu.skipIf(not file, "no library beside the program")
  file:close()
  local pipe = assert(io.popen("nm -g --defined-only " .. quote(library) .. " 2>/dev/null"))
  local faults, n = {}, 0
  for line in pipe:lines() do
    local kind, name = line:match "^%x+ (%a) (%S+)$"
    if kind and not name:find "^__" then -- names of the compiler's own
      n = n + 1
      if not name:find "^lip_" then faults[#faults + 1] = name end
    end
  end
  pipe:close()
  lu.skipIf(n == 0, "nm is not installed")
  lu.assertEquals(faults, {})
end

return tests
