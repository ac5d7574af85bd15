--- Where a result comes from, as plain tables that go into trial.json and the journal.
-- common() is gathered once for a sweep by the process that starts it: program, command line, git. own() is gathered by
-- each worker and must cost nothing to speak of: machine, threads, kernels, compiler. together() joins the two.
local lip = require "lip.core"

local provenance = {}

--- The largest diff that is stored, in bytes; of a larger one only the list of files is kept.
provenance.DIFF_MAX = 8 * 1024 * 1024

local LIST_MAX = 200 -- names of files that git does not know

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- The first `max` bytes that git writes in `folder`, whether it went well, and whether there was more. Read through a
-- pipe and not to its end, so that a diff of gigabytes costs no more than `max`.
local function git(folder, words, max)
  -- without the optional lock: never in the way of a commit that is being made at this moment
  local command = "LC_ALL=C GIT_OPTIONAL_LOCKS=0 git -C %s --no-pager %s </dev/null"
  local pipe = io.popen(command:format(quote(folder), words))
  if not pipe then return "", false, false end
  local text = pipe:read(max) or ""
  local more = #text == max and pipe:read(1) ~= nil
  return text, (pipe:close()) == true or more, more
end

local function line(folder, words)
  local text, ok = git(folder, words .. " 2>/dev/null", 4096)
  text = text:match "^[^\n]*"
  return ok and text ~= "" and text or nil
end

local function lines(text, max)
  local list = {}
  for name in text:gmatch "[^\n]+" do
    if #list == max then break end
    list[#list + 1] = name
  end
  return list
end

local DIFF = "diff --no-color --no-ext-diff --no-textconv --src-prefix=a/ --dst-prefix=b/ "

--- Commit and changes of the repository that holds `folder`. Never fails: without git, a repository or a commit it says
-- so in `message`.
---@return table git { commit=, branch=, dirty=, diff_bytes=, diff_omitted=, untracked= } or { message= }
---@return string|nil diff against the commit, as `git apply` takes it
function provenance.git(folder)
  folder = folder or "."
  local top, found = git(folder, "rev-parse --show-toplevel 2>&1", 4096)
  if not found then
    local message = top:find("not a git repository", 1, true) and "no repository" or top:match "^[^\n]*"
    return { message = message ~= "" and message or "git cannot be run" }
  end
  top = top:match "^(.-)\n*$"
  local commit = line(top, "rev-parse --verify -q HEAD")
  if not commit then return { message = "a repository without a commit" } end
  local seen = { commit = commit, branch = line(top, "symbolic-ref --short -q HEAD") }
  local diff, ok, more = git(top, DIFF .. "--binary HEAD 2>/dev/null", provenance.DIFF_MAX)
  seen.dirty = diff ~= ""
  if not ok then
    seen.diff_omitted, diff = "git diff failed", nil
  elseif more then
    seen.diff_omitted = ("larger than %d bytes"):format(provenance.DIFF_MAX)
    seen.changed = lines(git(top, DIFF .. "--name-only HEAD 2>/dev/null", 65536), LIST_MAX)
    diff = nil
  elseif diff == "" then
    diff = nil
  else
    seen.diff_bytes = #diff
  end
  local untracked = lines(git(top, "ls-files --others --exclude-standard 2>/dev/null", 65536), LIST_MAX)
  if #untracked > 0 then seen.untracked = untracked end
  return seen, diff
end

--- The words this process was started with: all of them where the system tells, else those the script can see.
local function argv()
  local file <close> = io.open("/proc/self/cmdline", "rb")
  local text, words = file and file:read "a" or "", {}
  for word in text:gmatch "([^\0]*)\0" do words[#words + 1] = word end
  if #words > 0 then return words end
  local arg, first = rawget(_G, "arg") or {}, 0
  while arg[first - 1] do first = first - 1 end
  for i = first, #arg do words[#words + 1] = tostring(arg[i]) end
  return words
end

--- What all trials of a sweep share. Given a store, the diff is put there and git.diff is the name of that object.
---@param options? { folder: string?, store: table? } folder: where to look for a repository (the script's)
---@return table common
---@return string|nil diff when there is one, and no store
function provenance.common(options)
  options = options or {}
  local seen, diff = provenance.git(options.folder)
  local pipe <close> = io.popen "pwd -P"
  local common = {
    argv = argv(), cwd = pipe and pipe:read "l", git = seen, version = lip.version,
    -- the engine as it was run, whatever its sources are called
    program = lip.sha256_packed "/proc/self/exe" or nil,
  }
  if diff and options.store then
    local sha, message = options.store:put_object(diff)
    if sha then seen.diff, diff = sha, nil else seen.diff_omitted, diff = message, nil end
  end
  return common, diff
end

local function first_line(path)
  local file <close> = io.open(path)
  return file and file:read "l" or nil
end

--- What belongs to this process: the machine and the engine on it.
---@return table own host, system, cpu, processors, threads, blas, blis, kernels, compiler, flags, lua, version
function provenance.own()
  local info = lip.info()
  return {
    host = first_line "/proc/sys/kernel/hostname", system = first_line "/proc/sys/kernel/osrelease",
    cpu = info.cpu, processors = info.processors, threads = info.threads,
    blas = info.blas, blis = info.blas:match "^blis (%S+)", kernels = lip.arch,
    compiler = info.compiler, flags = info.flags, lua = info.lua, version = info.version,
  }
end

--- own() over common: what a start line carries. With trial.json also which script it is.
---@param common? table
---@param told? table trial.json
function provenance.together(common, told)
  local all = { script = told and told.script, script_sha256 = told and told.script_sha256 }
  for name, value in pairs(common or {}) do all[name] = value end
  for name, value in pairs(provenance.own()) do all[name] = value end
  return all
end

return require "lip.arguments".module("lip.provenance.", provenance, {
  common = "options options?", git = "folder text?", together = "common table?, told table?",
})
