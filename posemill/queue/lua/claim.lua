-- Give a batch to one worker, with its history so far. A claim is noted, and charges nothing.
-- KEYS run done leases holders sent waiting history   ARGV batch lease_seconds
-- Gives {"claimed", fence, history as JSON, submission} or {why not}.
local run, done, leases, holders, sent, waiting, history = unpack(KEYS)
local batch, lease_seconds = ARGV[1], tonumber(ARGV[2])

local state = redis.call('HGET', run, 'state')
if not state then return {'unknown'} end
if redis.call('GETBIT', done, batch) == 1 then
  redis.call('ZREM', sent, batch)
  return {'done'}
end
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local lease_end = tonumber(redis.call('ZSCORE', leases, batch) or 0)
if lease_end > now then return {'leased'} end
if state ~= 'running' then
  if redis.call('ZREM', sent, batch) == 1 then redis.call('ZADD', waiting, now, batch) end
  local left = redis.call('TTL', run)  -- of a cancelled run, whose keys are all forgotten together
  if left > 0 then redis.call('EXPIRE', waiting, left) end
  return {state}
end
local due = tonumber(redis.call('ZSCORE', waiting, batch) or 0)
if due > now then
  redis.call('ZREM', sent, batch)
  return {'waiting'}
end

local known = cjson.decode(redis.call('HGET', history, batch) or '{}')
known.claims = (known.claims or 0) + 1
if lease_end > 0 then known.expiries = (known.expiries or 0) + 1 end
known = cjson.encode(known)
redis.call('HSET', history, batch, known)
local fence = redis.call('HINCRBY', run, 'fence', 1)
redis.call('ZADD', leases, now + lease_seconds, batch)
redis.call('HSET', holders, batch, fence)
redis.call('ZREM', sent, batch)
redis.call('ZREM', waiting, batch)
return {'claimed', fence, known, redis.call('HGET', run, 'submission') or ''}
