-- The mailboxes that groups reach.
--
-- ARGV[5...]  the groups
-- Returns for each of them {mailbox, capacity, flag, mailbox, ...}.
-- Cost: a command for each group.
local function reach(ARGV)
  begin(ARGV)
  local answer = {}
  for place = 5, #ARGV do
    local found = {}
    each_mailbox(ARGV[place], function(mailbox, capacity, flag)
      found[#found + 1] = mailbox
      found[#found + 1] = capacity
      found[#found + 1] = flag
    end)
    answer[#answer + 1] = found
  end
  return answer
end
