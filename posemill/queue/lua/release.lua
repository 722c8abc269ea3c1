-- Hand a batch back, to be sent again after a delay. Nothing happens where another worker holds it by now.
-- KEYS leases holders waiting history   ARGV batch fence delay_seconds failures delays error
-- failures, delays: how many to add to the batch's history.
local leases, holders, waiting, history = unpack(KEYS)
local batch, fence, delay_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3])

if redis.call('HGET', holders, batch) ~= fence then return 'lost' end
local time = redis.call('TIME')
redis.call('ZREM', leases, batch)
redis.call('HDEL', holders, batch)
redis.call('ZADD', waiting, tonumber(time[1]) + tonumber(time[2]) / 1e6 + delay_seconds, batch)
local known = cjson.decode(redis.call('HGET', history, batch) or '{}')
known.failures = (known.failures or 0) + tonumber(ARGV[4])
known.delays = (known.delays or 0) + tonumber(ARGV[5])
if ARGV[6] ~= '' then known.error = ARGV[6] end
redis.call('HSET', history, batch, cjson.encode(known))
local left = redis.call('TTL', history)  -- of a cancelled run, whose keys are all forgotten together
if left > 0 then redis.call('EXPIRE', waiting, left) end
return 'released'
