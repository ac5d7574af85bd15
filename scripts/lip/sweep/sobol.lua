--- Sobol points: lip.sobol(dimensions, seed) -> a generator; generator:point(i) is the i-th point of the unit cube.
--
-- The sequence of Sobol (1967) in the form of Bratley and Fox (1988, Algorithm 659): with n = i - 1 a coordinate is
-- the sum modulo 2 of the direction numbers v_j chosen by the bits of the Gray code of n, so any point is had at once.
-- Every coordinate has a primitive polynomial x^s + a_1 x^(s-1) + ... + 1 over GF(2), and
--   m_k = 2 a_1 m_(k-1) + 4 a_2 m_(k-2) + ... + 2^s m_(k-s) + m_(k-s)   (sums modulo 2),   v_k = m_k / 2^k.
-- Polynomials and starts m_1 .. m_s are those of Joe and Kuo (2008), chosen for good projections on pairs.
-- Points 1 .. 2^k are a (t, k, d)-net: they fill the dyadic boxes of volume 2^(t-k) evenly. Point 1 is the origin.
--
-- With a seed all points are moved by one random number for each coordinate, added bit by bit (a digital shift): they
-- stay such nets, and the mean over seeds of an average is free of bias.
local lip = require "lip.core"
local shown = require "lip.shown"

local BITS = 32

-- { degree s, inner coefficients of the polynomial as bits a, starts m }, from the second coordinate on.
local TABLE = {
  { 1, 0, 1 }, { 2, 1, 1, 3 }, { 3, 1, 1, 3, 1 }, { 3, 2, 1, 1, 1 },
  { 4, 1, 1, 1, 3, 3 }, { 4, 4, 1, 3, 5, 13 },
  { 5, 2, 1, 1, 5, 5, 17 }, { 5, 4, 1, 1, 5, 5, 5 }, { 5, 7, 1, 1, 7, 11, 19 },
  { 5, 11, 1, 1, 5, 1, 1 }, { 5, 13, 1, 1, 1, 3, 11 }, { 5, 14, 1, 3, 5, 5, 31 },
  { 6, 1, 1, 3, 3, 9, 7, 49 }, { 6, 13, 1, 1, 1, 15, 21, 21 }, { 6, 16, 1, 3, 1, 13, 27, 49 },
  { 6, 19, 1, 1, 1, 15, 7, 5 }, { 6, 22, 1, 3, 1, 15, 13, 25 }, { 6, 25, 1, 1, 5, 5, 19, 61 },
  { 7, 1, 1, 3, 7, 11, 23, 15, 103 }, { 7, 4, 1, 3, 7, 13, 13, 15, 69 }, { 7, 7, 1, 1, 3, 13, 7, 35, 63 },
  { 7, 8, 1, 3, 5, 9, 1, 25, 53 }, { 7, 14, 1, 3, 1, 13, 9, 35, 107 }, { 7, 19, 1, 3, 1, 5, 27, 61, 31 },
  { 7, 21, 1, 1, 5, 11, 19, 41, 61 }, { 7, 28, 1, 3, 5, 3, 3, 13, 69 }, { 7, 31, 1, 1, 7, 13, 1, 19, 1 },
  { 7, 32, 1, 3, 7, 5, 13, 19, 59 }, { 7, 37, 1, 1, 3, 9, 25, 29, 41 }, { 7, 41, 1, 3, 5, 13, 23, 1, 55 },
  { 7, 42, 1, 3, 7, 3, 13, 59, 17 },
}
local MOST = #TABLE + 1

-- Direction numbers v_1 .. v_BITS of a coordinate, as whole numbers over 2^BITS.
local function directions(coordinate)
  local v = {}
  if coordinate == 1 then -- van der Corput's sequence: every m is 1
    for k = 1, BITS do v[k] = 1 << (BITS - k) end
    return v
  end
  local row = TABLE[coordinate - 1]
  local s, a, m = row[1], row[2], {}
  for k = 1, BITS do
    if k <= s then
      m[k] = row[2 + k]
    else
      m[k] = (m[k - s] << s) ~ m[k - s]
      for j = 1, s - 1 do
        if a >> (s - 1 - j) & 1 == 1 then m[k] = m[k] ~ (m[k - j] << j) end
      end
    end
    v[k] = m[k] << (BITS - k)
  end
  return v
end

---@class lip.sobol.generator
local methods = {}

--- The i-th point (i from 1): a list of numbers in [0, 1), one for each dimension.
function methods:point(i)
  local n = math.tointeger(i)
  if not n or n < 1 or n > 1 << BITS then
    error(("sobol: points are counted from 1 to 2^%d, got %s"):format(BITS, shown(i)), 2)
  end
  n = n - 1
  local gray, point = n ~ (n >> 1), {}
  for d = 1, self.dimensions do
    local v, x, bits, k = self.directions[d], self.shift[d], gray, 1
    while bits > 0 do
      if bits & 1 == 1 then x = x ~ v[k] end
      bits, k = bits >> 1, k + 1
    end
    point[d] = x / (1 << BITS)
  end
  return point
end

--- A generator of Sobol points.
---@param dimensions integer 1 to 32
---@param seed? integer of a digital shift; none: the plain sequence
local function sobol(dimensions, seed)
  local count = math.tointeger(dimensions)
  if not count or count < 1 or count > MOST then
    error(("sobol: 1 to %d dimensions are known, got %s"):format(MOST, shown(dimensions)), 2)
  end
  if seed ~= nil and not math.tointeger(seed) then
    error(("sobol: the seed is a whole number, got %s"):format(shown(seed)), 2)
  end
  local self = setmetatable({ dimensions = count, directions = {}, shift = {} }, { __index = methods })
  local rng = seed and lip.rng(seed)
  for d = 1, count do
    self.directions[d] = directions(d)
    self.shift[d] = rng and rng:below(1 << BITS) or 0
  end
  return self
end

return require "lip.arguments".checked("lip.sobol", "dimensions any, seed any?", sobol)
