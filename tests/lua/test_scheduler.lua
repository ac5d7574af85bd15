-- Schedulers: who goes on and who ends, against the rules counted by hand, and what they save on made-up curves.
local lu = require "luaunit"
local lip = require "lip"

local tests = {}

local function rungs(scheduler, last)
  local found = {}
  for step = 1, last do
    local rung = scheduler:rung_of(step)
    if rung then found[#found + 1] = ("%d:%d"):format(rung, step) end
  end
  return table.concat(found, " ")
end

function tests.test_asha_rungs()
  lu.assertEquals(rungs(lip.asha { max = 30 }, 40), "0:1 1:3 2:9 3:27")
  lu.assertEquals(rungs(lip.asha { max = 27 }, 40), "0:1 1:3 2:9")
  lu.assertEquals(rungs(lip.asha { min = 2, max = 40, eta = 4 }, 50), "0:2 1:8 2:32")
  lu.assertEquals(rungs(lip.asha { min = 5, max = 5 }, 9), "")
  lu.assertEquals(rungs(lip.asha { min = 1, max = 20, eta = 2.5 }, 30), "0:1 1:3 2:7 3:16")
  -- a non-integer eta whose first rungs would fall together asks once at each step
  local slow, seen = lip.asha { max = 4, eta = 1.2 }, {}
  for step = 1, 3 do
    local rung = slow:rung_of(step)
    lu.assertTrue(rung and not seen[rung])
    seen[rung] = true
  end
end

function tests.test_asha_keeps_the_best_third()
  local asha = lip.asha { max = 81 }
  lu.assertTrue(asha:decide({ 0.1 }, 0.1)) -- the first always goes on
  lu.assertFalse(asha:decide({ 0.5, 0.4 }, 0.4))
  lu.assertTrue(asha:decide({ 0.5, 0.6 }, 0.6))
  local scores = { 9, 2, 7, 4, 5, 6, 3, 8, 1 }
  for _, own in ipairs(scores) do lu.assertEquals(asha:decide(scores, own), own >= 7) end
  local two = lip.asha { max = 81, eta = 2 }
  for _, own in ipairs(scores) do lu.assertEquals(two:decide(scores, own), own >= 6) end -- 4 of 9
  lu.assertTrue(asha:decide({ 5, 5, 5 }, 5)) -- a tie ends nobody
end

function tests.test_what_is_no_number_ends()
  local nan = 0 / 0
  for _, scheduler in ipairs { lip.asha { max = 9 }, lip.median {} } do
    lu.assertFalse(scheduler:decide({ nan }, nan))
    lu.assertTrue(scheduler:decide({ nan, 0.1 }, 0.1))
    lu.assertTrue(scheduler:decide({ -math.huge, -5 }, -5))
  end
  lu.assertTrue(lip.median { trials = 2 }:decide({ nan, nan, 0.1 }, 0.1))
end

-- 200 curves that rise to a level by which alone they differ, one after the other: those that are ended were worse than
-- those that are kept, the best is among the finished, and most of the work is saved.
function tests.test_asha_finds_the_best_curve_cheaply()
  local rng, asha = lip.rng(5), lip.asha { max = 81 }
  local kept_at, work, finished, best = {}, 0, 0, 0
  local best_finished = 0
  for _ = 1, 200 do
    local level, ended = rng:uniform(), false
    best = math.max(best, level)
    for step = 1, 81 do
      work = work + 1
      local rung = asha:rung_of(step)
      if rung then
        local scores = kept_at[rung] or {}
        kept_at[rung] = scores
        local value = level * (1 - 1 / (step + 1))
        scores[#scores + 1] = value
        if not asha:decide(scores, value) then
          ended = true
          break
        end
      end
    end
    if not ended then
      finished, best_finished = finished + 1, math.max(best_finished, level)
    end
  end
  lu.assertEquals(best_finished, best)
  lu.assertEquals(#kept_at[0], 200)
  for rung = 0, 2 do -- about a third goes on; who comes early meets fewer, so somewhat more
    local share = #kept_at[rung + 1] / #kept_at[rung]
    lu.assertTrue(share >= 0.25 and share < 0.6, share)
  end
  lu.assertTrue(finished >= 3 and finished < 30, finished)
  lu.assertTrue(work < 200 * 81 / 4, work)
end

function tests.test_median_rungs()
  lu.assertEquals(rungs(lip.median {}, 4), "0:1 1:2 2:3 3:4")
  lu.assertEquals(rungs(lip.median { min = 4, every = 3 }, 12), "0:4 1:7 2:10")
  lu.assertEquals(rungs(lip.median { min = 4, every = 3, max = 10 }, 12), "0:4 1:7")
end

function tests.test_median_rule()
  local rule = lip.median { trials = 3 }
  lu.assertTrue(rule:decide({ 9, 8, 1 }, 1)) -- two others only
  lu.assertFalse(rule:decide({ 9, 8, 7, 1 }, 1))
  lu.assertTrue(rule:decide({ 9, 8, 7, 8 }, 8)) -- equal to the median of the others
  lu.assertFalse(rule:decide({ 9, 8, 7, 7.9 }, 7.9))
  lu.assertTrue(rule:decide({ 9, 8, 7, 6, 7.5 }, 7.5)) -- an even number: the mean of the middle two
  lu.assertFalse(rule:decide({ 9, 8, 7, 6, 7.4 }, 7.4))
  lu.assertTrue(rule:decide({ 1, 1, 1, 1 }, 1))
end

-- the published rule: averages are written down, the best value is compared with them
function tests.test_median_of_running_averages()
  local rule = lip.median { trials = 1 }
  lu.assertEquals(rule:score { 1, 2, 6 }, 3)
  local others, own = { rule:score { 4, 6, 8 } }, { 1, 7, 2 }
  local average = rule:score(own)
  lu.assertAlmostEquals(average, 10 / 3, 1e-12)
  local scores = { others[1], average }
  lu.assertTrue(rule:decide(scores, average, own)) -- 7 >= 6
  lu.assertFalse(rule:decide(scores, average)) -- 3.3 < 6
  lu.assertFalse(rule:decide(scores, average, { 1, 5, 4 }))
end

-- the fields are the description: what is stored makes the same scheduler again
function tests.test_a_description_makes_it_again()
  for _, scheduler in ipairs { lip.asha { min = 2, max = 30, eta = 4 }, lip.median { min = 3, trials = 7 } } do
    local fields, text = {}, lip.to_json(scheduler)
    for name, value in pairs(scheduler) do
      lu.assertTrue(type(value) == "number" or type(value) == "string", name)
      fields[name] = value
    end
    lu.assertStrContains(text, '"kind":"' .. scheduler.kind .. '"')
    lu.assertEquals(rungs(lip[scheduler.kind](fields), 99), rungs(scheduler, 99))
  end
end

function tests.test_what_is_refused()
  local function refused(text, make, options)
    lu.assertErrorMsgContains(text, make, options)
  end
  refused("option 'max' expects a whole number >= 1, got nil", lip.asha, {})
  refused("option 'min' expects", lip.asha, { max = 3, min = 0 })
  refused("option 'max' expects", lip.asha, { max = 2.5 })
  refused("option 'eta' expects a number above 1", lip.asha, { max = 3, eta = 1 })
  refused("option 'eta' expects a number above 1", lip.asha, { max = 3, eta = 0 / 0 })
  refused("max (3) is below min (4)", lip.asha, { max = 3, min = 4 })
  refused("unknown option 'grace'", lip.asha, { max = 3, grace = 4 })
  refused("option 'kind'", lip.asha, { max = 3, kind = "median" })
  refused("option 'resource'", lip.asha, { max = 3, resource = 4 })
  refused("option 'every' expects", lip.median, { every = 0 })
  refused("option 'kind'", lip.median, { kind = "asha" })
  refused("unknown option 'eta'", lip.median, { eta = 3 })
end

return tests
