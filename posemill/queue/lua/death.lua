-- A worker was seen to die with a batch on its device: charge the batch (ARGV charge is 1) and hand it back.
-- KEYS device done leases holders waiting history   ARGV note batch fence delay_seconds charge words
local device, done, leases, holders, waiting, history = unpack(KEYS)
local batch, fence, delay_seconds = ARGV[2], ARGV[3], tonumber(ARGV[4])

if redis.call('GET', device) ~= ARGV[1] then return 'unknown' end
redis.call('DEL', device)
if redis.call('GETBIT', done, batch) == 1 then return 'done' end
if ARGV[5] == '1' then
  local known = cjson.decode(redis.call('HGET', history, batch) or '{}')
  known.deaths = (known.deaths or 0) + 1
  known.error = ARGV[6]
  redis.call('HSET', history, batch, cjson.encode(known))
end
if redis.call('HGET', holders, batch) == fence then
  local time = redis.call('TIME')
  redis.call('ZREM', leases, batch)
  redis.call('HDEL', holders, batch)
  redis.call('ZADD', waiting, tonumber(time[1]) + tonumber(time[2]) / 1e6 + delay_seconds, batch)
end
return 'charged'
