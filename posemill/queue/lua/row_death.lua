-- Note that a row ended the process that did nothing else. Gives the batch's history as JSON.
-- KEYS history   ARGV batch row words
local known = cjson.decode(redis.call('HGET', KEYS[1], ARGV[1]) or '{}')
known.rows = known.rows or {}
known.rows[ARGV[2]] = known.rows[ARGV[2]] or {}
table.insert(known.rows[ARGV[2]], ARGV[3])
known = cjson.encode(known)
redis.call('HSET', KEYS[1], ARGV[1], known)
return known
