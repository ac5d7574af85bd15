-- Certificate files of every kind of layer: constants of the whole net and verdicts of balls, accepted as written, attacked,
-- refused when they claim what an attack breaks.
local lu = require "luaunit"
local lip = require "lip"
local certificate = require "support_certificate"

local T = {}
local path = os.tmpname()
local merciless = os.getenv "LIPWB_GC_STRESS" == "1"

local function D(n) return lip.dense { out = n } end

-- What a net with a layer of each kind is made of: the input, then layers.
local nets = {
  dense = function() return 5, D(5), D(3) end,
  conv2d = function()
    return { 2, 5, 4 }, lip.conv2d { channels = 4, kernel = 3, padding = 1, stride = 2, groups = 2 }, lip.relu {}, lip.flatten {}, D(3)
  end,
  conv1d = function() return { 2, 8 }, lip.conv1d { channels = 3, kernel = 3, padding = 1, dilation = 2 }, lip.relu {}, lip.flatten {}, D(3) end,
  relu = function() return 5, D(6), lip.relu {}, D(6), lip.relu {}, D(3) end,
  leaky_relu = function() return 5, D(6), lip.leaky_relu { slope = 0.3 }, D(4), lip.leaky_relu { slope = 1.5 }, D(3) end,
  abs = function() return 5, D(6), lip.abs {}, D(3) end,
  tanh = function() return 5, D(6), lip.tanh {}, D(3) end,
  sigmoid = function() return 5, D(6), lip.sigmoid {}, D(3) end,
  softplus = function() return 5, D(6), lip.softplus { beta = 3 }, D(3) end,
  maxmin = function() return { 4, 2, 2 }, lip.conv2d { channels = 4, kernel = 2 }, lip.maxmin {}, lip.flatten {}, D(4), lip.maxmin {}, D(3) end,
  groupsort = function() return 5, D(6), lip.groupsort { size = 3 }, D(3) end,
  fullsort = function() return 5, D(5), lip.fullsort {}, D(3) end,
  flatten = function() return { 1, 2, 3 }, lip.flatten {}, D(4), lip.relu {}, D(3) end,
  space_to_depth = function() return { 1, 4, 4 }, lip.space_to_depth { block = 2 }, lip.relu {}, lip.flatten {}, D(3) end,
  depth_to_space = function() return { 4, 2, 2 }, lip.depth_to_space { block = 2 }, lip.abs {}, lip.flatten {}, D(3) end,
  shift = function() return { 4, 3, 2 }, lip.shift {}, lip.relu {}, lip.flatten {}, D(3) end,
  pad = function() return 4, lip.pad { channels = 2 }, D(4), lip.relu {}, D(3) end,
  select = function() return 6, lip.select { channels = 4 }, D(4), lip.relu {}, D(3) end,
  dropout = function() return 5, D(6), lip.dropout {}, lip.relu {}, D(3) end,
  avg_pool2d = function() return { 2, 5, 5 }, lip.conv2d { channels = 2, kernel = 2 }, lip.relu {}, lip.avg_pool2d { kernel = 3, stride = 1, padding = 1 }, lip.flatten {}, D(3) end,
  global_avg_pool = function() return { 2, 4, 4 }, lip.conv2d { channels = 4, kernel = 2 }, lip.abs {}, lip.global_avg_pool {}, D(3) end,
  max_pool2d = function() return { 1, 5, 5 }, lip.conv2d { channels = 2, kernel = 2 }, lip.max_pool2d { kernel = 2, stride = 1, padding = 1 }, lip.flatten {}, D(3) end,
  scale = function() return 5, lip.scale { factor = 3, mean = 0.25 }, D(6), lip.relu {}, D(3) end,
  standardise = function() return 3, lip.standardise { mean = { 0.3, 0.5, 0.1 }, std = { 0.5, 0.25, 2 } }, D(6), lip.relu {}, D(3) end,
  centre = function() return 5, D(6), lip.centre {}, lip.relu {}, D(3) end,
  batch_norm = function() return 5, D(6), lip.batch_norm {}, lip.relu {}, D(3) end,
  residual = function() return 5, D(5), lip.residual { D(6), lip.relu {}, D(5) }, lip.residual { mode = "add", D(5), lip.abs {} }, D(3) end,
  concat = function() return 5, lip.concat { lip.chain { D(4), lip.relu {} }, lip.chain {}, lip.chain { D(2), lip.maxmin {} } }, D(3) end,
  sum = function() return 5, lip.sum { lip.chain { D(4), lip.relu {}, D(5) }, lip.chain {}, weights = { 0.5, -2 } }, lip.relu {}, D(3) end,
  sll = function() return 5, lip.sll { hidden = 4 }, lip.sll {}, D(3) end,
  cpl = function() return 5, lip.cpl { activation = "softplus" }, lip.cpl { hidden = 7 }, D(3) end,
  sandwich = function() return 5, lip.sandwich { out = 6 }, lip.sandwich { out = 4, activation = "tanh" }, lip.sandwich { out = 3, activation = "none" } end,
  chain = function() return 5, lip.chain { D(6), lip.relu {} }, D(3) end,
}

-- Kinds whose product of norms is a closer one than what the checker sees, the matrices inside.
local coarse = { sll = true, cpl = true, sandwich = true }
-- Kinds that certificate files do not know.
local beyond = { householder = true, linf_dist = true, sort_neuron = true, l2_pool2d = true, anchor = true }

local function built(kind, norm, seed)
  local parts = { nets[kind]() }
  local spec = { input = parts[1], norm = norm, budget = math.huge, init = "he", seed = seed }
  for i = 2, #parts do spec[#spec + 1] = parts[i] end
  local net, n = lip.net(spec), 1
  for _, d in ipairs(type(parts[1]) == "table" and parts[1] or { parts[1] }) do n = n * d end
  if kind == "batch_norm" or kind == "centre" then -- running means and variances that are not 0 and 1
    for _, p in ipairs(net:parameters()) do
      if p.name:find "running" or p.name == "gamma" then p.value:add_(0.3) end
    end
  end
  local x = lip.rand(lip.rng(seed), 6, n)
  return net, x, net:predict(x)
end

local function kinds()
  local list = {}
  for _, row in ipairs(lip.layers()) do
    if not beyond[row.name] then list[#list + 1] = row.name end
  end
  return list
end

local function accepted(net, x, what)
  local r, message = lip.check_certificate(path, net, x)
  lu.assertTrue(r and r.accepted, ("%s: %s"):format(what, r and r.reason or message))
  return r
end

-- Each layer either stands in files or on the list, which the refusal names.
function T.test_every_kind_is_known_or_said_to_be_unknown()
  for _, row in ipairs(lip.layers()) do
    lu.assertTrue((nets[row.name] ~= nil) ~= (beyond[row.name] ~= nil), row.name)
  end
  local unknown = {
    householder = { input = 4, norm = "2", D(4), lip.householder {}, D(3) },
    linf_dist = { input = 4, norm = "inf", lip.linf_dist { out = 4 }, D(3) },
    sort_neuron = { input = 4, norm = "inf", lip.sort_neuron { out = 4 }, D(3) },
    l2_pool2d = { input = { 1, 4, 4 }, norm = "2", lip.l2_pool2d {}, lip.flatten {}, D(3) },
    anchor = { input = 4, norm = "2", lip.anchor { D(4) }, D(3) },
  }
  for name in pairs(beyond) do
    local net = lip.net(unknown[name])
    local ok, message = pcall(net.certificate, net, path)
    lu.assertFalse(ok)
    for other in pairs(beyond) do lu.assertStrContains(message, other) end
    lu.assertStrContains(message, "of a layer " .. name)
  end
end

function T.test_constants_of_every_kind()
  lu.skipIf(merciless, "many nets take minutes under the merciless collector")
  for _, kind in ipairs(kinds()) do
    for _, norm in ipairs { "1", "2", "inf" } do
      local net, x = built(kind, norm, 3)
      for _, method in ipairs { "product", "abs", "recursion", "multiplier" } do
        local what = table.concat({ kind, norm, method }, " ")
        lu.assertTrue(net:certificate(path, x, nil, { method = method, seconds = 1 }) ~= nil, what)
        accepted(net, x, what)
        local report, radius = net:certify(x, nil, { method = method, seconds = 1 }), certificate.array(certificate.parse(path), "radius")
        for i = 1, 6 do -- what is written is what certify finds
          local want = report.radii:get(i)
          local proved = norm == "2" and (method == "recursion" or method == "multiplier")
          local least = coarse[kind] and not proved and 0 or want * (1 - (coarse[kind] and 1e-3 or 1e-4))
          lu.assertTrue((method == "multiplier" and not coarse[kind]) or (radius[i] >= least and radius[i] <= want * 1.01),
            ("%s: row %d: %g for %g"):format(what, i, radius[i], want))
        end
      end
    end
  end
end

local exponent = { ["1"] = 1, ["2"] = 2, inf = math.huge }

-- No attack breaks what is confirmed, and what an attack breaks is not confirmed; both happen.
function T.test_balls_of_every_kind()
  lu.skipIf(merciless, "many nets take minutes under the merciless collector")
  local eps, held, refused, box = {}, 0, 0, { 0, 1 }
  for k = 1, 16 do eps[k] = 0.004 * 1.5 ^ k end
  for seed, kind in ipairs(kinds()) do
    for _, norm in ipairs { "1", "2", "inf" } do
      local net, x, labels = built(kind, norm, seed)
      lu.assertTrue(net:certificate(path, x, labels, { method = "local", eps = eps, box = seed % 2 == 0 and box or nil }))
      local r = accepted(net, x, kind .. norm)
      lu.assertEquals({ r.pairs, r.radii, r.method }, { 3, 6, "local" })
      local cert = certificate.parse(path)
      local radius = certificate.array(cert, "radius")
      local conf = { p = exponent[norm], box = seed % 2 == 0 and box or nil, steps = 30 }
      for i = 1, 6 do
        local one = x:slice(1, i, i)
        local own = radius[i]
        conf.eps = own
        if own > 0 then
          held = held + 1
          lu.assertEquals(lip.attack(net, one, conf).success, 0, ("%s %s row %d within %g"):format(kind, norm, i, own))
        end
        conf.eps = math.max(own, 0.01) * 2
        if conf.box and norm == "inf" and conf.eps > 1 then conf.eps = 1 end
        if lip.attack(net, one, conf).success > 0 then
          refused = refused + 1
          radius[i] = conf.eps
          certificate.write(cert, path, true)
          local answer = lip.check_certificate(path, net, x)
          lu.assertFalse(answer.accepted, ("%s %s row %d within %g"):format(kind, norm, i, conf.eps))
          lu.assertStrContains(answer.reason, "row " .. i)
          radius[i] = own
        end
      end
    end
  end
  lu.assertTrue(held > 300 and refused > 100, held .. " " .. refused)
end

-- Local files are never weaker than the engine's verdicts by more than a row in twenty.
function T.test_balls_are_those_of_certify()
  lu.skipIf(merciless, "many nets take minutes under the merciless collector")
  local eps, mine, theirs = {}, 0, 0
  for k = 1, 16 do eps[k] = 0.004 * 1.5 ^ k end
  for seed, kind in ipairs(kinds()) do
    local net, x, labels = built(kind, seed % 2 == 0 and "2" or "inf", seed)
    assert(net:certificate(path, x, labels, { method = "local", eps = eps }))
    local r, e = accepted(net, x, kind), net:certify(x, labels, { method = "local", eps = eps })
    for k = 1, 16 do mine, theirs = mine + r.eps[k].certified, theirs + 6 * e.certified[eps[k]] end
  end
  lu.assertTrue(mine > 0.95 * theirs, mine .. " of " .. theirs)
end

-- Every number in the unsafe direction by a factor that matters, and everything that is no number.
function T.test_every_number_of_every_array()
  lu.skipIf(merciless, "many changed files take minutes under the merciless collector")
  local tried = 0
  for _, case in ipairs { { "groupsort", "recursion" }, { "residual", "recursion" }, { "conv2d", "product" }, { "softplus", "local" }, { "max_pool2d", "local" } } do
    local net, x, labels = built(case[1], "2", 4)
    assert(net:certificate(path, x, labels, { method = case[2], eps = { 0.01, 0.03 } }))
    local cert = certificate.parse(path)
    local unsafe = { -- what turns a number into a claim that does not follow
      norm = function(v) return v * 0.98 end,
      pair = function(v) return v > 0 and v * 0.98 or 1 end,
      radius = function(v) return v * 100 + 1e3 end,
      label = function(v) return (v + 1) % 3 end,
      truth = function(v) return (v + 1) % 3 end,
      eps = function(v) return v * 100 end,
      certified = function(v) return v + 1 end,
      ["proof.target"] = function(v) return (v + 1) % 3 end,
      ["proof.rho"] = function(v) return v * 0.98 end,
      ["proof.lambda"] = function(v) return v * 1e-9 end,
      ["proof.weight"] = function(v) return v * 1e9 end,
      ["local.slope"] = function() return 1e9 end,
    }
    for _, a in ipairs(cert.arrays) do
      for i = 1, a.n do
        local old = a[i]
        for _, new in ipairs { unsafe[a.name](old), 0 / 0, -1.5, -math.huge } do
          local pair = a.name == "pair" and (i - 1) // 3 ~= (i - 1) % 3 and (i - 1) % 3 * 3 + (i - 1) // 3 + 1
          a[i] = new
          if pair then a[pair] = new end -- symmetric, or that alone refuses
          certificate.write(cert, path, true)
          local r = lip.check_certificate(path, net, lip.dataset_tensors(x, labels))
          lu.assertFalse(r and r.accepted or false, ("%s %s: %s[%d] from %.9g to %.9g"):format(case[1], case[2], a.name, i, old, new))
          tried = tried + 1
          a[i] = old
          if pair then a[pair] = old end
        end
      end
    end
  end
  lu.assertTrue(tried > 500, tried)
end

-- Headers that lie: dimensions beyond all bounds, one name twice, rows exchanged, arrays of other files.
function T.test_hostile_headers()
  local net, x, labels = built("residual", "2", 2)
  assert(net:certificate(path, x, labels, { method = "local", eps = { 0.01, 0.05 } }))
  local text = certificate.slurp(path)
  local function refused(new, what)
    certificate.spill(new, path)
    local r, message = lip.check_certificate(path, net, x)
    lu.assertFalse(r and r.accepted or false, what)
    lu.assertTrue(#(r and r.reason or message) > 0)
  end
  local size = string.unpack("<I8", text)
  local header, data = text:sub(9, 8 + size), text:sub(9 + size)
  local function with(changed) return string.pack("<I8", #changed) .. changed .. data end
  local n = 0
  for name in header:gmatch '"([%w%.]+)":%s*{%s*"dtype"' do
    local quoted = name:gsub("%.", "%%.")
    for _, shape in ipairs { "[4294967296,4294967296]", "[18446744073709551615]", "[-1]", "[0]", "[1e3]", "[]", "[9007199254740993]" } do
      local changed, k = header:gsub('("' .. quoted .. '":%s*{.-"shape":%s*)%b[]', "%1" .. shape, 1)
      lu.assertEquals(k, 1)
      refused(with(changed), name .. shape)
      n = n + 1
    end
    local entry = header:match('"' .. quoted .. '":%s*%b{}')
    refused(with("{" .. entry .. "," .. header:sub(2)), name .. " twice")
    refused(with((header:gsub(quoted, name .. "2", 1))), name .. " renamed")
  end
  lu.assertTrue(n > 40)
  certificate.spill(text, path)
  local cert = certificate.parse(path)
  local radius, label = certificate.array(cert, "radius"), certificate.array(cert, "label")
  local exchanged = 0
  for i = 1, 5 do
    if radius[i] > 3 * radius[i + 1] or label[i] ~= label[i + 1] then
      for _, a in ipairs { radius, label } do a[i], a[i + 1] = a[i + 1], a[i] end
      certificate.write(cert, path, true)
      local r = lip.check_certificate(path, net, x)
      lu.assertFalse(r.accepted, "rows " .. i)
      for _, a in ipairs { radius, label } do a[i], a[i + 1] = a[i + 1], a[i] end
      exchanged = exchanged + 1
    end
  end
  lu.assertTrue(exchanged > 0)
end

function T.test_misuse_of_local()
  local net, x, labels = built("relu", "2", 1)
  local function raises(text, ...) lu.assertErrorMsgContains(text, net.certificate, net, path, ...) end
  raises("box", x, labels, { method = "local", eps = 0.1, box = 3 })
  raises("element 2 is", x, labels, { method = "local", eps = 0.1, box = { 0 } })
  raises("from <= to", x, labels, { method = "local", eps = 0.1, box = { 1, 0 } })
  raises("belongs to method", x, labels, { eps = 0.1, box = { 0, 1 } })
  raises("needs rows and 'eps'", x, labels, { method = "local" })
  raises("labels are needed", x, nil, { method = "local", eps = 0.1 })
  raises("'global' is product", x, labels, { method = "local", eps = 0.1, global = "exact" })
  raises("'global' belongs", x, labels, { eps = 0.1, global = "abs" })
  raises("float32", x, labels, { method = "local", eps = 0.1, arithmetic = "real" })
end

-- A row outside of the box: nothing is claimed of it. A box that the ball hardly meets, infinite sides.
function T.test_odd_boxes()
  local net, x, labels = built("relu", "2", 1)
  for _, box in ipairs { { 2, 3 }, { -math.huge, math.huge }, { 0.5, 0.5 }, { -math.huge, 0.1 } } do
    assert(net:certificate(path, x, labels, { method = "local", eps = { 0.01, 5 }, box = box }))
    accepted(net, x, box[1])
  end
  assert(net:certificate(path, x, labels, { method = "local", eps = { 0.5 }, box = { 2, 3 } }))
  for i = 1, 6 do lu.assertTrue(certificate.array(certificate.parse(path), "radius")[i] < 0.5) end
end

function T.tearDown() os.remove(path) end

return T
