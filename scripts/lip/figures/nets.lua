--- Figures of nets: norms of layers over time, histograms, images beside adversarial points, fits of one variable.
local lip = require "lip"
local panel = require "lip.plot.panel"
local check_options = require("lip.options").check

local nets = {}

local blue, orange, green, ink = panel.palette[1], panel.palette[2], panel.palette[3], panel.ink

local function finite(v)
  return v == v and v ~= math.huge and v ~= -math.huge
end

local function numbers(v)
  return type(v) == "userdata" and v:flatten():totable() or v
end

-- ---- norms of the layers over time ----

-- The weights of a net: { {name = "3 dense", kind=, value=}, ... }.
local function weights_of(net)
  local list = {}
  for _, p in ipairs(net:parameters()) do
    if p.name == "weight" then
      list[#list + 1] = { name = ("%d %s"):format(p.layer, p.kind), kind = p.kind, value = p.value }
    end
  end
  return list
end

--- The intervals of a net now, for figures.bounds: { step=, upper=, layers = {{name=, lower=, upper=}, ...} }. A lower
-- end is known for dense layers, where it is a value that a vector attains.
---@param net lip.net
---@param step number when that is
function nets.moment(net, step)
  local bound, info, weights = net:bound(), net:info().layers, weights_of(net)
  local moment, n = { step = step, upper = bound.upper, layers = {} }, 0
  for _, layer in ipairs(info) do n = n + (layer.parameters > 0 and 1 or 0) end
  for i, layer in ipairs(bound.layers) do
    if info[i].parameters > 0 then
      local k = #moment.layers + 1
      local w = n == #weights and weights[k] -- layers inside of layers have no norm of their own here
      local lower = w and w.kind == "dense" and lip.opnorm_lower(w.value, layer.step) or nil
      moment.layers[k] = { name = ("%d %s"):format(i, layer.kind), lower = lower, upper = layer.upper }
    end
  end
  return moment
end

--- Intervals of the layers' norms over time: a line at what is proved, a band down to what is attained.
---@param moments table list of figures.moment(net, step)
---@param options? table help "figures.bounds"
function nets.bounds(moments, options)
  local _ <close> = lip.plain_numbers()
  local o = check_options(options, "lip.figures.bounds")
  local steps, series, least, most = {}, {}, math.huge, 0
  for k, m in ipairs(moments) do
    steps[k] = m.step or k
    for _, layer in ipairs(m.layers) do
      least = math.min(least, layer.lower or layer.upper)
      if finite(layer.upper) then most = math.max(most, layer.upper) end
    end
    if finite(m.upper) then most = math.max(most, m.upper) end
  end
  for i, layer in ipairs(moments[1] and moments[1].layers or {}) do
    local s = { title = layer.name, x = steps, y = {}, low = {}, high = {}, style = "linespoints" }
    for k, m in ipairs(moments) do
      local now = m.layers[i]
      s.y[k], s.high[k], s.low[k] = now.upper, now.upper, now.lower or now.upper
    end
    series[i] = s
  end
  local product = { title = "the product", x = steps, y = {}, colour = ink, dash = 2 }
  for k, m in ipairs(moments) do product.y[k] = m.upper end
  series[#series + 1] = product
  return { title = o.title or "norms of the layers: proved, and down to what is attained", series = series,
    logy = least > 0 and most > 10 * least,
    xlabel = o.xlabel or "epoch", ylabel = "norm", key = "below" }
end

-- ---- histograms ----

--- Counts of values in equal bins from the smallest to the largest; values that are not finite are left out.
---@param values any table or tensor
---@param bins integer
---@return table { x = middles, y = counts, width = of a bin, n = how many were counted }
function nets.histogram(values, bins)
  values = numbers(values)
  if math.tointeger(bins) == nil or bins < 1 or bins > 100000 then
    error("figures.histogram: bins is a whole number from 1", 2)
  end
  local low, high = math.huge, -math.huge
  for _, v in ipairs(values) do
    if finite(v) then low, high = math.min(low, v), math.max(high, v) end
  end
  if low > high then return { x = {}, y = {}, width = 0, n = 0 } end
  if low == high then low, high = low - 0.5, high + 0.5 end
  local h = { x = {}, y = {}, width = (high - low) / bins, n = 0 }
  for k = 1, bins do h.x[k], h.y[k] = low + (k - 0.5) * h.width, 0 end
  for _, v in ipairs(values) do
    if finite(v) then
      local k = math.min(math.floor((v - low) / h.width) + 1, bins)
      h.y[k], h.n = h.y[k] + 1, h.n + 1
    end
  end
  return h
end

local function grid(panels, title)
  return { title = title, panels = panels, columns = math.min(#panels, 3) }
end

--- Histograms of the weights, layer by layer.
---@param net lip.net
---@param options? table help "figures.weights"
function nets.weights(net, options)
  local _ <close> = lip.plain_numbers()
  local o, panels = check_options(options, "lip.figures.weights"), {}
  for k, w in ipairs(weights_of(net)) do
    local values, zeros = numbers(w.value), 0
    for _, v in ipairs(values) do zeros = zeros + (v == 0 and 1 or 0) end
    local h = nets.histogram(values, o.bins or 60)
    panels[k] = { title = ("%s: %d weights, %.1f %% are 0"):format(w.name, #values, 100 * zeros / #values), logy = true,
      xlabel = "weight", ylabel = k == 1 and "how many" or nil, key = false,
      series = { { x = h.x, y = h.y, style = "boxes", colour = blue } } }
  end
  return grid(panels, o.title or "weights")
end

--- Histograms of the singular values, layer by layer; kernels of a convolution as matrices (channels, rest).
---@param net lip.net
---@param options? table help "figures.singular"
function nets.singular(net, options)
  local _ <close> = lip.plain_numbers()
  local o, panels = check_options(options, "lip.figures.singular"), {}
  for k, w in ipairs(weights_of(net)) do
    local rows = w.value:shape()[1]
    local s = lip.singular_values(w.value:contiguous():reshape(rows, w.value:size() // rows))
    local h = nets.histogram(s, o.bins or 40)
    panels[k] = { title = ("%s: %.4g to %.4g"):format(w.name, s[#s], s[1]), xlabel = "singular value", key = false,
      ylabel = k == 1 and "how many" or nil, series = { { x = h.x, y = h.y, style = "boxes", colour = green } } }
  end
  return grid(panels, o.title or "singular values")
end

-- ---- images ----

local function square(t)
  local shape = t:shape()
  if #shape >= 2 then return t:totable() end
  local side = math.floor(math.sqrt(shape[1]) + 0.5)
  return side * side == shape[1] and t:reshape(side, side):totable() or t:reshape(1, shape[1]):totable()
end

--- Originals, adversarial points and their differences (blue: darker, red: brighter), one column for each.
---@param x lip.tensor (n, ...)
---@param adversarial lip.tensor of the same shape
---@param options? table help "figures.images"
function nets.images(x, adversarial, options)
  local _ <close> = lip.plain_numbers()
  local o = check_options(options, "lip.figures.images")
  local labels, found = o.labels and numbers(o.labels), o.found and numbers(o.found)
  if table.concat(x:shape(), "x") ~= table.concat(adversarial:shape(), "x") then
    error(("figures.images: %s originals and %s adversarial points"):format(table.concat(x:shape(), "x"),
      table.concat(adversarial:shape(), "x")), 2)
  end
  local rows, most = { {}, {}, {} }, 0
  for k = 1, math.min(#x, o.limit or 8) do
    local a, b = x:select(1, k), adversarial:select(1, k)
    local difference = b:sub(a)
    most = math.max(most, difference:norm(math.huge))
    local function title(of, what)
      return of and of[k] and ("%s %d"):format(what, of[k]) or nil
    end
    rows[1][k] = { pixels = square(a), title = title(labels, "label"), low = o.low, high = o.high }
    rows[2][k] = { pixels = square(b), title = title(found, "answer"), low = o.low, high = o.high }
    rows[3][k] = { pixels = square(difference), signed = true, title = ("%.3g"):format(difference:norm(math.huge)) }
  end
  for _, one in ipairs(rows[3]) do one.high = most > 0 and most or 1 end
  return { title = o.title, images = rows, width = 1000, height = 460 }
end

-- ---- one variable ----

--- A net of one variable over its data, and its slope between plus and minus the limit.
---@param x any data: table or tensor
---@param y any
---@param net lip.net
---@param slope? number the limit; default: the net's bound
---@param options? table help "figures.fit"
function nets.fit(x, y, net, slope, options)
  local _ <close> = lip.plain_numbers()
  local o = check_options(options, "lip.figures.fit")
  x, y, slope = numbers(x), numbers(y), slope or net:bound().upper
  local takes = table.concat(net:info().input, "x")
  if takes ~= "1" then
    error(("lip.figures.fit: argument 3 (net) takes %s numbers, a net of one variable is expected"):format(takes), 2)
  elseif #x == 0 then
    error("lip.figures.fit: argument 1 (x) has no numbers", 2)
  end
  local low, high = math.huge, -math.huge
  for _, v in ipairs(x) do low, high = math.min(low, v), math.max(high, v) end
  local n = o.points or 401
  local at = lip.linspace(low, high, n)
  local out = numbers(net:forward(at:reshape(n, 1)))
  at = at:totable()
  local middle, slopes, steepest = {}, {}, 0
  for i = 1, n - 1 do -- finite differences of the net as executed
    middle[i], slopes[i] = (at[i] + at[i + 1]) / 2, (out[i + 1] - out[i]) / (at[i + 1] - at[i])
    steepest = math.max(steepest, math.abs(slopes[i]))
  end
  local top = { title = o.title or "fit", ylabel = "y", series = {
    { x = x, y = y, style = "points", title = "data", colour = "#999999" },
    { x = at, y = out, title = "net", colour = blue } } }
  if o.truth then
    local t = {}
    for i, v in ipairs(at) do t[i] = o.truth(v) end
    table.insert(top.series, 2, { x = at, y = t, title = "truth", colour = green, dash = 2 })
  end
  local levels = finite(slope) and { { y = slope, title = ("limit %.5g"):format(lip.round_up(slope, 5)) }, { y = -slope } } or nil
  return { height = 800, panels = { top,
    { title = "its slope", xlabel = "x", ylabel = "dy/dx", levels = levels, series = {
      { x = middle, y = slopes, title = ("slope, up to %.4g"):format(lip.round_down(steepest, 4)), colour = orange } } } } }
end

return nets
