--- Whether a script takes the settings of a sweep, asked before any trial is started: a process of its own runs the
-- script up to its lip.args, which tries every value and leaves (`lipwb trial --check FOLDER`). A script without
-- lip.args, or one that does not come to it in time or at all, is left alone: its trials will say what they find.
local lip = require "lip"
local decimal = require "lip.decimal"

local settings = { patience = 10 } -- seconds until lip.args must have been called

--- Format of trial.json, and the oldest that still runs. Since 2 settings are handed on as the values they are.
settings.FORMAT, settings.OLDEST = 2, 1

--- A value as workers of format 1 handed it on, as --set would have it.
function settings.old_text(v)
  if type(v) == "table" then
    local words = {}
    for i, x in ipairs(v) do words[i] = settings.old_text(x) end
    return table.concat(words, ",")
  end
  return math.type(v) == "float" and ("%.17g"):format(v) or tostring(v)
end

-- ---- asking ----

-- All values that a sweep can give to each setting, each once; of a range its ends.
local function values_of(plan)
  local all, seen, search = {}, {}, plan.sweep.search
  local function add(name, v)
    all[name], seen[name] = all[name] or {}, seen[name] or {}
    local text = lip.to_json(v)
    if not seen[name][text] then table.insert(all[name], v) end
    seen[name][text] = true
  end
  for name, v in pairs(plan.fixed) do add(name, plan.given[name] or v) end
  for _, config in ipairs(search.list or {}) do
    for name, v in pairs(config) do add(name, v) end
  end
  for name, d in pairs(search.space or {}) do
    for _, v in ipairs(d.values or not d.kind and d or { d.low, d.high }) do add(name, v) end
  end
  return all
end

-- What the process says (lip.args tells what stands in it): nil when it did not come to lip.args.
local function ask(plan, data, folder)
  local told = { format = settings.FORMAT, kind = "script", script = plan.script, data = data, config = {}, set = {},
    values = values_of(plan) }
  if not lip.file.write(folder .. "/trial.json", lip.to_json(told))
    or not lip.file.write(folder .. "/script.lua", plan.script_text) then return nil end
  local process = lip.process.spawn { require "lip.sweep.runner".program(), "trial", "--check", folder,
    stdout = folder .. "/output.txt", group = true, dies_with_parent = true }
  if not process then return nil end
  if not process:wait(settings.patience) then
    process:signal "KILL"
    process:wait(settings.patience)
    return nil
  end
  local text = lip.file.read(folder .. "/answer")
  local answer = text and lip.from_json(text)
  return type(answer) == "table" and answer or nil
end

-- ---- values that are one ----

local function same_text(pair)
  return ("setting '%s': %s and %s are one value of it"):format(pair.name, decimal.json(pair.first),
    decimal.json(pair.second))
end

-- Of a list: which trials are the same when values that are one are taken for one.
local function same_trials(list, same)
  local first_of, seen = {}, {}
  for _, pair in ipairs(same) do first_of[pair.name .. "\0" .. lip.to_json(pair.second)] = pair end
  for i, config in ipairs(list) do
    local one, why = {}, nil
    for name, v in pairs(config) do
      local pair = first_of[name .. "\0" .. lip.to_json(v)]
      one[name], why = pair and pair.first or v, pair or why
    end
    local text = lip.to_json(one)
    if why and seen[text] then
      return ("trials %d and %d are the same: %s"):format(seen[text], i, same_text(why))
    end
    seen[text] = seen[text] or i
  end
end

local function refused(plan, answer)
  if answer.complaint then return (answer.complaint:gsub("^%-%-set:? ", "")) end
  if #answer.same == 0 then return nil end
  local search = plan.sweep.search
  if search.list then return same_trials(search.list, answer.same) end
  return same_text(answer.same[1]) -- every value of a grid or a choice is tried beside every other
end

--- Why the script refuses what the sweep would set, or nil; and the types of its settings, as far as they are known.
---@param plan table of lip.sweep.plan
---@param data? string folder of data sets
---@return string|nil message, table kinds { [name] = "number" | "string" | "boolean" }, of a list that of its elements
function settings.refusal(plan, data)
  if plan.kind ~= "script" or not plan.script_text:find "args%s*[{(]" then return nil, {} end
  local folder = lip.file.temporary()
  if not folder then return nil, {} end
  local _ <close> = setmetatable({}, { __close = function() lip.file.remove_tree(folder) end })
  local answer = ask(plan, data, folder)
  if not answer then return nil, {} end
  local message = refused(plan, answer)
  return message and ("%s: %s"):format(plan.script, message), answer.kinds
end

--- In that process.
---@param folder string
---@param told table trial.json
---@return integer status
function settings.answer(folder, told)
  lip.settings.try = { values = told.values, tell = function(answer)
    lip.file.write(folder .. "/answer", lip.to_json(answer))
    os.exit(0)
  end }
  local chunk = lip.load_script(lip.file.read(folder .. "/script.lua") or "", told.script)
  if chunk then pcall(chunk) end
  return 0
end

return settings
