-- What is said about where a result comes from: against git itself, in repositories made here, and where there is none.
local lu = require "luaunit"
local lip = require "lip"
local provenance = require "lip.provenance"

local outside = require "support_program"
local program, quote, output = outside.program, outside.quote, outside.output

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

local has_git = os.execute "git --version >/dev/null 2>&1"

local T = {}

function T:setUp()
  self.dir = output("mktemp -d"):match "[^\n]+"
  self.cap = provenance.DIFF_MAX
end

function T:tearDown()
  provenance.DIFF_MAX = self.cap
  os.execute("rm -rf " .. quote(self.dir))
end

-- A repository in a folder whose name wants quoting, with one file and its commit.
function T:repository()
  lu.skipIf(not has_git, "no git")
  self.repo = self.dir .. "/it's a $HOME"
  self.git = "git -C " .. quote(self.repo) .. " -c user.name=a -c user.email=a@b "
  assert(os.execute("mkdir " .. quote(self.repo) .. " && git init -q " .. quote(self.repo)))
  write(self.repo .. "/a.lua", "return 1\n")
end

function T:commit()
  assert(os.execute(self.git .. "add -A && " .. self.git .. "commit -q -m one"))
end

function T:test_without_a_repository()
  local seen, diff = provenance.git(self.dir)
  lu.assertNil(diff)
  lu.assertNil(seen.commit)
  lu.assertIsString(seen.message)
  lu.assertIsString(provenance.git(self.dir .. "/none").message)
  lu.assertEquals(provenance.git(self.dir).message, "no repository")
end

function T:test_without_a_commit()
  self:repository()
  lu.assertEquals(provenance.git(self.repo), { message = "a repository without a commit" })
end

function T:test_clean()
  self:repository()
  self:commit()
  local seen, diff = provenance.git(self.repo)
  lu.assertNil(diff)
  lu.assertEquals(seen.commit, output(self.git .. "rev-parse HEAD"):match "%x+")
  lu.assertEquals(#seen.commit, 40)
  lu.assertFalse(seen.dirty)
  lu.assertEquals(seen.branch, output(self.git .. "branch --show-current"):match "[^\n]+")
end

-- The stored diff, applied to the commit, gives the changed files back: text, binary, staged, deleted.
function T:test_diff_applies()
  self:repository()
  write(self.repo .. "/b.bin", "\0\1\2old")
  write(self.repo .. "/c", "c\n")
  assert(os.execute("mkdir " .. quote(self.repo .. "/sub")))
  write(self.repo .. "/sub/d", "d\n")
  self:commit()
  write(self.repo .. "/a.lua", "return 2\n")
  write(self.repo .. "/b.bin", "\0\1\2new\255")
  write(self.repo .. "/new", "staged\n")
  os.remove(self.repo .. "/c")
  assert(os.execute(self.git .. "add new"))
  write(self.repo .. "/stranger", "x")
  assert(os.execute(self.git .. "config diff.noprefix true")) -- the user's taste must not change what is stored
  local seen, diff = provenance.git(self.repo .. "/sub")
  lu.assertTrue(seen.dirty)
  lu.assertEquals(seen.untracked, { "stranger" })
  lu.assertEquals(seen.diff_bytes, #diff)
  write(self.dir .. "/diff", diff)
  local copy = self.dir .. "/copy"
  assert(os.execute(("git clone -q %s %s && git -C %s apply %s"):format(quote(self.repo), copy, copy,
    self.dir .. "/diff")))
  for _, name in ipairs { "a.lua", "b.bin", "new", "sub/d" } do
    lu.assertTrue(output("cat " .. quote(self.repo .. "/" .. name)) == output("cat " .. copy .. "/" .. name), name)
  end
  lu.assertNil(io.open(copy .. "/c"))
end

function T:test_huge_diff_is_left_out()
  self:repository()
  self:commit()
  write(self.repo .. "/a.lua", ("return 123456\n"):rep(1000))
  provenance.DIFF_MAX = 10000
  local seen, diff = provenance.git(self.repo)
  lu.assertNil(diff)
  lu.assertTrue(seen.dirty)
  lu.assertStrContains(seen.diff_omitted, "10000 bytes")
  lu.assertEquals(seen.changed, { "a.lua" })
end

function T:test_common_puts_the_diff_into_the_store()
  self:repository()
  self:commit()
  write(self.repo .. "/a.lua", "return 3\n")
  local kept = {}
  local store = { put_object = function(_, text) kept[#kept + 1] = text return ("%064d"):format(#kept) end }
  local common, rest = provenance.common { folder = self.repo, store = store }
  lu.assertNil(rest)
  lu.assertEquals(common.git.diff, ("%064d"):format(1))
  lu.assertStrContains(kept[1], "+return 3")
  lu.assertEquals(common.version, lip.version)
  lu.assertEquals(common.cwd, output("pwd -P"):match "[^\n]+")
  lu.assertEquals(lip.file.absolute(common.argv[1]), program)
  lu.assertEquals(common.program, output("sha256sum /proc/" .. output "echo $PPID":match "%d+" .. "/exe"):match "%x+")
  -- a store that is full costs the diff, not the sweep
  store.put_object = function() return nil, "no space left", "io" end
  common = provenance.common { folder = self.repo, store = store }
  lu.assertNil(common.git.diff)
  lu.assertEquals(common.git.diff_omitted, "no space left")
end

-- In a process that finds no git, with every word of its command line.
function T:test_without_git()
  write(self.dir .. "/s.lua", [[print(require "lip".to_json(require "lip.provenance".common()))]])
  local text = output(("PATH=/none %s %s --seed 7 -- --own ''"):format(quote(program), quote(self.dir .. "/s.lua")))
  lu.assertStrContains(text, '"message":')
  lu.assertNil(text:find '"commit"')
  lu.assertStrContains(text, '"--seed","7","--","--own",""]')
end

function T.test_own()
  local own = provenance.own()
  lu.assertEquals(own.host, output("uname -n"):match "[^\n]+")
  lu.assertEquals(own.system, output("uname -r"):match "[^\n]+")
  local allowed = tonumber(output "env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc") -- but for quotas
  lu.assertTrue(own.processors >= 1 and own.processors <= allowed)
  lu.assertEquals(own.threads, lip.threads())
  lu.assertEquals(own.kernels, lip.arch)
  lu.assertStrContains(own.flags, "-ffp-contract=off")
  for _, name in ipairs { "cpu", "compiler", "lua", "version", "blas" } do lu.assertIsString(own[name], name) end
  local both = provenance.together { host = "elsewhere", cwd = "/x" }
  lu.assertEquals(both.cwd, "/x")
  lu.assertEquals(both.host, own.host)
end

return { TestProvenance = T }
