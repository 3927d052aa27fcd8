-- What a process has taken and not settled: leases:<process>, by the number of
-- the take and the place in it.  The whole entry is kept where it is to be
-- redelivered, and else its first line.

-- A message whose reader could not finish with it.
local function lose(entry)
  local _, _, to, receipt, flag = string.match(entry, HEAD)
  if flag == 'r' then
    put_first(entry)
  else
    count(mailbox_of(to), 'messages_lost_count', 1)
    tell(receipt, 'lost')
  end
end

-- Settle one; nothing happens where it is not leased any more.  An outcome
-- "useless" is a loss that no other reader could prevent.
local function settle(process, id, outcome)
  local key = PREFIX .. 'leases:' .. process
  local entry = call('HGET', key, id)
  if not entry then return end
  call('HDEL', key, id)
  if outcome == 'lost' then
    lose(entry)
  else
    local _, _, to, receipt = string.match(entry, HEAD)
    if outcome == 'useless' then
      count(mailbox_of(to), 'messages_lost_count', 1)
      outcome = 'lost'
    end
    tell(receipt, outcome)
  end
end
