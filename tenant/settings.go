package tenant

import (
	"context"
	"errors"
	"fmt"
)

// WireFeatures are the bits of Features that the sync service's own wire
// carries; those above stand for flags that only Graph shows.
const WireFeatures Features = 1<<31 - 1

// The flags that have no bit on the wire.
const (
	FopeConflictResolution Features = 1 << (40 + iota)
	ConcurrentOrgIDProvisioning
	ConcurrentCredentialUpdate
	GroupWriteback
	BypassDirSyncOverrides
	AllowOnPremUpdateOfObjectIdentifier
)

// FeatureNames are Graph's names of the flags (tenant-api §2.4).
var FeatureNames = map[string]Features{
	"passwordSyncEnabled":                                  PasswordHashSync,
	"passwordWritebackEnabled":                             PasswordWriteback,
	"directoryExtensionsEnabled":                           DirectoryExtensions,
	"quarantineUponUpnConflictEnabled":                     DuplicateUPNResiliency,
	"softMatchOnUpnEnabled":                                SoftMatchOnUPN,
	"quarantineUponProxyAddressesConflictEnabled":          DuplicateProxyResiliency,
	"cloudPasswordPolicyForPasswordSyncedUsersEnabled":     EnforceCloudPasswordPolicy,
	"unifiedGroupWritebackEnabled":                         UnifiedGroupWriteback,
	"userWritebackEnabled":                                 UserWriteback,
	"deviceWritebackEnabled":                               DeviceWriteback,
	"synchronizeUpnForManagedUsersEnabled":                 SynchronizeUPNForManaged,
	"userForcePasswordChangeOnLogonEnabled":                ForcePasswordChangeOnLogon,
	"blockSoftMatchEnabled":                                BlockSoftMatch,
	"blockCloudObjectTakeoverThroughHardMatchEnabled":      BlockCloudObjectTakeoverHMF,
	"fopeConflictResolutionEnabled":                        FopeConflictResolution,
	"concurrentOrgIdProvisioningEnabled":                   ConcurrentOrgIDProvisioning,
	"concurrentCredentialUpdateEnabled":                    ConcurrentCredentialUpdate,
	"groupWriteBackEnabled":                                GroupWriteback,
	"bypassDirSyncOverridesEnabled":                        BypassDirSyncOverrides,
	"allowOnPremUpdateOfOnPremisesObjectIdentifierEnabled": AllowOnPremUpdateOfObjectIdentifier,
}

// ErrWriteback: password writeback is shown and can't be turned on, as in the
// real service.
var ErrWriteback = errors.New("tenant: passwordWritebackEnabled can't be updated")

// SetDirSync turns directory synchronization on or off. Turning it on asks
// agents for all passwords again.
func (s *Service) SetDirSync(ctx context.Context, on bool) error {
	return s.update(ctx, func(set *Settings) error {
		set.DirSync = on
		return nil
	})
}

// SetFeatures turns the features in mask to how they stand in values, and leaves
// all others, also those that this program does not know.
func (s *Service) SetFeatures(ctx context.Context, values, mask Features) error {
	return s.update(ctx, func(set *Settings) error {
		next := set.Features&^mask | values&mask
		if (next^set.Features)&PasswordWriteback != 0 {
			return ErrWriteback
		}
		set.Features = next
		return nil
	})
}

// SetDomainServices enables or disables the managed domain's feed of legacy
// hashes. Enabling it needs all passwords again: those that came before had none.
func (s *Service) SetDomainServices(ctx context.Context, on bool) error {
	return s.update(ctx, func(set *Settings) error {
		set.DomainServices = on
		return nil
	})
}

// SetNTLM turns the sync of NT hashes into the domain on or off. What is there
// stays until each user's next password (EDS/secure-your-domain).
func (s *Service) SetNTLM(ctx context.Context, on bool) error {
	return s.update(ctx, func(set *Settings) error {
		set.NTLMOff = !on
		return nil
	})
}

// SetSyncRevokes decides whether a synced password ends refresh tokens.
func (s *Service) SetSyncRevokes(ctx context.Context, on bool) error {
	return s.update(ctx, func(set *Settings) error {
		set.SyncRevokes = on
		return nil
	})
}

// Switches are those of password sync that have no name in Graph; nil leaves one.
type Switches struct {
	DomainServices *bool // [Service.SetDomainServices]
	NTLM           *bool // [Service.SetNTLM]
	SyncRevokes    *bool // [Service.SetSyncRevokes]
}

// Switch sets them, all or none.
func (s *Service) Switch(ctx context.Context, to Switches) error {
	return s.update(ctx, func(set *Settings) error {
		if to.DomainServices != nil {
			set.DomainServices = *to.DomainServices
		}
		if to.NTLM != nil {
			set.NTLMOff = !*to.NTLM
		}
		if to.SyncRevokes != nil {
			set.SyncRevokes = *to.SyncRevokes
		}
		return nil
	})
}

// The kinds of accidental deletion prevention.
const (
	DeletionsUnbounded    = "disabled"
	DeletionsByCount      = "enabledForCount"
	DeletionsByPercentage = "enabledForPercentage"
)

// SetDeletions sets the threshold at which agents stop an export.
func (s *Service) SetDeletions(ctx context.Context, d Deletions) error {
	most := 1 << 30
	switch d.Prevention {
	case DeletionsByPercentage:
		most = 100
	case DeletionsByCount, DeletionsUnbounded:
	default:
		return &InvalidError{"synchronizationPreventionType", fmt.Sprintf("it is %s, %s or %s", DeletionsUnbounded, DeletionsByCount, DeletionsByPercentage)}
	}
	if d.Threshold < 0 || d.Threshold > most {
		return &InvalidError{"alertThreshold", fmt.Sprintf("it is 0 to %d", most)}
	}
	return s.update(ctx, func(set *Settings) error {
		set.Deletions = d
		return nil
	})
}

// passwords reports whether password hashes, and legacy ones, are taken.
func (set *Settings) passwords() (digests, legacy bool) {
	digests = set.DirSync && set.Features.Has(PasswordHashSync)
	return digests, digests && set.DomainServices
}

// update changes the settings. Whatever turned the taking of passwords or of
// legacy hashes on, agents are asked to send all of them.
func (s *Service) update(ctx context.Context, change func(*Settings) error) error {
	now := s.Now().UTC()
	return s.Store.UpdateSettings(ctx, func(set *Settings) error {
		digests, legacy := set.passwords()
		if err := change(set); err != nil {
			return err
		}
		if d, l := set.passwords(); d && !digests || l && !legacy {
			set.FullPasswordSync = now
		}
		return nil
	})
}
