-- The changes to the members behind the mailboxes of a process.
--
-- ARGV[5]  the process
-- then the mailboxes
-- Returns nothing where the process is not registered; else what is new of each that
-- nobody else has taken from since: see feed.lua.
-- Cost: some three commands for each mailbox.
local function news(ARGV)
  begin(ARGV)
  if not may_own(ARGV[5]) then return false end
  local feeds = {}
  for place = 6, #ARGV do
    local owner = call('GET', PREFIX .. 'owner:' .. ARGV[place])
    if not owner or owner == ARGV[5] then
      feeds[#feeds + 1] = feed(ARGV[5], ARGV[place])
    end
  end
  return feeds
end
