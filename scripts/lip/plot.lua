--- Figures through gnuplot: PNG, SVG, PDF by the file's ending, text in the terminal for "-".
--
--   lip.plot{file = "fit.png", title = "...", width = 900, height = 500, panels = {
--     {title = "...", xlabel = "x", ylabel = "y", logx = false, logy = false, yrange = {0, 1}, key = "bottom right",
--      series = {{x = {...}, y = {...}, title = "...", style = "lines"}, ...},
--      levels = {{y = 2, title = "bound"}}}}}
--
-- x and y are tables or 1-D tensors of the same length; a series without x is drawn against 1, 2, ... Values that are
-- not finite leave a gap. style: lines, points, linespoints, steps, boxes. Returns true, or nil, message, code.
local options = require "lip.options"

local terminals = {
  png = "pngcairo noenhanced size %d,%d font 'sans,11' background '#ffffff'",
  svg = "svg noenhanced size %d,%d font 'sans,12' background '#ffffff'",
  pdf = "pdfcairo noenhanced size %.2f,%.2f font 'sans,10'",
}

-- distinct also in grey and for colour-blind readers (Okabe, Ito 2008)
local colours = { "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000" }
local styles = { lines = true, points = true, linespoints = true, steps = true, boxes = true, dots = true }

local function fail(code, fmt, ...)
  return nil, fmt:format(...), code
end

local function quote(text)
  return "'" .. tostring(text):gsub("[\r\n]", " "):gsub("'", "''") .. "'"
end

local function values(v, what)
  if type(v) == "userdata" then v = v:totable() end
  if type(v) ~= "table" then
    error(("plot: %s expects a table or tensor of numbers, got %s"):format(what, type(v)), 5)
  end
  for i = 1, #v do
    if type(v[i]) ~= "number" then
      error(("plot: %s expects numbers, element %d is a %s"):format(what, i, type(v[i])), 5)
    end
  end
  return v
end

local function number(v)
  if v ~= v or v == math.huge or v == -math.huge then return "NaN" end
  return ("%.9g"):format(v)
end

-- The lines of one series as gnuplot reads them.
local function data(series, i)
  local y = values(series.y, ("series %d: y"):format(i))
  local x = series.x and values(series.x, ("series %d: x"):format(i))
  if x and #x ~= #y then error(("plot: series %d has %d x and %d y"):format(i, #x, #y), 4) end
  local lines = {}
  for k = 1, #y do lines[k] = number(x and x[k] or k) .. " " .. number(y[k]) end
  return table.concat(lines, "\n")
end

local function panel_script(panel, first, out)
  local parts, n = {}, first
  for i, s in ipairs(panel.series or {}) do
    if s.style and not styles[s.style] then error(("plot: series %d: unknown style '%s'"):format(i, s.style), 3) end
    out[#out + 1] = ("$d%d << EOD\n%s\nEOD"):format(n, data(s, i))
    local style = s.style or "lines"
    parts[i] = ("$d%d using 1:2 with %s %s lc rgb '%s' title %s"):format(n, style,
      style:find("points") and "lw 1.5 pt 7 ps 0.6" or "lw 2", s.colour or colours[(i - 1) % #colours + 1],
      s.title and quote(s.title) or "''")
    n = n + 1
  end
  for _, level in ipairs(panel.levels or {}) do
    parts[#parts + 1] = ("%s with lines lw 1.5 dt 2 lc rgb '%s' title %s"):format(
      number(level.y), level.colour or "#555555", level.title and quote(level.title) or "''")
  end
  if #parts == 0 then error("plot: a panel has no series", 3) end
  out[#out + 1] = panel.title and "set title " .. quote(panel.title) or "unset title"
  out[#out + 1] = "set xlabel " .. quote(panel.xlabel or "")
  out[#out + 1] = "set ylabel " .. quote(panel.ylabel or "")
  out[#out + 1] = panel.logx and "set logscale x" or "unset logscale x"
  out[#out + 1] = panel.logy and "set logscale y" or "unset logscale y"
  local range = panel.yrange
  out[#out + 1] = range and ("set yrange [%s:%s]"):format(number(range[1]), number(range[2])) or "set autoscale y"
  out[#out + 1] = "set key " .. (panel.key or "top left")
  out[#out + 1] = "plot " .. table.concat(parts, ", ")
  return n
end

local function terminal(file, width, height, panels)
  if file == "-" then return ("set terminal dumb noenhanced size %d,%d"):format(100, 24 * panels), nil end
  local ending = file:match("%.(%a+)$")
  local setting = ending and terminals[ending:lower()]
  if not setting then return nil end
  if ending:lower() == "pdf" then width, height = width / 100, height / 100 end
  return "set terminal " .. setting:format(width, height), "set output " .. quote(file)
end

-- Raises on the line that called lip.plot when a field is unknown.
local function check_fields(fig)
  local function check(t, what, ...)
    local known, names = {}, {}
    for _, group in ipairs { ... } do
      for _, row in ipairs(options.of "lip.plot"[group]) do
        if not known[row.name] then names[#names + 1] = row.name end
        known[row.name] = true
      end
    end
    if type(t) ~= "table" then error(("plot: %s is a table, got %s"):format(what, type(t)), 4) end
    for key in next, t do
      if type(key) == "string" and not known[key] then
        error(("plot: %s: unknown option '%s' (known: %s)"):format(what, key, table.concat(names, ", ")), 4)
      end
    end
  end
  if fig.panels then check(fig, "the figure", 1) else check(fig, "the figure", 1, 2) end
  for i, panel in ipairs(fig.panels or { fig }) do
    if panel ~= fig then check(panel, "panel " .. i, 2) end
    for k, series in ipairs(panel.series or {}) do check(series, "series " .. k, 3) end
  end
end

local function plot(fig)
  if type(fig) ~= "table" then error("plot: expects a table, as in lip.plot{file=..., panels=...}", 2) end
  check_fields(fig)
  local file = fig.file or "-"
  if type(file) ~= "string" or file == "" then error("plot: file expects a name or \"-\"", 2) end
  local panels = fig.panels or { fig }
  local setting, output = terminal(file, fig.width or 900, fig.height or 420 * #panels, #panels)
  if not setting then
    return fail("argument", "plot: cannot draw '%s': the name must end in .png, .svg or .pdf", file)
  end
  local out = { setting, "set grid xtics ytics lt 1 lw 0.5 lc rgb '#dddddd'", "set datafile missing 'NaN'" }
  out[#out + 1] = output
  local layout = #panels > 1 and ("set multiplot layout %d,1"):format(#panels)
  if layout then out[#out + 1] = layout .. (fig.title and " title " .. quote(fig.title) or "") end
  local n = 0
  for _, panel in ipairs(panels) do n = panel_script(panel, n, out) end
  if layout then out[#out + 1] = "unset multiplot" end
  if not os.execute "command -v gnuplot >/dev/null 2>&1" then
    return fail("not_found", "plot: gnuplot is not installed (package gnuplot-nox)")
  end
  if output then -- an unwritable place is found out here, not in gnuplot's words
    local f, message = io.open(file, "a")
    if not f then return fail("io", "plot: cannot write the figure: %s", message) end
    f:close()
  end
  -- through a file: writing to a program that is not there, or has left, would end this one
  local path = os.tmpname()
  local script, message = io.open(path, "w")
  if not script then return fail("io", "plot: %s", message) end
  script:write(table.concat(out, "\n"), "\n")
  script:close()
  io.stdout:flush()
  local ok, _, status = os.execute("gnuplot " .. path)
  os.remove(path)
  if not ok then return fail("io", "plot: gnuplot ended with status %s", status) end
  return true
end

return plot
