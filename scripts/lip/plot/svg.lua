--- What gnuplot writes as SVG made fit to be read: smaller, with a title for screen readers and crisp pixels; inline
-- ones with names of their own and colours that a page sets:
--
--   svg { --lip-ink: #ddd; --lip-grid: #444; --lip-1: #4aa8e0; ... }
--
-- --lip-ink texts and axes, --lip-grid the grid, --lip-paper what lies behind the key, --lip-1 to --lip-7 the series in
-- order. A variable that is not set leaves the colour of the figure.
local core = require "lip.core"

local svg = {}

local function colours()
  local panel = require "lip.plot.panel"
  local names = { [panel.ink] = "ink", [panel.grid] = "grid", ["#ffffff"] = "paper", ["#777777"] = "muted" }
  for i, colour in ipairs(panel.palette) do names[colour] = i end
  return names
end

local function escape(words)
  return (tostring(words):gsub("[%z\1-\31]", " "):gsub("[&<>\"']", {
    ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }))
end

-- rgb(...) inside of tags as variables of the page.
local function restyle(tag, names)
  if not (tag:find("rgb(", 1, true) or tag:find("black", 1, true) or tag:find("white", 1, true)) then return tag end
  return (tag:gsub("rgb%(%s*(%d+)%s*,%s*(%d+)%s*,%s*(%d+)%s*%)", function(r, g, b)
    local colour = ("#%02x%02x%02x"):format(tonumber(r), tonumber(g), tonumber(b))
    local name = names[colour]
    return name and ("var(--lip-%s,%s)"):format(name, colour) or colour
  end):gsub("(['\"])black%1", "%1var(--lip-ink,#333333)%1"):gsub("(['\"])white%1", "%1var(--lip-paper,#ffffff)%1"))
end

--- The figure's title, or those of its panels.
function svg.title(fig, panels)
  if fig.title then return tostring(fig.title) end
  local titles = {}
  for _, panel in ipairs(panels) do
    if panel.title then titles[#titles + 1] = tostring(panel.title) end
  end
  return #titles > 0 and table.concat(titles, "; ") or "figure"
end

local function inline(text, title)
  text = text:gsub("^<%?xml[^>]*>%s*", "")
  -- names that differ from figure to figure and not from run to run
  local names, own, points = colours(), "f" .. core.sha256(text):sub(1, 8), {}
  -- points come in thousands and differ in their places only
  text = text:gsub("<use xlink:href='#gp(%w+)'( transform='[^']*') color='([^']*)'/>", function(id, place, colour)
    points[colour] = points[colour] or restyle(colour, names)
    return ("<use xlink:href='#%sgp%s'%s color='%s'/>"):format(own, id, place, points[colour])
  end)
  text = text:gsub("<[^!/][^>]*>", function(tag)
    if tag:find("href='#f", 1, true) then return nil end -- a point, done
    tag = restyle(tag, names)
    if tag:find("id=", 1, true) then tag = tag:gsub("%sid=(['\"])([^'\"]*)%1", " id=%1" .. own .. "%2%1") end
    if tag:find("href=", 1, true) then tag = tag:gsub("href=(['\"])#", "href=%1#" .. own) end
    return tag
  end)
  local head = ('<svg class="lip-figure" role="img" aria-label="%s" '):format(title)
  return (text:gsub("<svg%s", function() return head end, 1))
end

function svg.finish(text, fig, panels)
  local title = escape(svg.title(fig, panels))
  local element = "<title>" .. title .. "</title>"
  text = text:gsub("<title>Gnuplot</title>%s*<desc>.-</desc>", function() return element end, 1)
  text = text:gsub("<filter.-</filter>%s*", "")
  local n
  repeat text, n = text:gsub("<g [^>]*>%s*</g>%s*", "") until n == 0
  text = text:gsub("<g id=\"gnuplot_plot_%w+\" ?>", "<g>"):gsub("<title>gnuplot_plot_%w+</title>", "") -- one name each
  text = text:gsub("<image ", '<image image-rendering="optimizeSpeed" style="image-rendering:pixelated" ')
  if fig.inline then return inline(text, title) end
  return text
end

return svg
