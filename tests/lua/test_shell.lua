-- Command lines that people are told: a shell reads them as they were meant, and a terminal shows them as one line.
local lu = require "luaunit"
local lip = require "lip"
local shell = require "lip.shell"
local support = require "support_sweep"

local T = support.fixture {}

local PLAIN = { "runs.db", "a b", "it's", "''", "'", 'say "x"', "$HOME", "`id`", "\\", "a\\n", "*", "~", "#", "", "a;b",
  "a&b", "(x)", "!x", "grün", "x=y", "=x", "{a,b}", "<x>", "|", "%A" }
local ODD = { "a\nb", "\27[2J", "tab\t'", "\\\1'", "\xff", "a\xc2\x9bb", "\u{202E}txt", "\u{2066}x", "\127", "\r" }

local function read_by(program, text)
  local result = assert(lip.process.run { program, "-c", "printf %s " .. shell.word(text) })
  return result.output .. result.errors
end

function T.test_words()
  for _, text in ipairs(PLAIN) do
    lu.assertEquals(read_by("sh", text), text)
    lu.assertNil(shell.word(text):find "%c")
  end
  lu.assertEquals(shell.line { "lipwb", "runs", "show", "s/1", "--store", "/a_b/c-1.db" },
    "lipwb runs show s/1 --store /a_b/c-1.db")
  lu.assertEquals(shell.line { "a b", 1 }, "'a b' 1")
end

function T.test_odd_words()
  for _, text in ipairs(ODD) do lu.assertNil(shell.word(text):find "[%c\x7f-\xff]") end
  lu.skipIf(not os.execute "command -v bash >/dev/null 2>&1", "bash is not installed")
  for _, text in ipairs(ODD) do lu.assertEquals(read_by("bash", text), text) end
end

-- What a sweep says in the end is what one would type.
function T:test_hints_of_a_sweep()
  self:write("s.lua", [[return require "lip".sweep { grid = { a = { 1, 2 } }, maximise = "v",
    run = function(c) if c.a == 2 then error "no" end return { v = c.a } end }]])
  for _, name in ipairs { "my runs.db", "it's.db", "a;b $x.db", 'q"q.db' } do
    local status, said = self:sweep("s.lua", "-j", "1", "--store", name)
    lu.assertEquals(status, 1, said)
    local hints = 0
    for hint in said:gmatch "(lipwb runs show [^\n]*)" do
      hint = hint:gsub(" tells what happened to one$", "")
      local called = "lipwb() { " .. shell.word(support.program) .. ' "$@"; }\n'
      local process = assert(lip.process.run { "sh", "-c", called .. hint,
        cwd = self.dir, env = { LIPWB_STORE = false } })
      lu.assertEquals(process.exit, 0, hint .. process.errors)
      lu.assertStrContains(process.output, "run s/")
      local again = process.output:match "again: (lipwb reproduce [^\n]*)"
      lu.assertStrContains(again, "--store " .. shell.word(name))
      hints = hints + 1
    end
    lu.assertEquals(hints, 2, said)
  end
  self:write("my sweep.lua", assert(lip.file.read(self.dir .. "/s.lua")))
  local result = assert(lip.process.run { support.program, "my sweep.lua", cwd = self.dir })
  lu.assertStrContains(result.errors, "lipwb sweep 'my sweep.lua'")
end

return T
