-- Note that a batch's record stands in storage. Counts once, whoever calls and however often.
-- KEYS run done leases holders sent waiting blocked history   ARGV stage batch, then outcomes and how many rows have them
local run, done, leases, holders, sent, waiting, blocked, history = unpack(KEYS)
local stage, batch = ARGV[1], ARGV[2]

if redis.call('EXISTS', run) == 0 then return 'unknown' end
redis.call('ZREM', leases, batch)
redis.call('ZREM', sent, batch)
redis.call('ZREM', waiting, batch)
redis.call('ZREM', blocked, batch)
redis.call('HDEL', holders, batch)
redis.call('HDEL', history, batch)
if redis.call('SETBIT', done, batch, 1) == 1 then return 'already' end
local left = redis.call('TTL', run)  -- of a cancelled run, whose keys are all forgotten together
if left > 0 then redis.call('EXPIRE', done, left) end
redis.call('HINCRBY', run, stage .. '.batches_done', 1)
for place = 3, #ARGV, 2 do
  redis.call('HINCRBY', run, stage .. '.' .. ARGV[place], ARGV[place + 1])
end
return 'committed'
