package tenant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Service is the tenant: its rules over its Store. The first three fields are required.
type Service struct {
	Store Store
	Now   func() time.Time
	Rand  io.Reader

	Log      *slog.Logger  // gets the events of password hash sync; nil: nobody reads them
	LogItems int           // instead of [LogItems], where it is not 0; negative: no items
	Keep     time.Duration // how long records stay, where it is not 0, instead of [RecordsKept]
}

// Errors of batches as a whole; a single bad item is an ItemResult instead.
var (
	ErrDirSyncOff      = errors.New("tenant: directory synchronization is not activated for this company")
	ErrPasswordSyncOff = errors.New("tenant: password synchronization has not been activated for this company")
	ErrBatchTooLarge   = fmt.Errorf("tenant: a batch holds at most %d items", MaxBatchItems)
)

// Configuration returns what an agent needs to know of the tenant.
func (s *Service) Configuration(ctx context.Context) (Configuration, error) {
	set, err := s.Store.Settings(ctx)
	if err != nil {
		return Configuration{}, err
	}
	return Configuration{
		TenantID:        set.TenantID,
		DisplayName:     set.DisplayName,
		InitialDomain:   set.InitialDomain,
		VerifiedDomains: set.VerifiedDomains,
		DirSync:         set.DirSync,
		PasswordSync:    set.DirSync && set.Features.Has(PasswordHashSync),
		Features:        set.Features,
		ObjectInterval:  30 * time.Minute,
		HashInterval:    2 * time.Minute,
		Legacy:          set.DomainServices,
		DomainKey:       set.DomainKey,

		EnvelopeCertificate: set.EnvelopeCertificate,

		Realm:    set.Realm,
		MaxItems: MaxBatchItems,

		FullPasswordSync: set.FullPasswordSync,
		Deletions:        set.Deletions,
	}, nil
}
