-- One load for every server: random keys, the same number of them, values of the same size. What
-- differs between the servers comes in by the environment, the token too, so that it is on no
-- command line:
--
--   BENCH_METHOD  GET, PUT or POST          BENCH_PATH  a pattern with one %05d, the key
--   BENCH_HEADER  where the token goes      BENCH_BODY  a pattern with one %s, the value; or empty
--   BENCH_TOKEN   its whole value there     BENCH_COUNT, BENCH_SIZE  keys; bytes of a value
--   BENCH_IN_TURN set: one key after the other, and not at random
--
-- Reads are formatted before the clock starts. Writes are formatted one by one, each with a value
-- that was never sent before.

local env = os.getenv
local count, size = tonumber(env("BENCH_COUNT")), tonumber(env("BENCH_SIZE"))
local path, body = env("BENCH_PATH"), env("BENCH_BODY")
local in_turn, turn = env("BENCH_IN_TURN"), -1
local headers = { [env("BENCH_HEADER")] = env("BENCH_TOKEN"), ["Content-Type"] = "application/json" }
local random, format = math.random, string.format

local threads = 0
function setup(thread)
   threads = threads + 1
   thread:set("number", threads)
end

local ready, head, alphabet = {}, {}, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

function init()
   math.randomseed(os.time() * 64 + number)
   for key = 0, count - 1 do
      if body == "" then
         ready[key] = wrk.format(env("BENCH_METHOD"), format(path, key), headers)
      else
         -- The length is the same for each, so that the header is formatted once a key.
         local whole = format(body, string.rep("x", size))
         local text = wrk.format(env("BENCH_METHOD"), format(path, key), headers, whole)
         head[key] = text:sub(1, #text - #whole)
      end
   end
end

-- 53 bits of a random number at a time are eight characters.
local function value()
   local parts = {}
   for part = 1, size / 8 do
      local bits, chars = random(0, 2 ^ 48 - 1), {}
      for at = 1, 8 do
         local low = bits % 64
         chars[at] = alphabet:sub(low + 1, low + 1)
         bits = (bits - low) / 64
      end
      parts[part] = table.concat(chars)
   end
   return table.concat(parts)
end

function request()
   local key
   if in_turn then
      turn = turn + 1
      key = turn % count
   else
      key = random(0, count - 1)
   end
   if body == "" then return ready[key] end
   return head[key] .. format(body, value())
end

-- `status` counts answers of 400 and above; neither server redirects.
function done(summary, latency)
   local e = summary.errors
   print(format(
      'BENCH {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "max": %d, '
         .. '"errors": {"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      latency.max, e.connect, e.read, e.write, e.timeout, e.status
   ))
end
