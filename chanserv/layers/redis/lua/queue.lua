-- Queues, and the readers that wait for them.
--
-- An entry is a line of its own, then the payload:
--
--   <kind><deadline> <to> <receipt> <flag>\n<payload>
--
-- kind     m: a message; g: a message for a group's members in a mailbox, whose
--          payload has a line "<group> <number>" of its own before it; r: a
--          receipt, whose payload is the outcome
-- to       the channel's full name, or the mailbox of a g
-- receipt  the channel that wants one, or -
-- flag     r where it is redelivered when its reader dies, or -
local HEAD = '^(%l)(%d+) (%S+) (%S+) (%S+)\n'

local function mailbox_of(channel)
  return string.match(channel, '^[^!]*!') or channel
end

-- Ring one reader that waits for the mailbox, if there is one.  A reader whose
-- connection is gone hears nothing: then it is the next one's turn.
local function ring(mailbox)
  if silent[mailbox] then return end
  for _, signature in ipairs(call('SMEMBERS', PREFIX .. 'listeners:' .. mailbox)) do
    while true do
      local first = call('ZPOPMIN', PREFIX .. 'waiting:' .. signature)
      if #first == 0 then break end
      if call('PUBLISH', PREFIX .. 'bell:' .. first[1], signature) > 0 then return end
    end
  end
  -- Nobody begins to wait while a script runs.
  silent[mailbox] = true
end

local function ring_if_any(mailbox)
  if call('EXISTS', PREFIX .. 'queue:' .. mailbox) == 1 then ring(mailbox) end
end

-- Put something at the end of a queue, which has room.
local function put(mailbox, kind, rest)
  local deadline = NOW + EXPIRY
  -- Not by string.format alone, which ends a text at its first zero byte.
  local entry = kind .. string.format('%d', deadline) .. ' ' .. rest
  local length = call('RPUSH', PREFIX .. 'queue:' .. mailbox, entry)
  if length == 1 then
    call('ZADD', PREFIX .. 'due', deadline, mailbox)
  end
  puts = puts + 1
  count(mailbox, 'messages_count', 1)
  ring(mailbox)
end

-- Tell a channel, which need not have room, what became of a message.
local function tell(receipt, outcome)
  if receipt ~= '-' then
    put(mailbox_of(receipt), 'r', receipt .. ' - -\n' .. outcome)
  end
end

-- Put an entry that was taken back to the front; it keeps its deadline.
local function put_first(entry)
  local _, deadline, to, receipt = string.match(entry, HEAD)
  local mailbox = mailbox_of(to)
  if tonumber(deadline) <= NOW then
    count(mailbox, 'messages_expired_count', 1)
    tell(receipt, 'expired')
    return
  end
  call('LPUSH', PREFIX .. 'queue:' .. mailbox, entry)
  call('ZADD', PREFIX .. 'due', 'LT', deadline, mailbox)
  count(nil, 'gone', -1)
  ring(mailbox)
end

-- Drop what has expired at the front, and no more than that many entries.
local function drop_due(mailbox, most)
  local key, dropped = PREFIX .. 'queue:' .. mailbox, 0
  while dropped < most do
    local first = call('LINDEX', key, 0)
    if not first then break end
    local _, deadline, _, receipt = string.match(first, HEAD)
    if tonumber(deadline) > NOW then break end
    call('LPOP', key)
    dropped = dropped + 1
    tell(receipt, 'expired')
  end
  if dropped > 0 then
    count(mailbox, 'messages_expired_count', dropped)
    count(nil, 'gone', dropped)
  end
  return dropped
end

-- How long the first entry has waited, in milliseconds.
local function age(mailbox)
  local first = call('LINDEX', PREFIX .. 'queue:' .. mailbox, 0)
  if not first then return 0 end
  local _, deadline = string.match(first, HEAD)
  return math.max(0, NOW - (tonumber(deadline) - EXPIRY))
end

-- Whether the mailbox has room.  One that has none has none for the rest of the
-- call, in which nobody takes anything.
local function has_room(mailbox, capacity)
  local key = PREFIX .. 'queue:' .. mailbox
  local length = call('LLEN', key)
  if length < capacity then return true end
  if drop_due(mailbox, length) > 0 and call('LLEN', key) < capacity then return true end
  count(mailbox, 'channel_full_count', 1)
  return false
end
