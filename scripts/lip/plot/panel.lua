--- One panel of a figure as commands of gnuplot.
local check = require "lip.plot.check"
local image = require "lip.plot.image"

local panel_script = {}

-- distinct also in grey and for colour-blind readers (Okabe, Ito 2008)
local palette = { "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31" }
local ink, grid = "#333333", "#dddddd"
panel_script.palette, panel_script.ink, panel_script.grid = palette, ink, grid

-- style -> what gnuplot calls it and how it is drawn
local styles = {
  lines = { "lines", "lw 2" }, steps = { "steps", "lw 2" }, impulses = { "impulses", "lw 2" },
  points = { "points", "lw 1.5 pt 7 ps 0.6" }, linespoints = { "linespoints", "lw 2 pt 7 ps 0.6" },
  boxes = { "boxes", "fs solid 0.6 border lw 1" }, dots = { "dots", "" },
  rings = { "points", "lw 1.5 pt 6 ps 1.3" },
}
local joined = { lines = true, steps = true } -- nothing is seen of a single point
local with_bars = { points = true, boxes = true }

local function finite(v)
  return v == v and v ~= math.huge and v ~= -math.huge
end

-- What gnuplot reads: values that cannot be drawn are missing.
local function number(v, log)
  if not finite(v) or log and v <= 0 then return "NaN" end
  return ("%.9g"):format(v)
end

local function quote_or_none(title)
  return title and check.quote(title) or "''"
end

-- How far an axis reaches, for logarithmic ones: gnuplot would go on to the next powers of ten.
local function widen(seen, axis, v)
  local r = seen[axis]
  if not r then
    seen[axis] = { v, v }
  else
    r[1], r[2] = math.min(r[1], v), math.max(r[2], v)
  end
end

-- A block of columns; remembers in `seen` whether anything of it can be drawn, and where.
local function block(n, panel, x, columns, seen, out)
  local lines = {}
  for k = 1, #columns[1] do
    local row = { number(x and x[k] or k, panel.logx) }
    for c, column in ipairs(columns) do row[c + 1] = number(column[k], panel.logy) end
    lines[k] = table.concat(row, " ")
    if not lines[k]:find "NaN" then
      seen.any = true
      widen(seen, "x", x and x[k] or k)
      for _, column in ipairs(columns) do widen(seen, "y", column[k]) end
    end
  end
  if #lines == 0 then lines[1] = "NaN" .. (" NaN"):rep(#columns) end
  out[#out + 1] = ("$d%d << EOD\n%s\nEOD"):format(n, table.concat(lines, "\n"))
end

-- Counts the values that a logarithmic axis leaves out.
local function note_left_out(panel, x, columns, seen)
  for k = 1, #columns[1] do
    local out = panel.logx and x and finite(x[k]) and x[k] <= 0
    for _, column in ipairs(panel.logy and columns or {}) do out = out or finite(column[k]) and column[k] <= 0 end
    if out then seen.left_out = seen.left_out + 1 end
  end
end

-- Points with no neighbour to draw a line to.
local function alone(panel, x, y)
  local at, values = {}, {}
  local function drawn(k)
    return k >= 1 and k <= #y and number(x and x[k] or k, panel.logx) ~= "NaN" and number(y[k], panel.logy) ~= "NaN"
  end
  for k = 1, #y do
    if drawn(k) and not drawn(k - 1) and not drawn(k + 1) then
      at[#at + 1], values[#values + 1] = x and x[k] or k, y[k]
    end
  end
  return at, values
end

-- The band around a line, cut where it has no value (filledcurves would join over the gap).
local function band(n, panel, x, low, high, colour, title, seen, out, parts)
  local first = 1
  for k = 1, #low + 1 do
    local drawn = low[k] and number(low[k], panel.logy) ~= "NaN" and number(high[k], panel.logy) ~= "NaN" and
      number(x and x[k] or k, panel.logx) ~= "NaN"
    if not drawn then
      if k > first then
        local at, a, b = {}, {}, {}
        for j = first, k - 1 do
          at[#at + 1], a[#a + 1], b[#b + 1] = x and x[j] or j, low[j], high[j]
        end
        block(n, panel, at, { a, b }, seen, out)
        parts[#parts + 1] = ("$d%d using 1:2:3 with filledcurves %s lc rgb '%s' title %s"):format(n,
          "fs transparent solid 0.18 noborder", colour, quote_or_none(title))
        n, title = n + 1, nil
      end
      first = k + 1
    end
  end
  return n
end

local function numbers_of(s, i)
  local what = ("series %d: "):format(i)
  local low = s.low ~= nil and check.values(s.low, what .. "low") or nil
  local high = s.high ~= nil and check.values(s.high, what .. "high") or nil
  if (low == nil) ~= (high == nil) then check.refuse("series %d: low and high come together", i) end
  local y = (s.y ~= nil or not low) and check.values(s.y, what .. "y") or nil
  local x = s.x ~= nil and check.values(s.x, what .. "x") or nil
  local n = #(y or low)
  if x and #x ~= n then check.refuse("series %d has %d x and %d y", i, #x, n) end
  if low and (#low ~= n or #high ~= n) then check.refuse("series %d: low and high have as many values as y", i) end
  return x, y, low, high
end

-- Texts at the points of a series.
local function point_labels(s, i, x, y, panel, colour, out)
  if not s.labels then return end
  if type(s.labels) ~= "table" or #s.labels > #y then
    check.refuse("series %d: labels is a list of at most as many texts as points", i)
  end
  for k, words in ipairs(s.labels) do
    local px, py = number(x and x[k] or k, panel.logx), number(y[k], panel.logy)
    if px ~= "NaN" and py ~= "NaN" and words ~= "" then
      out[#out + 1] = ("set label %s at %s,%s left offset 0.7,0.4 front tc rgb '%s'"):format(check.quote(words), px, py,
        colour)
    end
  end
end

-- Boxes as wide as their places: those that are not drawn do not widen their neighbours.
local function box_width(x, n, out)
  local width = x and math.huge or 1
  for k = 2, x and n or 1 do
    local d = math.abs(x[k] - x[k - 1])
    if d > 0 and d < width then width = d end
  end
  if finite(width) then out[#out + 1] = ("set boxwidth %s absolute"):format(number(0.95 * width)) end
end

local function series_script(s, i, n, panel, kind, seen, out, parts)
  local style = s.style or "lines"
  local look = styles[style]
  if not look then
    local names = {}
    for name in pairs(styles) do names[#names + 1] = name end
    table.sort(names)
    check.refuse("series %d: unknown style '%s' (known: %s)", i, tostring(style), table.concat(names, ", "))
  end
  local x, y, low, high = numbers_of(s, i)
  local colour = check.colour(s.colour, "series " .. i) or palette[(i - 1) % #palette + 1]
  note_left_out(panel, x, y and low and { y, low, high } or y and { y } or { low, high }, seen)
  if style == "rings" and kind == "text" then return n end -- they would hide the letters of the points
  local dash = s.dash and (" dt %d"):format(s.dash) or ""
  if low and not (y and with_bars[style]) and kind ~= "text" then
    n = band(n, panel, x, low, high, colour, not y and s.title, seen, out, parts)
  elseif low and (kind ~= "text" or not y) then -- a terminal shows the middle alone
    local columns = y and { y, low, high } or { low, high }
    block(n, panel, x, columns, seen, out)
    if y then
      parts[#parts + 1] = ("$d%d using 1:2:3:4 with yerrorbars lw 1.5 pt 7 ps 0.6 lc rgb '%s' title %s"):format(n,
        colour, style == "points" and quote_or_none(s.title) or "''")
    else
      for c = 2, 3 do
        parts[#parts + 1] = ("$d%d using 1:%d with lines lc rgb '%s' title %s"):format(n, c, colour,
          c == 2 and quote_or_none(s.title) or "''")
      end
    end
    n = n + 1
    if y and style == "points" then
      point_labels(s, i, x, y, panel, colour, out)
      return n
    end
  end
  if y then
    block(n, panel, x, { y }, seen, out)
    if style == "boxes" then box_width(x, #y, out) end
    -- in a terminal the kind of a point is its letter
    local drawn = kind == "text" and style:find "points" and "pt " .. (i - 1) % 26 + 1 or look[2] .. dash
    parts[#parts + 1] = ("$d%d using 1:2 with %s %s lc rgb '%s' title %s"):format(n, look[1], drawn, colour,
      quote_or_none(s.title))
    point_labels(s, i, x, y, panel, colour, out)
    n = n + 1
  end
  for _, line in ipairs(not joined[style] and {} or y and { y } or { low, high }) do
    local at, values = alone(panel, x, line)
    if #at > 0 then
      block(n, panel, at, { values }, seen, out)
      parts[#parts + 1] = ("$d%d using 1:2 with points %s lc rgb '%s' notitle"):format(n,
        kind == "text" and "pt " .. (i - 1) % 26 + 1 or "pt 7 ps 0.6", colour)
      n = n + 1
    end
  end
  return n
end

local function range(r, what)
  local ends = {}
  for k = 1, 2 do
    if r[k] ~= nil and (type(r[k]) ~= "number" or not finite(r[k])) then
      check.refuse("%s expects {low, high}, finite numbers", what)
    end
    ends[k] = r[k] and number(r[k]) or "*"
  end
  return ("set %s [%s:%s]"):format(what, ends[1], ends[2])
end

-- A logarithmic axis ends close to what is drawn; over few decades it has marks at 1, 2, 5, ...
local function log_axis(axis, seen, out)
  local low, high = seen[axis][1], seen[axis][2]
  local room = math.max((high / low) ^ 0.05, 1.05)
  low, high = low / room, high * room
  if not (low > 0 and finite(high)) then return end
  out[#out + 1] = ("set %srange [%s:%s]"):format(axis, number(low), number(high))
  if high / low > 1000 then return end
  local marks = {}
  for k = math.floor(math.log(low, 10)), math.ceil(math.log(high, 10)) do
    for _, digit in ipairs { 1, 2, 5 } do
      local at = digit * 10.0 ^ k
      if at >= low and at <= high then marks[#marks + 1] = ("'%.6g' %s"):format(at, number(at)) end
    end
  end
  if #marks < 3 then -- less than a decade: even steps
    local step = 10.0 ^ math.floor(math.log((high - low) / 3, 10))
    for _, more in ipairs { 2, 5 } do
      if (high - low) / (more * step) >= 3 then marks.step = more * step end
    end
    step, marks = marks.step or step, {}
    for k = math.ceil(low / step), math.floor(high / step) do
      marks[#marks + 1] = ("'%.6g' %s"):format(k * step, number(k * step))
    end
  end
  if #marks >= 2 and #marks <= 12 then out[#out + 1] = ("set %stics (%s)"):format(axis, table.concat(marks, ", ")) end
end

-- Few marks below a narrow panel: gnuplot counts marks, not how long their numbers are.
local function sparse_axis(ends, out)
  local least = (ends[2] - ends[1]) / 5
  if not (least > 0 and finite(least)) then return end
  local unit = 10.0 ^ math.floor(math.log(least, 10))
  local step = 10 * unit
  for _, more in ipairs { 5, 2, 1 } do
    if more * unit >= least then step = more * unit end
  end
  out[#out + 1] = "set xtics " .. number(step)
end

-- The length of a box is its number: it begins at 0 unless the range says otherwise.
local function from_zero(panel, seen)
  local given = panel.yrange
  if panel.logy or given and given[1] then return given end
  for _, s in ipairs(panel.series or {}) do
    if s.style == "boxes" and seen.y then
      if seen.y[1] >= 0 then return { 0, given and given[2] or nil } end
      if seen.y[2] <= 0 and not (given and given[2]) then return { nil, 0 } end
    end
  end
  return given
end

local function axes(panel, kind, seen, out, narrow)
  for _, axis in ipairs { "x", "y" } do
    local log, given = panel["log" .. axis], panel[axis .. "range"]
    if axis == "y" then given = from_zero(panel, seen) end
    out[#out + 1] = ("%s logscale %s\nset %stics autofreq"):format(log and "set" or "unset", axis, axis)
    if given then
      out[#out + 1] = range(given, axis .. "range")
    elseif not seen.any and (axis == "x" or not seen.level) then -- nothing to draw: an empty frame instead of an error
      out[#out + 1] = ("set %srange [%s]"):format(axis, log and "1:10" or "0:1")
    else
      out[#out + 1] = ("set autoscale %s"):format(axis)
      if log and seen[axis] then log_axis(axis, seen, out) end
    end
  end
  if panel.xtics then
    local marks = {}
    for k, mark in ipairs(panel.xtics) do
      local at = type(mark) == "table" and mark[1] or mark
      if type(at) ~= "number" or not finite(at) then check.refuse("xtics: mark %d is {position, text}", k) end
      marks[k] = ("%s %s"):format(check.quote(type(mark) == "table" and mark[2] or ("%g"):format(at)), number(at))
    end
    out[#out + 1] = "set xtics (" .. table.concat(marks, ", ") .. ")"
  elseif narrow and seen.x and not panel.logx then
    sparse_axis(seen.x, out)
  end
  if kind ~= "text" then out[#out + 1] = ("set grid xtics ytics lt 1 lw 0.7 lc rgb '%s'"):format(grid) end
end

-- Lines across the panel.
local function guides(panel, seen, out, parts)
  for k, level in ipairs(panel.levels or {}) do
    if type(level.y) ~= "number" then check.refuse("level %d: y expects a number, got %s", k, type(level.y)) end
    if number(level.y, panel.logy) ~= "NaN" then
      local colour = check.colour(level.colour, "level " .. k) or "#777777"
      local look = ("lw 1.5 dt 2 lc rgb '%s'"):format(colour)
      out[#out + 1] = ("set arrow from graph 0, first %s to graph 1, first %s nohead %s"):format(number(level.y),
        number(level.y), look)
      parts[#parts + 1] = ("%s with dots lc rgb '%s' notitle"):format(number(level.y), colour) -- widens the axis
      seen.level = true
      widen(seen, "y", level.y)
      if level.title then
        parts[#parts + 1] = ("keyentry with lines %s title %s"):format(look, check.quote(level.title))
      end
    end
  end
  for k, line in ipairs(panel.verticals or {}) do
    if type(line.x) ~= "number" then check.refuse("vertical %d: x expects a number, got %s", k, type(line.x)) end
    if number(line.x, panel.logx) ~= "NaN" then
      widen(seen, "x", line.x)
      local look = ("lw 1.5 dt 2 lc rgb '%s'"):format(check.colour(line.colour, "vertical " .. k) or "#777777")
      out[#out + 1] = ("set arrow from %s, graph 0 to %s, graph 1 nohead %s"):format(number(line.x),
        number(line.x), look)
      if line.title then
        parts[#parts + 1] = ("keyentry with lines %s title %s"):format(look, check.quote(line.title))
      end
    end
  end
  for k, note in ipairs(panel.notes or {}) do
    if type(note.x) ~= "number" or type(note.y) ~= "number" then check.refuse("note %d: x and y expect numbers", k) end
    local x, y = number(note.x, panel.logx), number(note.y, panel.logy)
    if x ~= "NaN" and y ~= "NaN" then
      out[#out + 1] = ("set label %s at %s,%s left offset 0.5,0.4 front tc rgb '%s'"):format(
        check.quote(note.text or ""), x, y, check.colour(note.colour, "note " .. k) or ink)
    end
  end
end

local function heading(panel, kind, out)
  local tc = kind ~= "text" and (" tc rgb '%s'"):format(ink) or ""
  local font = kind ~= "text" and " font ',12'" or ""
  out[#out + 1] = "unset label\nunset arrow\nset size noratio\nset samples 2"
  out[#out + 1] = "set style fill solid 0.6\nset boxwidth 0.95 relative"
  out[#out + 1] = panel.title and "set title " .. check.quote(panel.title) .. font .. tc or "unset title"
  out[#out + 1] = "set xlabel " .. check.quote(panel.xlabel or "") .. tc .. " offset 0,0.3"
  out[#out + 1] = "set ylabel " .. check.quote(panel.ylabel or "") .. tc
  if kind ~= "text" then
    out[#out + 1] = ("set border 3 lc rgb '%s'\nset tics nomirror out scale 0.6 textcolor rgb '%s'"):format(ink, ink)
  end
  local outside = panel.key and (panel.key:find "below" or panel.key:find "outside")
  local back = outside and "noopaque height 0.5" or "opaque fc rgb '#ffffff'"
  local look = kind ~= "text" and ("%s samplen 2 Left reverse%s"):format(back, tc) or outside and "height 2" or ""
  out[#out + 1] = panel.key == false and "unset key" or ("set key %s %s"):format(panel.key or "top left", look)
end

--- Appends the commands of a panel to `out`; data blocks are numbered from n on. Returns the next free number
-- and whether there is anything to see.
function panel_script.script(panel, n, kind, out, narrow)
  heading(panel, kind, out)
  if panel.images then return image.script(panel, n, ink, out) end
  local parts, seen = {}, { left_out = 0 }
  for i, s in ipairs(panel.series or {}) do n = series_script(s, i, n, panel, kind, seen, out, parts) end
  if #parts == 0 and #(panel.series or {}) == 0 and #(panel.levels or {}) == 0 then
    check.refuse "a panel has no series"
  end
  guides(panel, seen, out, parts)
  axes(panel, kind, seen, out, narrow)
  if #parts == 0 or not (seen.any or seen.level) then parts[#parts + 1] = "NaN notitle" end
  if not (seen.any or seen.level) then out[#out + 1] = "set label 'no values' at graph 0.5,0.5 center" end
  if seen.left_out > 0 then
    local words = (seen.left_out == 1 and "1 value <= 0 is" or seen.left_out .. " values <= 0 are") .. " left out"
    out[#out + 1] = "set xlabel " .. check.quote(panel.xlabel and ("%s (%s)"):format(panel.xlabel, words) or words)
  end
  out[#out + 1] = "plot " .. table.concat(parts, ", ")
  return n, seen.any or seen.level or false
end

return panel_script
