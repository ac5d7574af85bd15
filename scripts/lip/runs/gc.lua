--- `lipwb runs gc`: what the folder beside a store holds and nothing refers to. Without --delete it only tells.
--
-- Order matters: folders are listed first and the database is asked afterwards, because a runner puts a trial into the
-- database before it makes its folder. To be removed, a folder is renamed away while the database is locked for writing
-- and still does not know its key.
local lip = require "lip"
local journal = require "lip.sweep.journal"
local text_table = require "lip.runs.table"
local is_own = require "lip.sweep.store".is_own

local gc = {}

-- "file", "folder", "link" or "other"; nil when nothing is there. Only of names in folders that are the store's own.
local function kind_of(path)
  local s = lip.file.stat(path, { follow = false })
  return s and s.kind
end

local function size_of(path)
  local s = lip.file.stat(path, { follow = false })
  if not s then return 0 end
  if s.kind ~= "folder" then return s.size end
  local total = 0
  for _, name in ipairs(lip.file.list(path) or {}) do total = total + size_of(path .. "/" .. name) end
  return total
end

-- The process that wrote the last start line, if it still runs here and has not said that it ended.
local function at_work(folder)
  local lines = journal.read(folder, 0)
  if not lines then return true end -- nobody can tell
  local alive = false
  for _, line in ipairs(lines) do
    if line.event == "start" then
      local pid, start = math.tointeger(line.pid), math.tointeger(line.pid_start)
      -- of a process on another machine nothing is known: it counts as running
      alive = line.host ~= lip.process.self().host or pid == nil or lip.process.alive(pid, start)
    elseif line.event == "end" then
      alive = false
    end
  end
  return alive
end

local function known_keys(store)
  local keys, n = {}, 0
  local list, message = store:trials {}
  if not list then return nil, message end
  for _, record in ipairs(list) do
    -- one key may stand in several sweeps: done only when it is done in all
    if keys[record.key] == nil or record.state ~= "done" then keys[record.key] = record.state end
    n = n + 1
  end
  return keys, n
end

-- Folders of the store, and of its trials, that are links.
local function linked(root, listed)
  local links = {}
  for _, name in ipairs { "trials", "objects", "sweeps" } do
    if kind_of(root .. "/" .. name) == "link" then links[#links + 1] = name end
  end
  for _, name in ipairs(listed) do
    if kind_of(root .. "/trials/" .. name) == "link" then links[#links + 1] = "trials/" .. name end
  end
  return links
end

local function unknown_folders(root, keys, listed, found)
  for _, name in ipairs(listed) do
    local folder = root .. "/trials/" .. name
    local known = keys[name]
    if not is_own(root, folder) then -- refused
    elseif not known and name:find "^%x+$" and #name == 16 and not at_work(folder) then
      found[#found + 1] = { kind = "folder", path = folder, key = name, size = size_of(folder), why = "in no sweep" }
    elseif not known and name:find "^%.gone%-" then
      found[#found + 1] = { kind = "rest", path = folder, size = size_of(folder), why = "left by an earlier gc" }
    end
  end
end

-- Checkpoints that lip.train keeps to go on from are of no use once the run is done. Nets that a script saved, under
-- names of its own, stay.
local function old_checkpoints(root, keys, listed, found)
  for _, name in ipairs(listed) do
    local folder = root .. "/trials/" .. name
    if keys[name] == "done" and is_own(root, folder) and not at_work(folder) then
      for _, line in ipairs((journal.read(folder, 0)) or {}) do
        local path = line.event == "file" and line.kind == "checkpoint" and line.path
        local kept = type(path) == "string" and path:find "^train%d*%.safetensors$"
        if kept and kind_of(folder .. "/" .. path) == "file" then
          found[#found + 1] = { kind = "checkpoint", path = folder .. "/" .. path, key = name,
            size = size_of(folder .. "/" .. path), why = "checkpoint of a run that is done" }
        end
      end
    end
  end
end

local function mentioned(text, seen)
  for hash in text:gmatch "%f[%x]%x+%f[^%x]" do
    if #hash == 64 then seen[hash] = true end
  end
end

-- The hashes in the database and in all files that tell of a trial or a sweep; nil when one of these cannot be read.
local function hashes(store, away)
  local seen, whole, root = {}, true, store.root
  local function look(path)
    local text, _, code = lip.file.read(path, 0, store.below)
    if not text and code ~= "not_found" then whole = false end
    mentioned(text or "", seen)
  end
  local rows = store.db:rows [[SELECT description AS text FROM sweeps
    UNION ALL SELECT provenance FROM trials WHERE provenance IS NOT NULL]]
  for _, row in ipairs(rows or {}) do mentioned(tostring(row.text), seen) end
  local sweeps, trials = lip.file.list(root .. "/sweeps", store.below), lip.file.list(root .. "/trials", store.below)
  if not (rows and sweeps and trials) then return nil end
  for _, name in ipairs(sweeps) do
    local path = root .. "/sweeps/" .. name
    if kind_of(path) ~= "folder" then look(path) end
  end
  for _, name in ipairs(trials) do
    local folder = root .. "/trials/" .. name
    local kind = kind_of(folder)
    if kind == "link" then whole = false end -- nobody knows what is mentioned there
    if not away[folder] and kind == "folder" then
      look(folder .. "/trial.json")
      look(folder .. "/journal.jsonl")
    end
  end
  return whole and seen or nil
end

-- What writers that were killed have left beside the files they wrote.
local function leftovers(store, listed, found)
  local root = store.root
  local folders = { root, root .. "/sweeps", root .. "/objects" }
  for _, name in ipairs(lip.file.list(root .. "/sweeps", store.below) or {}) do
    folders[#folders + 1] = root .. "/sweeps/" .. name
  end
  for _, name in ipairs(listed) do folders[#folders + 1] = root .. "/trials/" .. name end
  for _, folder in ipairs(folders) do
    for _, name in ipairs(lip.file.list(folder, store.below) or {}) do
      local path = folder .. "/" .. name
      if name:find "^%." and lip.file.is_left(path, store.below) then
        found[#found + 1] = { kind = "leftover", path = path, size = size_of(path), why = "left by a killed writer" }
      end
    end
  end
end

-- Objects whose hash nothing mentions.
local function unused_objects(store, away, found)
  local root = store.root
  local seen = is_own(root, root .. "/objects") and hashes(store, away)
  if not seen then return end
  for _, name in ipairs(lip.file.list(root .. "/objects", store.below) or {}) do
    local hash = name:match "^(%x+)%.gz$"
    local path = root .. "/objects/" .. name
    local s = lip.file.stat(path, { follow = false })
    -- one that was just written may belong to a sweep that is only being begun
    if hash and #hash == 64 and not seen[hash] and s and s.kind == "file" and lip.now() - (s.modified or 0) > 3600 then
      found[#found + 1] = { kind = "object", path = path, size = s.size, why = "script or diff of no run" }
    end
  end
end

-- Removes one find; folders only while the database is locked and does not know the key.
local function remove(store, root, item)
  if item.kind ~= "folder" then return lip.file.remove_tree(item.path, store.below) end
  local gone = ("%s/trials/.gone-%s"):format(root, item.key)
  local ok, message = store:transaction(function(self)
    local row, why = self.db:row("SELECT 1 AS yes FROM trials WHERE key = ?", item.key)
    if row == nil then return nil, why end
    if row then return nil, "a sweep has just taken it" end
    return lip.file.rename(item.path, gone, store.below)
  end)
  if not ok then return nil, message end
  return lip.file.remove_tree(gone, store.below)
end

local function tell(found, root)
  local rows = {}
  for _, item in ipairs(found) do
    rows[#rows + 1] = { size = text_table.bytes(item.size), why = item.why, path = item.path:sub(#root + 2) }
  end
  local function get(name) return function(row) return row[name] end end
  local lines = text_table.lines({ { title = "size", get = get "size" }, { title = "what", get = get "why" },
    { title = "path", get = get "path", max = 200 } }, rows)
  io.stdout:write(lip.plain(table.concat(lines, "\n"), true), "\n")
end

function gc.run(context, args)
  local store, root = context.store, context.store.root
  local listed = lip.file.list(root .. "/trials", store.below) or {}
  local keys, n = known_keys(store)
  if not keys then return nil, n end
  if n == 0 and #listed > 0 then
    return nil, ("the database knows no run but there are %d folders: `lipwb runs rebuild` first"):format(#listed),
      "state"
  end
  local found, away = {}, {}
  unknown_folders(root, keys, listed, found)
  for _, item in ipairs(found) do away[item.path] = true end
  if args.checkpoints then old_checkpoints(root, keys, listed, found) end
  unused_objects(store, away, found)
  leftovers(store, listed, found)
  for _, name in ipairs(linked(root, listed)) do
    io.stdout:write("refused: ", text_table.plain(name), " is a symbolic link, nothing behind it is removed\n")
  end
  local total = 0
  for _, item in ipairs(found) do total = total + item.size end
  if #found == 0 then
    io.stdout:write "nothing to remove\n"
    return true
  end
  tell(found, root)
  if not args.delete then
    io.stdout:write(("%d things, %s: nothing was removed, --delete does it\n"):format(#found, text_table.bytes(total)))
    return true
  end
  local freed, failed = 0, 0
  for _, item in ipairs(found) do
    local ok, message = remove(store, root, item)
    if ok then
      freed = freed + item.size
    else
      failed = failed + 1
      io.stderr:write("lipwb runs gc: ", text_table.plain(item.path .. ": " .. tostring(message)), "\n")
    end
  end
  io.stdout:write(("freed %s\n"):format(text_table.bytes(freed)))
  if failed > 0 then return nil, ("%d things could not be removed"):format(failed), "io" end
  return true
end

return gc
