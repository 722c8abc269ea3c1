-- A fault pauses a run that is running or paused, and overrides no other state. Gives 1 when it is paused now.
-- KEYS run   ARGV reason
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'running' and state ~= 'paused' then return 0 end
redis.call('HSET', KEYS[1], 'state', 'paused', 'reason', ARGV[1])
return 1
