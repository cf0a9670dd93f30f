package kdc

import (
	"bytes"
	"slices"
	"strings"

	"skyrealm/domain"
	"skyrealm/krb5"
)

// NTSTATUS values that say why ([MS-ERREF] §2.3.1).
const (
	statusInvalidLogonHours  krb5.ExtError = 0xC000006F
	statusInvalidWorkstation krb5.ExtError = 0xC0000070
	statusPasswordExpired    krb5.ExtError = 0xC0000071
	statusAccountDisabled    krb5.ExtError = 0xC0000072
	statusTooManyContextIDs  krb5.ExtError = 0xC000015A
	statusAccountExpired     krb5.ExtError = 0xC0000193
	statusPasswordMustChange krb5.ExtError = 0xC0000224
)

// checkRestrictions refuses a client that may not sign in now, or not from
// there, before it proves its password, as AD does ([MS-KILE] §3.3.5.6).
func (x *exchange) checkRestrictions() error {
	switch x.client.Settings.Refuses(x.now, x.workstation()) {
	case domain.AccountExpired:
		return refuseStatus(krb5.ErrClientRevoked, statusAccountExpired, "client account expired")
	case domain.OutOfHours:
		return refuseStatus(krb5.ErrClientRevoked, statusInvalidLogonHours, "client outside of its logon hours")
	case domain.NotFromThere:
		// "KDC policy rejects request" is what kinit says where AD names the
		// workstations that an account may use: it sends no such name.
		return refuseStatus(krb5.ErrPolicy, statusInvalidWorkstation, "client on a workstation that it may not use")
	}
	return nil
}

// workstation is the NetBIOS name that Windows puts among the addresses of its
// requests: 15 characters filled up with spaces, and a type.
func (x *exchange) workstation() string {
	for i := range x.req.Addresses {
		if a := &x.req.Addresses[i]; a.Type == krb5.AddrNetBIOS {
			name := a.Address
			if len(name) == 16 {
				name = name[:15]
			}
			return strings.TrimRight(string(name), " \x00")
		}
	}
	return ""
}

// checkAddresses holds a TGT to the addresses in it (RFC 4120 §3.2.3). We put
// none in: who is behind address translation has others than it knows, and AD
// puts none in either ([MS-KILE] §3.3.5.1).
func (x *exchange) checkAddresses() error {
	if len(x.tgt.Addresses) == 0 {
		return nil
	}
	from := x.from.Addr().Unmap()
	kind := krb5.AddrIPv4
	if from.Is6() {
		kind = krb5.AddrIPv6
	}
	if slices.ContainsFunc(x.tgt.Addresses, func(a krb5.HostAddress) bool {
		return a.Type == kind && bytes.Equal(a.Address, from.AsSlice())
	}) {
		return nil
	}
	return refuse(krb5.ErrBadAddr, "the TGT is for other addresses")
}
