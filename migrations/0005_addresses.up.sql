-- New entries go into the index at once, and not to a list beside it that every
-- look-up reads as a whole.
ALTER INDEX tenant.object_addresses SET (fastupdate = off);
SELECT gin_clean_pending_list('tenant.object_addresses');
