-- Convolutions of sequences: the same layer for channels x length and channels x 1 x length, trained under a budget, saved,
-- bounded by every method. Its norms are compared with matrices in tests/c/test_conv_norm.c.
local lu = require "luaunit"
local lip = require "lip"

local T = {}

local function net_of(input, norm, budget)
  return lip.net { input = input, norm = norm, budget = budget, seed = 2, init = "he",
    lip.conv1d { channels = 8, kernel = 5, stride = 2, padding = 2 }, lip.maxmin {},
    lip.conv1d { channels = 4, kernel = 3, groups = 2, dilation = 2 }, lip.relu {},
    lip.flatten {}, lip.dense { out = 2 } }
end

-- Sequences with a bump early or late.
local function data_of(n, shape)
  local rows, y, rng = {}, {}, lip.rng(4)
  local noise = lip.randn(rng, n, 2 * 24):totable()
  for i = 1, n do
    y[i] = i % 2
    local at = y[i] * 12 + 1 + i % 10
    rows[i] = noise[i]
    for k = 1, 48 do rows[i][k] = 0.3 * rows[i][k] end
    for k = at, at + 2 do rows[i][k] = rows[i][k] + 1 end
  end
  return lip.tensor(rows):reshape(n, table.unpack(shape)), lip.tensor(y)
end

function T.test_they_learn_under_a_budget()
  local path = os.tmpname()
  for norm, budget in pairs { ["1"] = 10, ["2"] = 4, inf = 10, ["1->inf"] = 10, ["2->inf"] = 6 } do
    local x, y = data_of(200, { 2, 24 })
    local net = net_of({ 2, 24 }, norm, budget)
    local history = assert(lip.train(net, lip.data.tensors(x, y), { epochs = 12, batch = 40, seed = 1,
      opt = lip.optim.adam { lr = 0.02 }, loss = lip.loss.cross_entropy { temperature = 0.2 } })).history
    lu.assertTrue(history[12].loss < 0.7 * history[1].loss, norm)
    local upper = net:bound().upper
    lu.assertTrue(upper <= budget and upper > 0.3 * budget, norm)
    lu.assertTrue(net:bound { lower = true, method = "best", seconds = 5 }.lower <= upper * (1 + 1e-12), norm)
    local p = tonumber(norm:match "^%d") or math.huge
    local c = net:certify(x, y, { eps = 0.02 })
    lu.assertTrue(c.certified[0.02] > 0.5 and c.certified[0.02] <= lip.attack(net, x, y, { eps = 0.02, p = p }).robust)
    assert(net:save(path))
    local back = assert(lip.load(path))
    lu.assertEquals(back:forward(x):totable(), net:forward(x):totable())
    lu.assertEquals(back:bound().upper, upper)
  end
  os.remove(path)
end

function T.test_a_row_of_an_image_is_a_sequence()
  local x = data_of(7, { 2, 24 })
  local flat, image, rows = net_of({ 2, 24 }, "2", 4), net_of({ 2, 1, 24 }, "2", 4), nil
  lu.assertEquals(flat:weights(1):shape(), { 8, 2, 5 })
  lu.assertEquals(flat:forward(x):totable(), image:forward(x:reshape(7, 2, 1, 24)):totable())
  lu.assertEquals(flat:bound().upper, image:bound().upper)
  rows = lip.net { input = { 2, 3, 8 }, norm = "2", seed = 1, lip.conv1d { channels = 3, kernel = 3, padding = 1 } }
  lu.assertEquals(rows:forward(x:reshape(7, 2, 3, 8)):shape(), { 7, 3 * 3 * 8 })
  local one = lip.net { input = { 2, 8 }, norm = "2", seed = 1, lip.conv1d { channels = 3, kernel = 3, padding = 1 } }
  local image_out = rows:forward(x:reshape(7, 2, 3, 8)):reshape(7, 3, 3, 8):totable()
  local parts = x:reshape(7, 2, 3, 8):totable()
  for r = 1, 3 do
    local row = one:forward(lip.tensor { { parts[1][1][r], parts[1][2][r] } }):reshape(3, 8):totable()
    for o = 1, 3 do lu.assertEquals(row[o], image_out[1][o][r]) end
  end
  lu.assertAlmostEquals(rows:bound().upper, one:bound().upper, 1e-6 * one:bound().upper)
end

function T.test_what_does_not_fit_is_refused()
  local function refused(parts, input, layer)
    local ok, message = pcall(lip.net, { input = input, norm = "2", seed = 1, layer })
    lu.assertFalse(ok)
    for _, part in ipairs(parts) do lu.assertStrContains(message, part) end
  end
  refused({ "layer 1 (conv1d)", "channels x length", "got 48" }, 48, lip.conv1d { channels = 2 })
  refused({ "layer 1 (conv1d)", "kernel 9", "input 2x6 with padding 1" }, { 2, 6 },
    lip.conv1d { channels = 2, kernel = 9, padding = 1 })
  refused({ "layer 1 (conv1d)", "kernel 3 with dilation 4 spans 9", "2x6" }, { 2, 6 },
    lip.conv1d { channels = 2, kernel = 3, dilation = 4 })
  refused({ "layer 1 (conv1d)", "3 groups do not divide", "2x6", "4 output channels" }, { 2, 6 },
    lip.conv1d { channels = 4, groups = 3 })
  lu.assertErrorMsgContains("kernel", lip.conv1d, { channels = 2, kernel = 65 })
  lu.assertErrorMsgContains("channels", lip.conv1d, {})
end

return T
