package tenant

import (
	"context"
	"errors"
)

// MaxChunkItems bounds what a stream of password changes has stored at once. A
// chunk is one transaction, and the tenant's other writers wait for it: some
// sixty milliseconds for a full one.
const MaxChunkItems = 10000

// maxChunkTries is how often a chunk is decided on whose users change meanwhile.
const maxChunkTries = 3

// HashChunk is a piece of a stream of password changes between its two steps: it
// has gone through the rules, and is still to be stored. That there are two lets
// a chunk be checked while the one before it is on its way to disk.
type HashChunk struct {
	service *Service
	from    Origin
	items   []HashItem
	checked *checkedHashes
}

// CheckHashes holds the changes against the rules of [Service.SyncHashes], and
// changes nothing. Chunks may be checked side by side.
func (s *Service) CheckHashes(ctx context.Context, from Origin, items []HashItem) (*HashChunk, error) {
	if len(items) > MaxChunkItems {
		return nil, ErrBatchTooLarge
	}
	began := s.Now().UTC()
	checked, err := s.checkHashes(ctx, from, items)
	if err != nil {
		return nil, s.refuse(ctx, HashBatch, from, began, err)
	}
	return &HashChunk{s, from, items, checked}, nil
}

// Put stores the chunk: all of it, or nothing. The chunks of a stream have to be
// put one after the other in their order, as of two changes with one date the
// later arrival wins.
func (c *HashChunk) Put(ctx context.Context) (BatchResult, error) {
	for try := 1; ; try++ {
		done, err := c.service.putHashes(ctx, c.checked)
		if !errors.Is(err, ErrConflict) || try == maxChunkTries {
			return done, err
		}
		// One of the users was deleted after the check. Nobody else's change
		// is to be refused for that, so all are decided on again.
		if c.checked, err = c.service.checkHashes(ctx, c.from, c.items); err != nil {
			return BatchResult{}, err
		}
	}
}
