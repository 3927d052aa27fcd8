-- The receipts that can still come to some mailboxes.
--
-- ARGV[5...]  the mailboxes
-- Returns their channels, each as often as that: of messages that wait, of those
-- that are leased, and of receipts that wait themselves; or nothing where there
-- is too much to look at.
-- Cost: every entry in the store is looked at.

-- Bytes that are looked at, at most: a good part of a second.
local MOST_LOOKED_AT = 67108864

local function owed(ARGV)
  begin(ARGV)
  local wanted, found, bytes = {}, {}, 0
  for place = 5, #ARGV do wanted[ARGV[place]] = true end

  local function look(entry)
    bytes = bytes + #entry
    local kind, _, to, receipt = string.match(entry, HEAD)
    local channel = kind == 'r' and to or receipt
    if wanted[mailbox_of(channel)] then found[#found + 1] = channel end
  end

  for _, mailbox in ipairs(call('ZRANGE', PREFIX .. 'due', 0, -1)) do
    local key, first = PREFIX .. 'queue:' .. mailbox, 0
    while true do
      local entries = call('LRANGE', key, first, first + 15)
      for _, entry in ipairs(entries) do look(entry) end
      if #entries < 16 then break end
      if bytes > MOST_LOOKED_AT then return false end
      first = first + 16
    end
  end
  for _, process in ipairs(call('ZRANGE', PREFIX .. 'alive', 0, -1)) do
    for _, entry in ipairs(call('HVALS', PREFIX .. 'leases:' .. process)) do look(entry) end
    if bytes > MOST_LOOKED_AT then return false end
  end
  return found
end
