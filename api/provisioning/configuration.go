package provisioning

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"skyrealm/nbfx"
	"skyrealm/tenant"
)

// companyConfiguration is GetCompanyConfiguration, with the members in the order
// of their names, as a data contract has them.
func (c *call) companyConfiguration() (func(*nbfx.Writer), error) {
	config, err := c.Tenant.Configuration(c.r.Context())
	if err != nil {
		return nil, err
	}
	prevention, count, percentage := "Disabled", 0, 0
	switch config.Deletions.Prevention {
	case tenant.DeletionsByCount:
		prevention, count = "EnabledForCount", config.Deletions.Threshold
	case tenant.DeletionsByPercentage:
		prevention, percentage = "EnabledForPercentage", config.Deletions.Threshold
	}
	return func(w *nbfx.Writer) {
		w.Start("", "GetCompanyConfigurationResult")
		w.Xmlns("i", nbfx.NSXSI)
		w.Leaf("", "AllowedFeatures", "None")
		element(w, "", "DirSyncConfiguration", func() {
			w.Nil("", "AnchorAttribute")
			w.Nil("", "ApplicationVersion")
			w.Nil("", "ClientVersion")
			w.Bool("", "IsTrackingChanges", false)
			element(w, "", "PreventAccidentalDeletion", func() {
				w.Leaf("", "DeletionPrevention", prevention)
				leafInt(w, "", "ThresholdCount", count)
				leafInt(w, "", "ThresholdPercentage", percentage)
			})
		})
		leafInt(w, "", "DirSyncFeatures", int(config.Features&tenant.WireFeatures))
		w.Leaf("", "DisplayName", config.DisplayName)
		w.Bool("", "IsDirSyncing", config.DirSync)
		w.Bool("", "IsPasswordSyncing", config.PasswordSync)
		leafInt(w, "", "MaxLinksSupportedAcrossBatchInProvision2", tenant.MaxGroupMembers)
		w.Leaf("", "SynchronizationInterval", duration(config.ObjectInterval))
		w.Leaf("", "TenantId", config.TenantID.String())
		w.End()
	}, nil
}

// duration is an xsd:duration of whole minutes.
func duration(d time.Duration) string { return fmt.Sprintf("PT%dM", int(d/time.Minute)) }

// setFeatures is SetCompanyDirsyncFeatures: the whole mask, as an agent has read
// and changed it, with the bits that nobody here knows.
func (c *call) setFeatures() (func(*nbfx.Writer), error) {
	mask, err := strconv.ParseInt(strings.TrimSpace(c.body.Child(nbfx.NSChange, "dirsyncFeatures").Text()), 10, 64)
	if err != nil || mask < 0 || mask > int64(tenant.WireFeatures) {
		return nil, &fault{nbfx.Sender, 0, "dirsyncFeatures has to be a bit mask of 31 bits."}
	}
	return nil, c.Tenant.SetFeatures(c.r.Context(), tenant.Features(mask), tenant.WireFeatures)
}

// finalizeExport is FinalizeExport. What was exported has been stored and
// recorded by then; what the agent counted goes to the log.
func (c *call) finalizeExport() (func(*nbfx.Writer), error) {
	var counts [2]int
	for i, name := range []string{"totalExported", "successfulExportCount"} {
		n, err := strconv.Atoi(strings.TrimSpace(c.body.Child(nbfx.NSChange, name).Text()))
		if err != nil || n < 0 {
			return nil, &fault{nbfx.Sender, 0, name + " has to be a number."}
		}
		counts[i] = n
	}
	c.log("export finished", slog.Int("exported", counts[0]), slog.Int("successful", counts[1]))
	return nil, nil
}

// serviceAccount is GetServiceAccount.
func (c *call) serviceAccount() (func(*nbfx.Writer), error) {
	upn, password, err := c.Tenant.ServiceAccount(c.r.Context(), strings.TrimSpace(c.body.Child(nbfx.NSChange, "identifier").Text()))
	if err != nil {
		return nil, err
	}
	c.log("sync account made or reset", slog.String("account", upn))
	return func(w *nbfx.Writer) {
		element(w, "", "GetServiceAccountResult", func() {
			w.Leaf("", "Password", password)
			w.Leaf("", "UserName", upn)
		})
	}, nil
}

// windowsCredentials is GetWindowsCredentialsSyncConfig: whether legacy hashes are
// wanted, and what to encrypt them for (§C1).
func (c *call) windowsCredentials() (func(*nbfx.Writer), error) {
	set, err := c.Tenant.Store.Settings(c.r.Context())
	if err != nil {
		return nil, err
	}
	wanted := set.DomainServices && len(set.EnvelopeCertificate) > 0
	return func(w *nbfx.Writer) {
		w.Start("", "GetWindowsCredentialsSyncConfigResult")
		w.Xmlns("i", nbfx.NSXSI)
		w.Bool("", "EnableWindowsLegacyCredentials", wanted && !set.NTLMOff)
		w.Bool("", "EnableWindowsSupplementaCredentials", wanted) // sic: one reader spells it so, another right
		w.Bool("", "EnableWindowsSupplementalCredentials", wanted)
		if wanted {
			element(w, "", "SecretEncryptionCertificate", func() { w.Base64(set.EnvelopeCertificate) })
		} else {
			w.Nil("", "SecretEncryptionCertificate")
		}
		w.End()
	}, nil
}

// kerberosSync is GetKerberosDomainSyncConfig, about a ticket-granting server of
// the cloud's own that this tenant does not have.
func (c *call) kerberosSync() (func(*nbfx.Writer), error) {
	return func(w *nbfx.Writer) {
		w.Start("", "GetKerberosDomainSyncConfigResult")
		w.Xmlns("i", nbfx.NSXSI)
		for _, name := range []string{"PublicEncryptionKey", "SecuredEncryptionAlgorithm", "SecuredKeyId", "SecuredPartitionId"} {
			w.Nil("", name)
		}
		w.End()
	}, nil
}

// deviceConfiguration is GetDeviceConfiguration: this tenant issues devices no
// certificates.
func (c *call) deviceConfiguration() (func(*nbfx.Writer), error) {
	return func(w *nbfx.Writer) {
		element(w, "", "GetDeviceConfigurationResult", func() {
			element(w, "", "CloudPublicIssuerCertificates", func() {})
			element(w, "", "PublicIssuerCertificates", func() {})
		})
	}, nil
}

// none answers a question about what this tenant does not have.
func none(result string) func(*call) (func(*nbfx.Writer), error) {
	return func(*call) (func(*nbfx.Writer), error) {
		return func(w *nbfx.Writer) {
			w.Start("", result)
			w.Xmlns("i", nbfx.NSXSI)
			w.Attr("i", "nil", "true")
			w.End()
		}, nil
	}
}

// latestBuild is what an agent is told to be: the one that the wire was learned of.
const latestBuild = "2.4.21.0"

// capabilities is Capabilities: an XML document in a text.
func (c *call) capabilities() (func(*nbfx.Writer), error) {
	const document = `<ServiceCapability><MicrosoftOnline><Protocol><Application>` +
		`<LatestProductVersion>` + latestBuild + `</LatestProductVersion>` +
		`<MinimumProductVersion>` + tenant.OldestBuild + `</MinimumProductVersion>` +
		`<BlackList Enabled="False"></BlackList>` +
		`</Application></Protocol></MicrosoftOnline></ServiceCapability>`
	return func(w *nbfx.Writer) { w.Leaf("", "CapabilitiesResult", document) }, nil
}
