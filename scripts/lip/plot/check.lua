--- What a figure may hold: raises on the line that called lip.plot.
local nearest = require "lip.nearest"
local options = require "lip.options"
local shown = require "lip.shown"

local check = {}

-- how deep the line that called lip.plot lies below these functions: found by walking up, past our own files
local function refuse(fmt, ...)
  local level = 2
  while true do
    local info = debug.getinfo(level, "S")
    if not info then break end
    if not info.source:find "/lip/plot[%./]" then break end
    level = level + 1
  end
  error("plot: " .. fmt:format(...), level)
end
check.refuse = refuse

--- A text for gnuplot: nothing in it is special. Single quotes stand in pieces of their own, in double ones: gnuplot
--- 5.4 takes two doubled ones, or one at the beginning, for the end of the text.
function check.quote(words)
  local text = tostring(words):gsub("[%c]", " "):gsub("'+", function(quotes) return ("' . \"%s\" . '"):format(quotes) end)
  return "'" .. text .. "'"
end

--- A table of numbers.
function check.values(v, what)
  if type(v) == "userdata" and type(v.totable) == "function" then v = v:flatten():totable() end
  if type(v) ~= "table" then refuse("%s expects a table or tensor of numbers, got %s", what, type(v)) end
  for i = 1, #v do
    if type(v[i]) ~= "number" then refuse("%s expects numbers, element %d is a %s", what, i, type(v[i])) end
  end
  return v
end

function check.colour(v, what)
  if v == nil then return nil end
  if type(v) ~= "string" or not v:find "^#%x%x%x%x%x%x$" then
    refuse("%s: a colour is written \"#rrggbb\", got %s", what, tostring(v))
  end
  return v:lower()
end

-- name -> what its value must be; names that are not here are looked at where they are used
local function positive(v) return type(v) == "number" and v > 0 and v <= 20000 end
local function whole(v) return math.tointeger(v) ~= nil and v >= 1 end
local function boolean(v) return type(v) == "boolean" end
local function list(v) return type(v) == "table" end
local function words(v) return type(v) == "string" or type(v) == "number" end
local kinds = {
  width = { positive, "a number of pixels" }, height = { positive, "a number of pixels" },
  columns = { whole, "a whole number >= 1" }, inline = { boolean, "true or false" },
  logx = { boolean, "true or false" }, logy = { boolean, "true or false" }, signed = { boolean, "true or false" },
  panels = { list, "a list of panels" }, series = { list, "a list of series" }, levels = { list, "a list" },
  verticals = { list, "a list" }, notes = { list, "a list" }, images = { list, "a list of rows of images" },
  xtics = { list, "a list of {position, text}" }, xrange = { list, "{low, high}" }, yrange = { list, "{low, high}" },
  title = { words, "a text" }, xlabel = { words, "a text" }, ylabel = { words, "a text" }, text = { words, "a text" },
  background = { function(v) return v == "white" or v == "none" end, "\"white\" or \"none\"" },
  file = { function(v) return type(v) == "string" and v ~= "" end, "a name or \"-\"" },
  key = { function(v) return v == false or type(v) == "string" and not v:find "[^%a%s]" end,
    "words such as \"top right\", or false" },
  dash = { function(v) return whole(v) and v <= 5 end, "a whole number from 1 to 5" },
}

-- groups of the options table
local FIGURE, PANEL, SERIES, LEVEL, VERTICAL, NOTE, IMAGE = 1, 2, 3, 4, 5, 6, 7

local function fields(t, what, ...)
  local known, names = {}, {}
  for _, group in ipairs { ... } do
    for _, row in ipairs(options.of "lip.plot"[group]) do
      if not known[row.name] then names[#names + 1] = row.name end
      known[row.name] = true
    end
  end
  if type(t) ~= "table" then refuse("%s is a table, got %s", what, type(t)) end
  for key, value in next, t do
    if type(key) == "string" and not known[key] then
      refuse("%s: unknown option '%s'%s (known: %s)", what, key, nearest.hint(key, names), table.concat(names, ", "))
    end
    local kind = kinds[key]
    if kind and not kind[1](value) then
      refuse("%s%s expects %s, got %s", what == "the figure" and "" or what .. ": ", key, kind[2],
        type(value) == "table" and "a table" or shown(value))
    end
  end
end

local function check_panel(panel)
  for k, series in ipairs(panel.series or {}) do fields(series, "series " .. k, SERIES) end
  for k, level in ipairs(panel.levels or {}) do fields(level, "level " .. k, LEVEL) end
  for k, line in ipairs(panel.verticals or {}) do fields(line, "vertical " .. k, VERTICAL) end
  for k, note in ipairs(panel.notes or {}) do fields(note, "note " .. k, NOTE) end
  for r, row in ipairs(panel.images or {}) do
    for c, image in ipairs(type(row) == "table" and row or refuse("images: row %d is a list of images", r)) do
      if type(image) == "table" and image.pixels ~= nil then fields(image, ("image %d, %d"):format(r, c), IMAGE) end
    end
  end
end

function check.fields(fig)
  if fig.panels then fields(fig, "the figure", FIGURE) else fields(fig, "the figure", FIGURE, PANEL) end
  for i, panel in ipairs(fig.panels or { fig }) do
    if panel ~= fig then fields(panel, "panel " .. i, PANEL) end
    check_panel(panel)
  end
  if #(fig.panels or { fig }) == 0 then refuse "a figure has no panels" end
end

return check
