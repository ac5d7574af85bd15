-- Certificate files and lipwb check: accepted as written, refused after any change; and when the hash of a changed file is
-- made to fit again, refused by the mathematics, unless what it then says is still true.
local lu = require "luaunit"
local lip = require "lip"

local inf = math.huge
local T = {}

local program = require "support_program".program

-- a merciless collector makes everything a hundred times slower: then one change in so many is tried
local stride = os.getenv "LIPWB_GC_STRESS" == "1" and 97 or 1

-- Thousands of changed files hold the same objects alive as a few do.
local function not_merciless()
  lu.skipIf(stride > 1, "many changed files take minutes under the merciless collector")
end

local certificate = require "support_certificate"
local slurp, spill, parse, write, array =
  certificate.slurp, certificate.spill, certificate.parse, certificate.write, certificate.array

-- ---- nets ----

local function small(act, norm, seed, budget)
  return lip.net {
    input = 5, norm = norm, budget = budget or 3, seed = seed or 1, init = budget and "he" or nil,
    lip.dense { out = 6 }, act {}, lip.dense { out = 4 }, act {}, lip.dense { out = 3 },
  }
end

local x = lip.rand(lip.rng(5), 6, 5)
local path = os.tmpname()

local function labels_of(net)
  local y = net:predict(x)
  y[1] = (y[1] + 1) % 3 -- one that the net gets wrong
  return y
end

local function certified(net, options)
  options.eps = options.eps or { 0.001, 0.05 }
  assert(net:certificate(path, x, labels_of(net), options))
  return path
end

local function verdict(net, data)
  local r, message = lip.check_certificate(path, net, data == nil and x or data or nil)
  if not r then return false, message end
  lu.assertEquals(type(r.accepted), "boolean")
  return r.accepted, r.reason, r
end

local function methods()
  local known = {}
  for _, m in ipairs(lip.bound_methods()) do known[m.name] = true end
  local list = {}
  for _, name in ipairs { "product", "abs", "recursion", "multiplier", "best" } do
    if known[name] then list[#list + 1] = name end
  end
  return list
end

-- ---- accepted ----

function T.test_every_activation_norm_and_method()
  for _, act in ipairs(stride > 1 and { "maxmin" } or { "relu", "leaky_relu", "abs", "maxmin" }) do
    for _, norm in ipairs(stride > 1 and { "2" } or { "1", "2", "inf", "1->2->inf" }) do
      local net = small(lip[act], norm)
      for _, method in ipairs(methods()) do
        for _, arithmetic in ipairs { "float32", "real" } do
          certified(net, { method = method, arithmetic = arithmetic, seconds = 1 })
          local ok, reason, r = verdict(net)
          local label = table.concat({ act, norm, method, arithmetic }, " ")
          lu.assertTrue(ok, label .. ": " .. tostring(reason))
          lu.assertEquals({ r.norms, r.pairs, r.radii, r.rows }, { 3, 3, 6, 6 })
          lu.assertEquals(r.method, method)
          lu.assertEquals(r.arithmetic, arithmetic)
        end
      end
    end
  end
end

-- What is written is what certify finds, but for rounding.
function T.test_radii_are_those_of_certify()
  local some = 0
  for _, act in ipairs { "relu", "maxmin" } do
    for _, norm in ipairs { "2", "inf" } do
      local net = small(lip[act], norm)
      for _, method in ipairs { "product", "abs" } do
        local cert = parse(certified(net, { method = method }))
        local report = net:certify(x, nil, { method = method })
        for i = 1, 6 do
          local want, got = report.radii:get(i), array(cert, "radius")[i]
          lu.assertTrue(got >= want * (1 - 1e-6) and got <= want * (1 + 1e-6))
          lu.assertEquals(array(cert, "label")[i], report.labels:get(i))
          if got > 0 then some = some + 1 end
        end
      end
    end
  end
  lu.assertTrue(some > 8)
end

-- The best of what a file can carry: not the numbers of "exact", which nobody could repeat.
function T.test_best_is_no_weaker()
  not_merciless()
  for _, norm in ipairs { "2", "inf" } do
    local net = small(lip.relu, norm)
    local best = array(parse(certified(net, { method = "best" })), "pair")
    lu.assertTrue(verdict(net))
    for _, method in ipairs(methods()) do
      local pair = array(parse(certified(net, { method = method })), "pair")
      for i = 1, 9 do lu.assertTrue(best[i] <= pair[i] * (1 + 1e-4), norm .. " " .. method) end
    end
  end
end

function T.test_exact_arithmetic_grants_more()
  local net = small(lip.relu, "2")
  local float = array(parse(certified(net, {})), "radius")
  local real = array(parse(certified(net, { arithmetic = "real" })), "radius")
  for i = 1, 6 do lu.assertTrue(real[i] >= float[i]) end
end

function T.test_layers_without_effect_and_odd_ends()
  local net = lip.net {
    input = { 1, 1, 5 }, norm = "2", budget = 3, seed = 2, lip.dropout {}, lip.flatten {}, lip.abs {},
    lip.dense { out = 6, bias = false }, lip.dense { out = 4 }, lip.relu {}, lip.dropout {}, lip.dense { out = 4 },
    lip.maxmin {},
  }
  for _, method in ipairs(methods()) do
    assert(net:certificate(path, x, nil, { method = method, seconds = 1 }))
    lu.assertTrue(verdict(net))
  end
end

function T.test_without_data()
  local net = small(lip.maxmin, "2")
  certified(net, {})
  local ok, _, r = verdict(net, false)
  lu.assertTrue(ok)
  lu.assertEquals({ r.radii, r.rows }, { 0, 6 })
  assert(net:certificate(path, nil, { method = "abs" }))
  ok, _, r = verdict(net, false)
  lu.assertTrue(ok)
  lu.assertEquals(r.rows, 0)
end

-- ---- changed ----

-- Calls f with a certificate in which one number is another: array, index, old value, new value.
local function each_change(cert, f)
  local k = 0
  for _, a in ipairs(cert.arrays) do
    for i = 1, a.n do
      local old = a[i]
      for _, new in ipairs { old * (1 + 1e-6) + 1e-6, old * (1 - 1e-6) - 1e-6, -old - 1, old * 2 + 1, 0 / 0, inf } do
        a[i] = new
        k = k + 1
        if k % stride == 0 then f(a, i, old, new) end
      end
      a[i] = old
    end
  end
end

function T.test_every_number_is_under_the_hash()
  not_merciless()
  local net = small(lip.maxmin, "2")
  for _, method in ipairs { "product", methods()[3] } do
    local cert, n = parse(certified(net, { method = method })), 0
    each_change(cert, function(a, i)
      write(cert, path)
      local ok, reason = verdict(net)
      lu.assertFalse(ok, a.name .. i)
      lu.assertStrContains(reason, "sha256", false, a.name .. i)
      n = n + 1
    end)
    lu.assertTrue(n > 100 // stride)
    for key, text in pairs(cert.meta) do
      for _, new in ipairs { text .. "x", text:sub(2), "", "2" } do
        if new ~= text then
          cert.meta[key] = new
          write(cert, path)
          lu.assertFalse(verdict(net), key)
        end
      end
      cert.meta[key] = text
    end
  end
end

-- Every bit of the file that is not white space of the header.
function T.test_every_byte()
  not_merciless()
  local net = small(lip.relu, "inf")
  local text = slurp(certified(net, {}))
  lu.assertTrue(verdict(net))
  math.randomseed(3)
  for _ = 1, 400 // stride do
    local at = math.random(#text)
    local old = text:byte(at)
    if old ~= 32 then
      spill(text:sub(1, at - 1) .. string.char(old ~ (1 << math.random(0, 7))) .. text:sub(at + 1), path)
      lu.assertFalse(verdict(net), "byte " .. at)
    end
  end
end

-- The hash fits: what remains accepted must be a claim that is weaker.
local weaker = {
  norm = function(_, old, new) return new > old end,
  pair = function() return false end, -- one entry alone breaks the symmetry, larger or not
  radius = function(_, old, new) return new < old * 1.01 end, -- the checker may know a little more than the finder
  label = function() return false end,
  truth = function() return false end,
  certified = function() return false end,
  eps = function(_, old, new) return math.abs(new - old) < 0.01 end, -- may count the same rows
  ["proof.target"] = function() return false end,
  ["proof.rho"] = function(_, old, new) return math.abs(new / old - 1) < 1e-5 end,
  -- others may prove the same: the constants stand
  ["proof.lambda"] = function(_, _, new) return new >= 0 and new < inf end,
  ["proof.weight"] = function(_, _, new) return new > 0 and new < inf end,
}

function T.test_false_claims_under_a_true_hash()
  not_merciless()
  for _, act in ipairs { "relu", "maxmin" } do
    local net = small(lip[act], "2", 1, inf)
    for _, method in ipairs { "product", methods()[3] } do
      local cert, refused, n = parse(certified(net, { method = method })), 0, 0
      local data = lip.dataset_tensors(x, labels_of(net))
      lu.assertTrue(verdict(net, data))
      each_change(cert, function(a, i, old, new)
        write(cert, path, true)
        local ok = verdict(net, data)
        n = n + 1
        if not ok then refused = refused + 1 end
        local what = ("%s %s: %s[%d] from %.17g to %.17g"):format(act, method, a.name, i, old, new)
        if ok then lu.assertTrue(weaker[a.name](i, old, new), what) end
        if ok and a.name == "radius" then lu.assertTrue(new >= 0, what) end
      end)
      lu.assertTrue(refused > n / 2 or stride > 1, refused .. " of " .. n)
    end
  end
end

-- No number of a file is something else than a number, also where it is not needed and without the data.
function T.test_every_number_is_one()
  not_merciless()
  for _, act in ipairs { "relu", "maxmin" } do
    local net = small(lip[act], "2")
    local cert, n = parse(certified(net, { method = methods()[3] })), 0
    for _, a in ipairs(cert.arrays) do
      for i = 1, a.n do
        local old = a[i]
        for _, new in ipairs { 0 / 0, inf, -inf, -2 } do
          local nothing = new == inf and a.name == "norm" -- a norm that claims nothing, and none rests on it
          a[i] = new
          write(cert, path, true)
          if not nothing then lu.assertFalse(verdict(net, false), ("%s %s[%d] = %g"):format(act, a.name, i, new)) end
          n = n + 1
        end
        a[i] = old
      end
    end
    write(cert, path, true)
    local ok, reason = verdict(net, false)
    lu.assertTrue(ok, reason)
    lu.assertTrue(n > 4 * (6 + 6 + 9), n)
  end
end

function T.test_texts_under_a_true_hash()
  not_merciless()
  local net = small(lip.relu, "2")
  local cert = parse(certified(net, {}))
  local free = { lipwb = true, kernels = true } -- for the reader
  local wrong = {
    format = "lipwb", format_version = "3", method = "faith", path = "inf", arithmetic = "float16", rounding = "none",
    layers = "5;dense 6;abs -1;dense 4;abs -1;dense 3", weights_sha256 = ("0"):rep(64), data_sha256 = "",
    box = "0 1",
  }
  for key, text in pairs(cert.meta) do
    if key ~= "claims_sha256" then
      cert.meta[key] = wrong[key] or "other"
      write(cert, path, true)
      lu.assertEquals(verdict(net), free[key] or false, key)
      cert.meta[key] = nil
      write(cert, path, true)
      lu.assertFalse(verdict(net), key)
      cert.meta[key] = text
    end
  end
  cert.meta.more = "x"
  write(cert, path, true)
  lu.assertFalse(verdict(net))
end

-- Files of version 1: no box, and a multiplier for every row of a matrix.
function T.test_the_version_before()
  for _, method in ipairs { "product", methods()[3] } do
    local net = small(lip.maxmin, "2", 1, inf)
    local cert = parse(certified(net, { method = method }))
    cert.meta.format_version, cert.meta.box = "1", nil
    local lambda = array(cert, "proof.lambda")
    if lambda then -- those of the lower indices were never read
      local old, targets = { table.unpack(lambda) }, lambda.shape[1]
      lambda.shape, lambda.n = { targets, 10 }, 10 * targets
      for i = 1, lambda.n do lambda[i] = i % 2 == 0 and old[i // 2] or 1 end
    end
    write(cert, path, true)
    local ok, reason = verdict(net)
    lu.assertTrue(ok, reason)
    cert.meta.box = ""
    write(cert, path, true)
    lu.assertFalse(verdict(net))
  end
end

-- Claims of another net of the same shape, one array after another, and all of them under the names of this one.
function T.test_claims_of_another_net()
  not_merciless()
  local net, other = small(lip.relu, "2", 1, inf), small(lip.relu, "2", 9, inf)
  other:weights(1):mul_(0.5)
  local method = methods()[3]
  local cert = parse(certified(other, { method = method }))
  lu.assertStrContains(select(2, verdict(net)), "weights_sha256")
  local own = parse(certified(net, { method = method }))
  cert.meta.weights_sha256 = own.meta.weights_sha256
  write(cert, path, true)
  lu.assertFalse(verdict(net))
  if methods()[3] ~= "best" then -- multipliers of the other net, constants of this one
    lu.assertTrue(array(own, "proof.rho").n == 3)
    for _, name in ipairs { "proof.lambda", "proof.rho", "proof.target" } do
      for i, a in ipairs(own.arrays) do
        if a.name == name then own.arrays[i] = array(cert, name) end
      end
    end
    write(own, path, true)
    lu.assertFalse(verdict(net))
  end
end

function T.test_another_net_or_other_data()
  local net = small(lip.relu, "2")
  certified(net, {})
  lu.assertStrContains(select(2, verdict(net, lip.rand(1, { 6, 5 }))), "data_sha256")
  lu.assertStrContains(select(2, verdict(net, lip.rand(1, { 2, 5 }))), "rows")
  lu.assertStrContains(select(2, verdict(net, lip.dataset_tensors(x, { 0, 0, 0, 1, 1, 2 }))), "truth")
  net:weights(2):mul_(1.0001)
  lu.assertStrContains(select(2, verdict(net)), "weights_sha256")
  lu.assertStrContains(select(2, verdict(small(lip.abs, "2"))), "layers")
end

-- A label or radius for what is not finite.
function T.test_not_finite()
  not_merciless()
  local net = lip.net { input = 2, norm = "inf", budget = inf, lip.dense { out = 2, bias = false } }
  net:weights(1):copy { { 1, 0 }, { 0, 1 } }
  local rows = lip.tensor { { 2, 1 }, { 0 / 0, 1 }, { inf, 1 }, { 1, 1 } }
  assert(net:certificate(path, rows))
  lu.assertTrue(verdict(net, rows))
  local cert = parse(path)
  lu.assertTrue(array(cert, "radius")[1] > 0.49)
  for i = 2, 4 do
    lu.assertEquals(array(cert, "radius")[i], 0)
    array(cert, "radius")[i] = 1e-9
    write(cert, path, true)
    lu.assertStrContains(select(2, verdict(net, rows)), "row " .. i)
    array(cert, "radius")[i] = 0
  end
end

-- ---- hostile files ----

function T.test_shapes_and_types_of_arrays()
  not_merciless()
  local net = small(lip.relu, "2")
  local method = methods()[3]
  for _, name in ipairs { "norm", "pair", "radius", "label", "eps", "certified", "proof.rho", "proof.lambda", "proof.target" } do
    for _, change in ipairs {
      function(a) a.type = a.type == "F64" and "F32" or "F64" end,
      function(a) a.shape[1], a.n = a.shape[1] - 1, a.n - a.n // a.shape[1] end,
      function(a) a.shape = { a.n, 1, 1 } end,
      function(a) a.name = "unknown" end,
      function(_, cert) cert.drop = name end,
    } do
      local cert = parse(certified(net, { method = method }))
      local a = array(cert, name)
      if a then
        change(a, cert)
        for i, b in ipairs(cert.arrays) do
          if b.name == cert.drop then table.remove(cert.arrays, i) break end
        end
        write(cert, path, true)
        lu.assertFalse(verdict(net), name)
      end
    end
  end
end

function T.test_truncated_and_random_files()
  not_merciless()
  local net = small(lip.relu, "2")
  local text = slurp(certified(net, {}))
  for n = 0, #text - 1, #text // 150 * stride do
    spill(text:sub(1, n), path)
    lu.assertFalse(verdict(net))
  end
  math.randomseed(5)
  for k = 1, 150 // stride + 3 do
    local noise = {}
    for i = 1, math.random(400) do noise[i] = string.char(math.random(0, 255)) end
    local body = table.concat(noise)
    if k % 3 == 1 then body = string.pack("<I8", math.random(0, 500)) .. "{" .. body end
    if k % 3 == 2 then body = string.pack("<I8", math.maxinteger) .. body end
    spill(body, path)
    lu.assertFalse(verdict(net))
  end
  lu.assertFalse(verdict(net))
  os.remove(path)
  local r, _, code = lip.check_certificate(path, net)
  lu.assertNil(r)
  lu.assertEquals(code, "not_found")
end

-- ---- misuse ----

function T.test_what_cannot_be_written()
  local net = small(lip.relu, "2")
  local function raises(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end
  raises("arithmetic", net.certificate, net, path, x, nil, { arithmetic = "float16" })
  raises("method", net.certificate, net, path, x, nil, { method = "faith" })
  raises("labels are needed", net.certificate, net, path, x, nil, { eps = 1 })
  raises("unknown", net.certificate, net, path, x, nil, { epsilon = 1 })
  raises("do not fit", net.certificate, net, path, lip.zeros(2, 4))
  local ok, message, code = net:certificate("no such folder/c", x)
  lu.assertNil(ok)
  lu.assertEquals(type(message), "string")
  lu.assertEquals(code, "not_found")
end

-- ---- the program ----

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local function run(...)
  local words, out = {}, os.tmpname()
  for i, word in ipairs { ... } do words[i] = quote(word) end
  local _, _, status = os.execute(("LIPWB_OFFLINE=1 %s check %s >%s 2>&1"):format(quote(program), table.concat(words, " "), out))
  local text = slurp(out)
  os.remove(out)
  return status, text
end

function T.test_program()
  local model, rows, other = os.tmpname(), os.tmpname(), os.tmpname()
  local net = small(lip.maxmin, "2")
  certified(net, {})
  assert(net:save(model))
  assert(lip.save_npy(rows, x))
  assert(lip.save_npy(other, x:clone():add_(1)))
  local status, text = run(path, model, rows)
  lu.assertEquals(status, 0, text)
  lu.assertStrContains(text, "accepted: 5;dense 6;maxmin;dense 4;maxmin;dense 3, method product, norms 2, arithmetic float32")
  lu.assertStrContains(text, "labels and radii of 6 rows")
  lu.assertStrContains(text, "right by the labels in CERT") -- the file with the rows has none
  status, text = run(path, model)
  lu.assertEquals(status, 0, text)
  lu.assertStrContains(text, "not verified, for want of DATA")
  for _, eps in ipairs { 0.34999999999, 0.1 + 0.2, 1 / 3, 0.35, 1e-7 * (1 - 2 ^ -53) } do -- never rounded up
    certified(net, { eps = eps })
    text = select(2, run(path, model, rows))
    lu.assertEquals(tonumber(text:match "certified at eps (%S+)"), eps)
  end
  certified(net, { method = "local", eps = { 0.01, 0.35 }, box = { 0, 0.75 } })
  status, text = run(path, model, rows)
  lu.assertEquals(status, 0, text)
  lu.assertStrContains(text, "in the box 0 to 0.75")
  lu.assertStrContains(text, "labels and radii of 6 rows")
  certified(net, { eps = 0.35 })
  lu.assertStrContains(select(2, run(path, model, rows)), "eps 0.35\n")
  status, text = run(path, model, other)
  lu.assertEquals(status, 1, text)
  lu.assertStrContains(text, "refused: data_sha256")
  status, text = run(model, model)
  lu.assertEquals(status, 1, text)
  lu.assertStrContains(text, "refused: ")
  for _, words in ipairs { { path }, {}, { path, "none" }, { "none", model }, { path, model, "none" }, { path, model, rows, rows } } do
    status, text = run(table.unpack(words))
    lu.assertEquals(status, 2, text)
    lu.assertStrContains(text, "lipwb check: ")
  end
  lu.assertStrContains(select(2, run(path, model, "mnist")), "known names are digits, mnist")
  for _, file in ipairs { model, rows, other } do os.remove(file) end
end

function T.tearDown() os.remove(path) end

return T
