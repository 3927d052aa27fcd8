-- The end of a process, by its own word.
--
-- ARGV[5]  the process
-- Returns 1, or 0 where there is more to end: then it is to be called again.
-- Cost: in proportion to what it has not settled, what waits for it, and a bounded
-- number of its memberships.
local function bye(ARGV)
  begin(ARGV)
  end_reader(ARGV[5])
  local over = end_owner(ARGV[5])
  write_counts()
  return over and 1 or 0
end
