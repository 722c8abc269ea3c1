-- Keep a lease alive while its holder lives. Gives the run's state, or "lost".
-- KEYS run leases holders   ARGV batch fence lease_seconds
local run, leases, holders = unpack(KEYS)
local batch, fence, lease_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3])

if redis.call('HGET', holders, batch) ~= fence then return 'lost' end
local time = redis.call('TIME')
redis.call('ZADD', leases, tonumber(time[1]) + tonumber(time[2]) / 1e6 + lease_seconds, batch)
return redis.call('HGET', run, 'state') or 'lost'
