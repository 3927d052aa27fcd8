-- The members of a group.
--
-- ARGV[5]  the group
-- Returns their channels.
-- Cost: a command for each mailbox that it reaches.
local function members(ARGV)
  begin(ARGV)
  local members = {}
  each_mailbox(ARGV[5], function(mailbox)
    local key = PREFIX .. 'members:' .. ARGV[5] .. ':' .. mailbox
    for _, channel in ipairs(call('ZRANGEBYSCORE', key, '(' .. NOW, '+inf')) do
      members[#members + 1] = channel
    end
  end)
  return members
end
