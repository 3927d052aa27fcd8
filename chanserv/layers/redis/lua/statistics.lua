-- The counts of one mailbox, or of all.
--
-- ARGV[5]  the mailbox; empty for all
-- Returns {messages_count, channel_full_count, messages_expired_count,
-- messages_lost_count, messages_pending, age of the oldest message in ms}.
-- Cost: a few commands, and what is found to be due.
local FIELDS = {'messages_count', 'channel_full_count', 'messages_expired_count',
  'messages_lost_count'}

-- Drop what is due at the front, then see how old the oldest is.  An entry of
-- "due" may be earlier than the truth, which is mended here.
local function oldest()
  while true do
    local first = call('ZRANGE', PREFIX .. 'due', 0, 0, 'WITHSCORES')
    if not first[1] then return 0 end
    local mailbox = first[1]
    if tonumber(first[2]) <= NOW then drop_due(mailbox, 1000) end
    local head = call('LINDEX', PREFIX .. 'queue:' .. mailbox, 0)
    if not head then
      call('ZREM', PREFIX .. 'due', mailbox)
    else
      local _, deadline = string.match(head, HEAD)
      if tonumber(deadline) == tonumber(first[2]) and tonumber(deadline) > NOW then
        return age(mailbox)
      end
      call('ZADD', PREFIX .. 'due', deadline, mailbox)
    end
  end
end

local function statistics(ARGV)
  begin(ARGV)
  local MAILBOX = ARGV[5]
  local key, pending, waited = STATS .. 'all', 0, 0
  if MAILBOX == '' then
    waited = oldest()
  else
    key = STATS .. 'of:' .. MAILBOX
    drop_due(MAILBOX, call('LLEN', PREFIX .. 'queue:' .. MAILBOX))
    pending = call('LLEN', PREFIX .. 'queue:' .. MAILBOX)
    waited = age(MAILBOX)
  end
  write_counts()
  local answer = {}
  for place, value in ipairs(call('HMGET', key, unpack(FIELDS))) do
    answer[place] = tonumber(value or 0)
  end
  if MAILBOX == '' then pending = answer[1] - tonumber(call('HGET', key, 'gone') or 0) end
  answer[5], answer[6] = pending, waited
  return answer
end
