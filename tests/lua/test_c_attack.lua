-- The radius that exported C states, attacked with the program itself as judge: no input within it may have another label.
-- The nets are those where rounding decides: margins of a few ulp, biases of 1e6, denormal and huge weights.
local lu = require "luaunit"
local lip = require "lip"

local merciless = os.getenv "LIPWB_GC_STRESS" == "1"
local ROWS, RANDOM = merciless and 4 or 24, merciless and 3 or 24

local folder = os.tmpname()
os.remove(folder)
assert(os.execute("mkdir " .. folder))

local function must(command)
  local pipe = assert(io.popen(("cd %s && { %s; } 2>&1"):format(folder, command)))
  local text = pipe:read "a"
  lu.assertTrue(pipe:close(), command .. ":\n" .. text:sub(1, 2000))
  return text
end

-- Labels and radii that the program gives to rows of inputs (Lua tables of float32 numbers).
local function judge(program, rows)
  local bytes = {}
  for i, row in ipairs(rows) do bytes[i] = ("<" .. ("f"):rep(#row)):pack(table.unpack(row)) end
  assert(lip.file.write(folder .. "/x.raw", table.concat(bytes)))
  local labels, radii = {}, {}
  for line in must(("./%s x.raw"):format(program)):gmatch "[^\n]+" do
    local label, radius = line:match "^(%-?%d+) (%S+)"
    labels[#labels + 1], radii[#radii + 1] = tonumber(label), tonumber(radius)
  end
  lu.assertEquals(#labels, #rows)
  return labels, radii
end

local function float(v) return (("<f"):unpack(("<f"):pack(v))) end

local function size(d, p)
  local sum = 0
  for _, v in ipairs(d) do
    v = math.abs(v)
    sum = p == 1 and sum + v or p == 2 and sum + v * v or math.max(sum, v)
  end
  return p == 2 and math.sqrt(sum) or sum
end

-- x + t d in float32, or nil where its true distance from x is above r (differences of close float32 numbers are exact in
-- double; the rest is far below the margin that is left here).
local function moved(x, d, t, p, r)
  local to, off = {}, {}
  for k, v in ipairs(x) do
    to[k] = float(v + t * d[k])
    off[k] = to[k] - v
  end
  return size(off, p) <= r * (1 - 1e-12) and to or nil
end

-- Directions of size 1: from x to a point with another label, straight or in the signs alone, and random ones.
local function directions(rng, x, others, p)
  local list = {}
  local function add(d)
    local n = size(d, p)
    if n > 0 and n < math.huge then
      for k in ipairs(d) do d[k] = d[k] / n end
      list[#list + 1] = d
    end
  end
  for _, other in ipairs(others) do
    local straight, signs, most, far = {}, {}, {}, 1
    for k in ipairs(x) do
      local v = other[k] - x[k]
      straight[k], signs[k], most[k] = v, v > 0 and 1 or v < 0 and -1 or 0, 0
      if math.abs(v) > math.abs(other[far] - x[far]) then far = k end
    end
    most[far] = signs[far]
    add(straight)
    add(signs)
    add(most)
  end
  for _ = 1, RANDOM do
    local d = {}
    for k in ipairs(x) do d[k] = rng:normal() end
    add(d)
  end
  return list
end

-- Points of the program's own border between labels: a pair of rows with two labels, halved until floats end.
local function border(program, a, b)
  local label = judge(program, { a, b })
  if label[1] == label[2] then return end
  for _ = 1, 40 do
    local middle = {}
    for k in ipairs(a) do middle[k] = float(a[k] / 2 + b[k] / 2) end
    if judge(program, { middle })[1] == label[1] then a = middle else b = middle end
  end
  return a, b
end

local function net_of(norm, change, ...)
  local net = lip.net { input = 6, norm = norm, budget = math.huge, seed = 11, ... }
  change(net:parameters())
  return net
end

local function D(n) return lip.dense { out = n } end

local function as_made() end
local function times(factor)
  return function(parameters)
    for _, p in ipairs(parameters) do p.value:mul_(factor) end
  end
end

local function lifted(bias)
  return function(parameters)
    parameters[2].value:fill(bias)
    local w = parameters[3].value
    for k = 1, 8 do w[2][k] = w[1][k] end
    w[2][1], w[2][2] = w[1][2], w[1][1]
    parameters[4].value[1] = bias * (w[2][1] - w[1][1] + w[2][2] - w[1][2]) -- 0, but for rounding
  end
end

local nets = {
  linear = function(norm) return net_of(norm, as_made, D(3)) end,
  one = function(norm) return net_of(norm, as_made, D(6), lip.relu {}, D(1)) end,
  sorted = function(norm) return net_of(norm, as_made, D(8), lip.maxmin {}, D(8), lip.groupsort { size = 4 }, D(3)) end,
  smooth = function(norm) return net_of(norm, as_made, D(8), lip.tanh {}, D(8), lip.softplus {}, D(3)) end,
  -- the second class is the first one but for a little
  alike = function(norm)
    return net_of(norm, function(parameters)
      local w = parameters[3].value
      for k = 1, 8 do w[2][k] = w[1][k] * (1 + k * 2 ^ -12) end
    end, D(8), lip.relu {}, D(2))
  end,
  alike_in_bits = function(norm)
    return net_of(norm, function(parameters)
      local w = parameters[3].value
      for k = 1, 8 do w[2][k] = w[1][k] * (1 + k * 2 ^ -21) end
    end, D(8), lip.relu {}, D(2))
  end,
  -- what matters stands in the last bits of hidden values
  lifted = function(norm) return net_of(norm, lifted(2e3), D(8), lip.relu {}, D(2)) end,
  lifted_far = function(norm) return net_of(norm, lifted(1e6), D(8), lip.relu {}, D(2)) end,
  tiny = function(norm) return net_of(norm, times(1e-24), D(3)) end,
  tiny_inside = function(norm)
    return net_of(norm, function(parameters)
      parameters[1].value:mul_(1e-35)
      parameters[3].value:mul_(1e30)
    end, D(8), lip.abs {}, D(3))
  end,
  denormal = function(norm) return net_of(norm, times(1e-40), D(3)) end,
  denormal_inside = function(norm)
    return net_of(norm, function(parameters)
      parameters[1].value:mul_(1e-42)
      parameters[3].value:mul_(1e36)
    end, D(8), lip.abs {}, D(3))
  end,
  huge = function(norm) return net_of(norm, times(1e12), D(8), lip.relu {}, D(3)) end,
}

-- Margins of these are so far above their rounding that most rows must have a radius; the others may have none.
local plain = { linear = true, one = true, sorted = true, smooth = true, tiny = true, huge = true, alike = true }

local tests = {}

local function attack(name, norm)
  local p, program = norm == "inf" and math.huge or norm, ("%s_%s"):format(name, norm)
  assert(nets[name](norm):export { c = folder, name = program })
  must(("cc -O2 %s.c %s_test.c -o %s -lm"):format(program, program, program))
  local rng, rows = lip.rng(5), {}
  for i = 1, ROWS do
    rows[i] = {}
    for k = 1, 6 do rows[i][k] = float(rng:normal()) end
  end
  for i = 2, ROWS, 4 do
    local a, b = border(program, rows[1], rows[i])
    rows[#rows + 1], rows[#rows + 2] = a, b
  end
  local labels, radii = judge(program, rows)
  local tried, whose, beyond, of, positive = {}, {}, {}, {}, 0
  for i, x in ipairs(rows) do
    local others = {}
    for j, other in ipairs(rows) do
      if labels[j] ~= labels[i] and #others < 12 then others[#others + 1] = other end
    end
    if radii[i] > 0 then positive = positive + 1 end
    for _, d in ipairs(directions(rng, x, others, p)) do
      for _, t in ipairs { 1 - 1e-9, 0.999, 0.5 } do
        local to = radii[i] > 0 and moved(x, d, t * radii[i], p, radii[i])
        if to then tried[#tried + 1], whose[#tried + 1] = to, i end
      end
      -- far beyond the radius there are other labels: the attack could have found some
      local to = radii[i] > 0 and moved(x, d, 40 * radii[i], p, math.huge)
      if to then beyond[#beyond + 1], of[#beyond + 1] = to, i end
    end
  end
  local found = #tried > 0 and judge(program, tried) or {}
  for n, label in ipairs(found) do
    local i = whose[n]
    if label ~= labels[i] then
      lu.fail(("%s: row %d {%s}, label %d, radius %.9g: {%s} has label %d"):format(program, i, table.concat(rows[i], ", "),
        labels[i], radii[i], table.concat(tried[n], ", "), label))
    end
  end
  local other = 0
  for n, label in ipairs(#beyond > 0 and judge(program, beyond) or {}) do
    if label ~= labels[of[n]] then other = other + 1 end
  end
  return positive, #tried, other
end

for name in pairs(nets) do
  tests["test_" .. name] = function()
    if not os.execute "command -v cc >/dev/null 2>&1" then lu.skip "cc is not installed" end
    for _, norm in ipairs { 1, 2, "inf" } do
      local positive, tried, other = attack(name, norm)
      if os.getenv "LIPWB_SHOW" then print(name, norm, positive, tried, other) end
      if plain[name] then
        lu.assertTrue(positive > ROWS // 2 and tried > positive and other > 0, ("%s in norm %s: %d rows with a radius, "
          .. "%d points within, %d beyond with another label"):format(name, norm, positive, tried, other))
      end
    end
  end
end

function tests.test_zz_clean() os.execute("rm -rf " .. folder) end

return tests
