package kdc

import (
	"math"
	"strings"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
	"skyrealm/sid"
)

const (
	notDelegated     = domain.UACNotDelegated
	groupAttributes  = pac.GroupUsual
	assertedIdentity = 1 // S-1-18-1: a KDC saw the password ([MS-DTYP] §2.4.2.4)
)

var authorityAsserted = []pac.SIDAttributes{{SID: sid.New(18, assertedIdentity), Attributes: groupAttributes}}

// genuine returns a ticket's PAC when it is ours and the ticket's, and refuses
// with code otherwise. The keys and the ticket's DER are those of [pac.Verify].
func (x *exchange) genuine(part *krb5.EncTicketPart, code krb5.ErrorCode, server etype.Key, ticket []byte, kdc ...etype.Key) (*pac.PAC, error) {
	if part.PAC == nil {
		return nil, refuse(code, "the ticket has no PAC")
	}
	if part.AuthData.Contains(krb5.ADWin2kPAC) {
		return nil, refuse(code, "the ticket has two PACs")
	}
	if err := pac.Verify(part.PAC, server, ticket, kdc...); err != nil {
		return nil, refuse(code, err.Error())
	}
	p, err := pac.Parse(part.PAC)
	if err != nil {
		return nil, refuse(code, err.Error())
	}
	if p.Client.Name != pacName(part.CName) || !p.Client.AuthTime.Equal(part.AuthTime) {
		return nil, refuse(code, "the PAC is of another ticket")
	}
	return p, nil
}

func pacName(n krb5.PrincipalName) string { return strings.Join(n.Name, "/") }

// sealPAC puts a signed PAC into the ticket, all else of which stands already.
//
// It says what the replica knows now, in service tickets as in TGTs: what a
// client carried away an hour ago is believed in nothing but whom it names. So
// who leaves a group has no more tickets that say otherwise, without a new
// sign-in as in AD.
//
// DIVERGES: a client that asked for no PAC gets one all the same, in service
// tickets too. Without one a service has only the name to go by, which is what
// CVE-2020-25719 needs.
//
// DIVERGES: AD gives who signs in by certificate the NT hash as well, encrypted in
// the reply key (PAC_CREDENTIAL_INFO, [MS-PAC] §2.6), for NTLM. A certificate ends;
// the hash is a password, and a synced one is good on-premises too. And the tenant,
// which issues the certificates, would open with them the hashes that it seals and
// must not be able to open.
func (x *exchange) sealPAC(krbtgt etype.Key, attributes pac.Attributes) error {
	o, info := x.client, &x.k.Replica.Info
	set := pac.FileTimeOf(o.Secrets.Set)
	logon := pac.LogonInfo{
		LogonTime: pac.FileTimeOf(x.ticket.AuthTime), LogoffTime: pac.Never, KickOffTime: pac.Never,
		// The policy has no least age.
		PasswordLastSet: set, PasswordCanChange: set, PasswordMustChange: pac.Never,
		EffectiveName: o.SAM, FullName: o.DisplayName(),
		UserID: o.RID, PrimaryGroupID: o.PrimaryGroup,
		UserFlags: pac.LogonExtraSIDs, ExtraSIDs: x.assertedIdentity(),
		LogonServer: info.DC, LogonDomainName: info.NetBIOS, LogonDomainID: info.SID,
		UserAccountControl: samUAC(o.UAC),
		// LogonCount stays 0, which is unknown ([MS-ADA1] logonCount): sign-ins write
		// nothing, so nobody counts them for all replicas.
	}
	if at, ok := o.PasswordExpires(x.k.Replica.Policy()); ok {
		logon.PasswordMustChange = pac.FileTimeOf(at)
	}
	bad, _, _, _ := x.k.Replica.Lockout.BadPasswords(o)
	logon.BadPasswordCount = uint16(min(bad, math.MaxUint16))
	if err := x.memberships(&logon); err != nil {
		return err
	}
	if o.Settings != nil {
		settings(&logon, o.Settings, x.now)
	}
	client := pac.ClientInfo{AuthTime: x.ticket.AuthTime, Name: pacName(x.cname)}
	upn := pac.UPNDNSInfo{UPN: o.UPN, DNSDomain: x.k.realm, SAM: o.SAM, SID: o.SID()}
	if upn.UPN == "" {
		upn.UPN, upn.Constructed = o.SAM+"@"+info.DNSName, true
	}
	p := pac.PAC{Logon: &logon, Client: &client, UPN: &upn, Delegation: x.delegatedBy()}
	var ticket []byte
	switch {
	case x.service.tgs:
		p.Attributes, p.Requestor, p.KeyVersion = &attributes, o.SID(), o.Secrets.KVNO
	case !x.service.changePW:
		// The ticket as it is with a zero byte for the PAC ([MS-PAC] §2.8.3).
		x.ticket.PAC = []byte{0}
		mark := x.aux.Len()
		x.ticket.Marshal(&x.aux)
		ticket = x.aux.Bytes()[:x.aux.Len()-mark]
	}
	signed, err := p.Sign(x.pacRoom[:0], x.service.keys.current.key, krbtgt, ticket)
	if err != nil {
		return err
	}
	x.pacRoom, x.ticket.PAC = signed, signed
	return nil
}

// samUAC turns the directory's userAccountControl into SAM's ([MS-SAMR]
// §2.2.1.12), which is what LOGON_INFO has.
func samUAC(uac uint32) (v uint32) {
	for _, m := range [...]struct{ ads, sam uint32 }{
		{domain.UACDisabled, pac.AccountDisabled},
		{domain.UACNormal, pac.AccountNormal},
		{domain.UACWorkstation, pac.AccountWorkstation},
		{domain.UACServer, pac.AccountServer},
		{domain.UACDontExpirePassword, pac.AccountDontExpirePassword},
		{domain.UACTrustedForDeleg, pac.AccountTrustedForDeleg},
		{notDelegated, pac.AccountNotDelegated},
		{domain.UACTrustedToAuth, pac.AccountTrustedToAuth},
	} {
		if uac&m.ads != 0 {
			v |= m.sam
		}
	}
	return v
}
