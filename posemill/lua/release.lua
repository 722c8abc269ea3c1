-- Hand a batch back, to be sent again after a delay; the attempt stays counted unless ARGV refund is 1.
-- A worker that could not say so in time (ARGV overdue) gets its attempt back even where the lease has run out.
-- KEYS leases holders waiting attempts errors   ARGV batch fence delay_seconds refund error overdue
local leases, holders, waiting, attempts, errors = unpack(KEYS)
local batch, fence, delay_seconds, refund = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]

if redis.call('HGET', holders, batch) ~= fence then
  if ARGV[6] == '1' and refund == '1' and tonumber(redis.call('HGET', attempts, batch) or 0) > 0 then
    redis.call('HINCRBY', attempts, batch, -1)
  end
  return 'lost'
end
local time = redis.call('TIME')
redis.call('ZREM', leases, batch)
redis.call('HDEL', holders, batch)
redis.call('ZADD', waiting, tonumber(time[1]) + tonumber(time[2]) / 1e6 + delay_seconds, batch)
if refund == '1' then redis.call('HINCRBY', attempts, batch, -1) end
if ARGV[5] ~= '' then redis.call('HSET', errors, batch, ARGV[5]) end
return 'released'
