-- Give a batch to one worker. Attempts are counted here, before the work begins.
-- KEYS run done leases holders sent waiting attempts   ARGV batch lease_seconds
-- Gives {"claimed", fence, attempt} or {why not}.
local run, done, leases, holders, sent, waiting, attempts = unpack(KEYS)
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
  return {state}
end
local due = tonumber(redis.call('ZSCORE', waiting, batch) or 0)
if due > now then
  redis.call('ZREM', sent, batch)
  return {'waiting'}
end

local fence = redis.call('HINCRBY', run, 'fence', 1)
local attempt = redis.call('HINCRBY', attempts, batch, 1)
redis.call('ZADD', leases, now + lease_seconds, batch)
redis.call('HSET', holders, batch, fence)
redis.call('ZREM', sent, batch)
redis.call('ZREM', waiting, batch)
return {'claimed', fence, attempt}
