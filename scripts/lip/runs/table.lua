--- Tables as text, for a terminal: columns aligned, numbers of a column with the same decimals, as wide as allowed.
local plain = require "lip.core".plain
local field = require "lip.runs.field"

local text_table = {}

local MAX_CELL, SHORT = 40, 16

--- One line that moves no cursor.
function text_table.plain(v)
  local s = type(v) == "string" and v or field.text(v)
  return s:find "[%c\x7f-\xff]" and plain(s) or s
end

local function width_of(s)
  return utf8.len(s) or #s
end

--- Not more than `n` characters, "..." where something is missing.
function text_table.clip(s, n)
  if width_of(s) <= n then return s end
  if n <= 3 then return s:sub(1, utf8.offset(s, n + 1) - 1) end
  return s:sub(1, utf8.offset(s, n - 2) - 1) .. "..."
end
local clip = text_table.clip

-- ---- values ----

--- A number in a few characters: five significant digits; of the result `name`, if it has one, on the safe side.
function text_table.number(v, name)
  if v ~= v then return "nan" end
  if v == math.huge then return "inf" end
  if v == -math.huge then return "-inf" end
  if math.type(v) == "integer" or v == math.floor(v) and math.abs(v) < 1e7 then return ("%d"):format(v) end
  return (("%.5g"):format(field.shown(name, v, 5)):gsub("e([+-])0+(%d)", "e%1%2"):gsub("e%+", "e"))
end

function text_table.duration(s)
  if s ~= s or s < 0 or s > 1e9 then return text_table.number(s) .. " s" end
  if s < 59.95 then return ("%.1f s"):format(s) end
  local whole = math.floor(s + 0.5)
  if whole < 3600 then return ("%d:%02d"):format(whole // 60, whole % 60) end
  if whole < 86400 then return ("%d:%02d:%02d"):format(whole // 3600, whole // 60 % 60, whole % 60) end
  return ("%d d %02d:%02d"):format(whole // 86400, whole // 3600 % 24, whole // 60 % 60)
end

function text_table.bytes(n)
  local units, i = { "B", "kB", "MB", "GB", "TB" }, 1
  while n >= 999.5 and i < #units do n, i = n / 1000, i + 1 end
  return ((i == 1 or n >= 99.95) and "%.0f %s" or "%.1f %s"):format(n, units[i])
end

function text_table.date(t)
  if not (math.abs(t) < 1e11) then return text_table.number(t) end -- damaged
  return os.date("%Y-%m-%d %H:%M", math.floor(t))
end

-- what some fields of a run mean
text_table.formats = {
  seconds = text_table.duration, memory = text_table.bytes, started = text_table.date, finished = text_table.date,
  id = tostring, number = tostring, seed = tostring, attempt = tostring, pid = tostring, key = tostring,
}

-- The decimals that show every number of a column in five significant digits, or nil: then each in its own way.
local function decimals_of(numbers)
  local most, low, high, seen = 0, math.huge, 0, {}
  for _, v in ipairs(numbers) do
    local a = math.abs(v)
    if a == a and a < math.huge and a > 0 and not seen[a] then
      seen[a] = true
      low, high = math.min(low, a), math.max(high, a)
      local digits = text_table.number(v)
      if digits:find "e" then return nil end
      local point = digits:find("%.")
      if point then most = math.max(most, #digits - point) end
    end
  end
  if high >= 1e7 or (high > 0 and most > 0 and high / low > 1e4 and low < 1e-2) then return nil end
  return math.min(most, math.max(0, 4 - math.floor(math.log(math.max(high, 1), 10))))
end

-- The cells of one column as texts, and whether they stand on the right.
local function cells_of(column, rows)
  local values, numbers, others = {}, {}, false
  for i, row in ipairs(rows) do
    local v = column.get(row)
    values[i] = v
    if type(v) == "number" then
      numbers[#numbers + 1] = v
    elseif v ~= nil and not field.number(v) then
      others = true
    end
  end
  local decimals = not column.format and #numbers > 0 and decimals_of(numbers)
  local pattern = decimals and "%." .. decimals .. "f"
  local function cell(v)
    if type(v) ~= "number" then return clip(text_table.plain(v), column.max or MAX_CELL) end
    if column.format then return text_table.plain(column.format(v)) end
    local finite = v == v and math.abs(v) < math.huge
    return pattern and finite and pattern:format(field.shown(column.name, v, decimals, true))
      or text_table.number(v, column.name)
  end
  local cells, known = {}, {} -- the same values come again and again
  for i = 1, #rows do
    local v = values[i]
    if v == nil then
      cells[i] = ""
    elseif v ~= v then
      cells[i] = cell(v)
    else
      known[v] = known[v] or cell(v)
      cells[i] = known[v]
    end
  end
  return cells, column.number or (#numbers > 0 and not others)
end

text_table.cells = cells_of

-- ---- layout ----

local function pad(s, width, right)
  local n = width - width_of(s)
  if n <= 0 then return s end
  local gap = (" "):rep(n)
  return right and gap .. s or s .. gap
end

--- Lines of a table. columns: { { title=, get=function(row), format=, keep=, max=, number= }, ... }. In a table wider
-- than `width` long words are cut first, then columns left out from the right, those with `keep` last of all; returns
-- the lines and the titles left out.
---@return string[] lines, string[] left_out
function text_table.lines(columns, rows, width)
  local laid, total = {}, 0
  for i, column in ipairs(columns) do
    local cells, right = cells_of(column, rows)
    local title = clip(text_table.plain(column.title), MAX_CELL)
    local widest = width_of(title)
    for _, cell in ipairs(cells) do
      local n = width_of(cell)
      if n > widest then widest = n end
    end
    laid[i] = { title = title, cells = cells, right = right, width = widest, keep = column.keep }
    total = total + widest + (i > 1 and 2 or 0)
  end
  local left_out = {}
  -- long words give way before whole columns do
  for _, c in ipairs(laid) do
    if width and total > width and not c.right and c.width > SHORT then
      local room = math.max(SHORT, c.width - (total - width)) -- as much as is left
      total = total - c.width + room
      c.width, c.title = room, clip(c.title, room)
      for r, cell in ipairs(c.cells) do c.cells[r] = clip(cell, room) end
    end
  end
  local function drop(kept)
    for i = #laid, 2, -1 do
      if total <= width then return end
      if not laid[i].keep or kept then
        total = total - laid[i].width - 2
        table.insert(left_out, 1, laid[i].title)
        table.remove(laid, i)
      end
    end
  end
  if width then
    drop(false)
    drop(true)
  end
  local lines = {}
  for r = 0, #rows do
    local parts = {}
    for i, c in ipairs(laid) do parts[i] = pad(r == 0 and c.title or c.cells[r], c.width, c.right) end
    local line = table.concat(parts, "  "):gsub("%s+$", "")
    lines[#lines + 1] = width and clip(line, width) or line
  end
  return lines, left_out
end

--- Names and values, one pair a line, values folded under each other.
function text_table.pairs(list, width)
  local widest, lines = 0, {}
  for _, row in ipairs(list) do widest = math.max(widest, width_of(row[1])) end
  widest = math.min(widest, 28)
  for _, row in ipairs(list) do
    local name = pad(row[1], math.max(widest, width_of(row[1])))
    local rest, room = row[2], math.max(20, (width or math.huge) - widest - 4)
    while width_of(rest) > room do
      local cut = utf8.offset(rest, room + 1) - 1
      local space = rest:sub(1, cut):match "^.*() "
      if space and space > cut // 2 then cut = space end
      lines[#lines + 1] = "  " .. name .. "  " .. rest:sub(1, cut):gsub("%s+$", "")
      name, rest = (" "):rep(width_of(name)), rest:sub(cut + 1)
    end
    lines[#lines + 1] = ("  " .. name .. "  " .. rest):gsub("%s+$", "")
  end
  return lines
end

return text_table
