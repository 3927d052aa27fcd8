-- How each script begins: its first arguments, the time, the counts.
--
-- ARGV[1]  the prefix of all keys
-- ARGV[2]  the prefix of the statistics
-- ARGV[3]  milliseconds to add to the clock: 0, but in tests
-- ARGV[4]  the expiry of messages, in milliseconds
--
-- All time is the server's own, in milliseconds since 1970: the clocks of the
-- machines around it do not matter.
--
-- Keys, each behind the prefix:
--   queue:<mailbox>           LIST    what waits there: see queue.lua
--   due                       ZSET    mailbox -> when its first entry expires, or earlier
--   channels:<signature>      SET     what the readers of that signature read
--   listeners:<mailbox>       SET     signatures that read it
--   waiting:<signature>       ZSET    process -> since when it waits
--   bell:<process>            channel: a signature is published there
--   alive, owners             ZSET    process -> when it is taken for dead
--   swept, born               STRING  when the last sweep was; what tells this store from another
--   listens:<process>         SET     the signatures that it reads with
--   leases:<process>          HASH    what it took and has not settled
--   taken:<process>           LIST    the number of its last take, and what that brought
--   owns:<process>            SET     the mailboxes it took from
--   owner:<mailbox>           STRING  the process that took from it last
--   table:<mailbox>           ZSET    "group channel" -> until when
--   tables                    ZSET    mailbox -> until when it has a table
--   changes:<mailbox>         LIST    changes to the table that its owner has not seen
--   number:<mailbox>          STRING  the number of the last change
--   in:<channel>              SET     groups that the channel may be in
--   group:<group>             HASH    mailbox -> "until capacity flag"
--   members:<group>:<mailbox> ZSET    channel -> until when
--   reach:<mailbox>           SET     groups that have members there
--   leaving                   ZSET    "group mailbox" -> when its first member leaves, or earlier
--
-- Where functions are made once for the server and not once for each call (see
-- scripts.py), what is local here outlives a call: "begin" sets all of it.
local PREFIX, STATS, EXPIRY, NOW, CLOCK, call
local totals, counts, silent, puts

local function begin(ARGV)
  call = redis.call
  PREFIX, STATS, EXPIRY = ARGV[1], ARGV[2], tonumber(ARGV[4])
  local clock = call('TIME')
  -- In microseconds.
  CLOCK = clock[1] * 1000000 + clock[2]
  NOW = math.floor(CLOCK / 1000) + ARGV[3]
  totals, counts, silent, puts = {}, {}, {}, 0
end

-- The statistics of a channel are kept for an hour after they last changed;
-- those of a single-reader channel, of which there is one for each request with
-- a long body, for two minutes.
local COUNTS_KEPT, COUNTS_OF_ONE_KEPT = 3600000, 120000

-- Count for a mailbox and for all, or for all alone; written by write_counts.
local function count(mailbox, field, number)
  totals[field] = (totals[field] or 0) + number
  if mailbox then
    local fields = counts[mailbox]
    if not fields then
      fields = {}
      counts[mailbox] = fields
    end
    fields[field] = (fields[field] or 0) + number
  end
end

local function write_counts()
  for field, number in pairs(totals) do
    call('HINCRBY', STATS .. 'all', field, number)
  end
  for mailbox, fields in pairs(counts) do
    local key = STATS .. 'of:' .. mailbox
    for field, number in pairs(fields) do
      call('HINCRBY', key, field, number)
    end
    local single = string.find(mailbox, '?', 1, true)
    call('PEXPIRE', key, single and COUNTS_OF_ONE_KEPT or COUNTS_KEPT)
  end
end

-- Lua passes a limited number of arguments at once.
local function call_in_parts(command, key, values)
  for first = 1, #values, 500 do
    call(command, key, unpack(values, first, math.min(first + 499, #values)))
  end
end
