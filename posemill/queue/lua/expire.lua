-- Put batches whose lease ran out, and batches whose message vanished, back in line. Gives how many.
-- KEYS leases holders sent waiting history   ARGV limit queue_length resend_seconds
local leases, holders, sent, waiting, history = unpack(KEYS)
local limit, queue_length, resend_seconds = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local late = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, limit)
for _, batch in ipairs(late) do
  local known = cjson.decode(redis.call('HGET', history, batch) or '{}')
  known.expiries = (known.expiries or 0) + 1
  redis.call('HSET', history, batch, cjson.encode(known))
  redis.call('ZREM', leases, batch)
  redis.call('HDEL', holders, batch)
  redis.call('ZADD', waiting, now, batch)
end
local vanished = {}
if queue_length < redis.call('ZCARD', sent) then
  vanished = redis.call('ZRANGEBYSCORE', sent, '-inf', now - resend_seconds, 'LIMIT', 0, limit)
end
for _, batch in ipairs(vanished) do
  redis.call('ZREM', sent, batch)
  redis.call('ZADD', waiting, now, batch)
end
return #late + #vanished
