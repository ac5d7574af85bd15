-- Sobol points: the published first points, even filling of every dyadic box, and the integral of a product.
local lu = require "luaunit"
local lip = require "lip"

local tests = {}

-- the start of the sequence with the direction numbers of Joe and Kuo, as other programs print it
function tests.test_first_points()
  local known = {
    { 0, 0, 0, 0, 0, 0, 0, 0 },
    { 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5 },
    { 0.75, 0.25, 0.25, 0.25, 0.75, 0.75, 0.25, 0.75 },
    { 0.25, 0.75, 0.75, 0.75, 0.25, 0.25, 0.75, 0.25 },
    { 0.375, 0.375, 0.625, 0.875, 0.375, 0.125, 0.375, 0.875 },
    { 0.875, 0.875, 0.125, 0.375, 0.875, 0.625, 0.875, 0.375 },
  }
  local sequence = lip.sobol(8)
  for i, point in ipairs(known) do lu.assertEquals(sequence:point(i), point) end
  lu.assertEquals(#lip.sobol(32):point(12345), 32)
end

local function points(sequence, m)
  local list = {}
  for i = 1, 1 << m do list[i] = sequence:point(i) end
  return list
end

-- All ways to write `sum` as a sum of `parts` whole numbers >= 0.
local function each_split(sum, parts, visit, head)
  head = head or {}
  if parts == 1 then
    head[#head + 1] = sum
    visit(head)
    head[#head] = nil
    return
  end
  for k = 0, sum do
    head[#head + 1] = k
    each_split(sum - k, parts - 1, visit, head)
    head[#head] = nil
  end
end

-- Whether every dyadic box of volume 2^(t-m) in the given coordinates holds 2^t of the 2^m points.
local function is_net(list, m, t, coordinates)
  local fault
  each_split(m - t, #coordinates, function(bits)
    if fault then return end
    local count = {}
    for _, point in ipairs(list) do
      local box = 0
      for k, c in ipairs(coordinates) do box = box << bits[k] | math.floor(point[c] * (1 << bits[k])) end
      count[box] = (count[box] or 0) + 1
    end
    for box = 0, (1 << (m - t)) - 1 do
      if count[box] ~= 1 << t then fault = ("%s: box %d holds %s"):format(table.concat(bits, ","), box, count[box]) end
    end
  end)
  return fault == nil, fault
end

-- The quality t of Sobol points is at most the sum of (degree - 1) over the coordinates (the first: 0).
function tests.test_dyadic_boxes_are_filled_evenly()
  for _, seed in ipairs { false, 1, 77 } do
    local sequence = lip.sobol(32, seed or nil)
    local list = points(sequence, 8)
    for c = 1, 32 do lu.assertTrue(is_net(list, 8, 0, { c })) end -- each axis: one point in each of 256 intervals
    lu.assertTrue(is_net(list, 8, 0, { 1, 2 }))
    lu.assertTrue(is_net(list, 8, 1, { 1, 2, 3 }))
    lu.assertTrue(is_net(list, 8, 3, { 1, 2, 3, 4 }))
    lu.assertTrue(is_net(list, 8, 5, { 1, 2, 3, 4, 5 }))
    lu.assertTrue(is_net(list, 8, 3, { 4, 3 }))
    lu.assertTrue(is_net(list, 8, 6, { 6, 7 }))
  end
end

function tests.test_the_check_of_boxes_can_fail()
  local list, rng = {}, lip.rng(1)
  for i = 1, 256 do list[i] = { rng:uniform(), rng:uniform() } end
  lu.assertFalse((is_net(list, 8, 0, { 1, 2 })))
end

-- the next 2^k points are a net as well, and points do not depend on the order they are asked for
function tests.test_any_block()
  local sequence, list = lip.sobol(2), {}
  for i = 512, 257, -1 do list[#list + 1] = sequence:point(i) end
  lu.assertTrue(is_net(list, 8, 0, { 1, 2 }))
end

-- The integral of prod (1 + c_j (u_j - 1/2)^2 - c_j / 12) is 1 (Sobol's g functions in a smooth form).
local function product_error(point_of, n, dimensions)
  local sum = 0
  for i = 1, n do
    local u, product = point_of(i), 1
    for j = 1, dimensions do product = product * (1 + 2 / j * ((u[j] - 0.5) ^ 2 - 1 / 12)) end
    sum = sum + product
  end
  return math.abs(sum / n - 1)
end

function tests.test_integral_of_a_product()
  local rng, n, dimensions = lip.rng(2), 2048, 16
  local function random_point()
    local u = {}
    for j = 1, dimensions do u[j] = rng:uniform() end
    return u
  end
  local random = {}
  for k = 1, 9 do random[k] = product_error(random_point, n, dimensions) end
  table.sort(random)
  for _, seed in ipairs { false, 3, 4 } do
    local sequence = lip.sobol(dimensions, seed or nil)
    local err = product_error(function(i) return sequence:point(i) end, n, dimensions)
    lu.assertTrue(err < 5e-4, err)
    lu.assertTrue(err < random[5] / 4, "better than the median of random points by far")
  end
end

function tests.test_seeds()
  lu.assertEquals(lip.sobol(3, 7):point(5), lip.sobol(3, 7):point(5))
  lu.assertNotEquals(lip.sobol(3, 7):point(5), lip.sobol(3, 8):point(5))
  lu.assertNotEquals(lip.sobol(3, 7):point(5), lip.sobol(3):point(5))
  -- the first coordinates do not depend on how many there are
  lu.assertEquals(lip.sobol(9, 7):point(5)[2], lip.sobol(2, 7):point(5)[2])
end

function tests.test_what_is_refused()
  lu.assertErrorMsgContains("1 to 32 dimensions", lip.sobol, 33)
  lu.assertErrorMsgContains("1 to 32 dimensions", lip.sobol, 0)
  lu.assertErrorMsgContains("1 to 32 dimensions", lip.sobol, nil)
  lu.assertErrorMsgContains("the seed is a whole number", lip.sobol, 2, 0.5)
  local sequence = lip.sobol(2)
  lu.assertErrorMsgContains("counted from 1", sequence.point, sequence, 0)
  lu.assertErrorMsgContains("counted from 1", sequence.point, sequence, (1 << 32) + 1)
  lu.assertErrorMsgContains("counted from 1", sequence.point, sequence, 1.5)
  lu.assertEquals(#sequence:point(1 << 32), 2)
end

return tests
